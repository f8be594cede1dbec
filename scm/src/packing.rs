//! Packing what is sent (C3): what a mount wants, whether its target takes blocks, and what became of it; the writer that makes blocks of what a stream sends.
//! When it pays and by what is [`platform::pack`]'s.

use crate::ScmError;
use crate::session::{Dial, Streams};
use parking_lot::Mutex;
use platform::pack::{Method, Mode, Packer};
use protocol::{Features, MAX_BLOCK_BYTES};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;

/// The path is asked what it carries this often.
const ASK_PATH: Duration = Duration::from_millis(100);

/// Bytes per second that a path carries now, as far as known.
pub type Goodput = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// One mount's.
#[derive(Debug)]
pub struct Packing {
    mode: Mode,
    /// The target of the session takes blocks. A lane is let in beside a session only, so what holds for that holds for it; where another session has begun
    /// meanwhile, the target ends the lane.
    agreed: AtomicBool,
    raw_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    /// By which name each open stream goes, and what it does now.
    streams: Mutex<BTreeMap<String, Method>>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Bytes that were to be sent in blocks.
    pub raw_bytes: u64,
    /// What they were when they were sent, heads of blocks included.
    pub sent_bytes: u64,
    /// What each open stream does now: `plain`, `lz4`, `zstd:N`.
    pub streams: BTreeMap<String, String>,
}

impl Packing {
    /// As the user wants.
    pub fn new(mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            mode,
            agreed: AtomicBool::new(false),
            raw_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            streams: Mutex::default(),
        })
    }

    /// What became of it until now.
    pub fn now(&self) -> Packed {
        Packed {
            raw_bytes: self.raw_bytes.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            streams: self.streams.lock().iter().map(|(name, method)| (name.clone(), method.to_string())).collect(),
        }
    }

    /// What the greeting has beside these. Where nothing is to be packed nothing is offered.
    pub(crate) fn offer(&self, features: Features) -> Features {
        if self.mode == Mode::Off { features } else { features.and(Features::PACKED) }
    }

    /// What the target of a session says of itself.
    pub(crate) fn agree(&self, theirs: Features) {
        self.agreed.store(self.mode != Mode::Off && theirs.has(Features::PACKED), Ordering::Release);
    }

    pub(crate) fn is_agreed(&self) -> bool {
        self.agreed.load(Ordering::Acquire)
    }
}

/// Makes connections on which what is sent is packed, where the target takes it.
pub struct PackingDialer {
    inner: Arc<dyn Dial>,
    packing: Arc<Packing>,
}

impl PackingDialer {
    /// Those of another dialer.
    pub fn new(inner: Arc<dyn Dial>, packing: Arc<Packing>) -> Arc<Self> {
        Arc::new(Self { inner, packing })
    }
}

impl std::fmt::Debug for PackingDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackingDialer").field("packing", &self.packing).finish_non_exhaustive()
    }
}

impl Dial for PackingDialer {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
        self.inner.dial()
    }

    fn packing(&self) -> Option<&Arc<Packing>> {
        Some(&self.packing)
    }
}

/// The writer for what comes after the greeting: one that packs, where that is agreed.
pub(crate) fn writer<'a>(
    inner: &'a mut (dyn AsyncWrite + Send + Unpin),
    goodput: &'a Goodput,
    packing: Option<&'a Arc<Packing>>,
    name: String,
) -> Box<dyn AsyncWrite + Send + Unpin + 'a> {
    match packing.filter(|packing| packing.is_agreed()) {
        None => Box::new(inner),
        Some(packing) => Box::new(PackedWriter::new(inner, goodput, packing, name)),
    }
}

/// Makes a block of what is written at once: a batch, or a payload. What goes plain is not copied.
struct PackedWriter<'a> {
    inner: &'a mut (dyn AsyncWrite + Send + Unpin),
    goodput: &'a Goodput,
    packing: &'a Packing,
    name: String,
    packer: Packer,
    begun: Instant,
    asked: Option<Instant>,
    /// So much of what the packer made is written: a packed block, or the head of a plain one.
    written: usize,
    /// So many bytes that the head of a plain block announced are to come.
    plain: usize,
    block: Option<Block>,
}

/// The block that is being sent.
struct Block {
    begun: Instant,
    bytes: u64,
    waiting: Option<Instant>,
    waited: Duration,
}

impl<'a> PackedWriter<'a> {
    fn new(
        inner: &'a mut (dyn AsyncWrite + Send + Unpin),
        goodput: &'a Goodput,
        packing: &'a Packing,
        name: String,
    ) -> Self {
        let mut packer = Packer::new(packing.mode);
        packing.streams.lock().insert(name.clone(), packer.choice().now());
        Self {
            inner,
            goodput,
            packing,
            name,
            packer,
            begun: Instant::now(),
            asked: None,
            written: 0,
            plain: 0,
            block: None,
        }
    }

    /// Begins a block of these bytes: whether they are in it, packed. Otherwise they follow as they are.
    fn begin(&mut self, raw: &[u8]) -> bool {
        let begun = Instant::now();
        if self.asked.is_none_or(|asked| begun - asked >= ASK_PATH) {
            self.asked = Some(begun);
            self.packer.choice().path((self.goodput)());
        }
        let (before, epoch) = (self.packer.choice().now(), self.begun);
        let is_packed = self.packer.pack(raw, || epoch.elapsed());
        (self.written, self.plain) = (0, if is_packed { 0 } else { raw.len() });
        let bytes = (self.packer.block().len() + self.plain) as u64;
        self.packing.raw_bytes.fetch_add(raw.len() as u64, Ordering::Relaxed);
        self.packing.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        let now = self.packer.choice().now();
        if now != before {
            tracing::debug!(event = "packing", stream = self.name, by = %now, "what is sent is packed otherwise");
            self.packing.streams.lock().insert(self.name.clone(), now);
        }
        self.block = Some(Block { begun, bytes, waiting: None, waited: Duration::ZERO });
        is_packed
    }

    /// The line took something, or did not.
    fn note(&mut self, took: bool) {
        let Some(block) = &mut self.block else { return };
        if took {
            block.waited += block.waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
        } else {
            block.waiting.get_or_insert_with(Instant::now);
        }
        if self.plain == 0 && self.written == self.packer.block().len() {
            let (bytes, busy, waited) = (block.bytes, block.begun.elapsed(), block.waited);
            self.packer.choice().passed(bytes, busy, waited);
            self.block = None;
        }
    }

    /// Writes what is ahead of everything else.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.packer.block().len() {
            let polled = Pin::new(&mut *self.inner).poll_write(cx, &self.packer.block()[self.written..]);
            let Poll::Ready(wrote) = polled else {
                self.note(false);
                return Poll::Pending;
            };
            match wrote? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => self.written += wrote,
            }
            self.note(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PackedWriter<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(writer.poll_ahead(cx))?;
        if writer.plain == 0 {
            let raw = &bytes[..bytes.len().min(MAX_BLOCK_BYTES)];
            if writer.begin(raw) {
                // It leaves with what is written next, or with the flush.
                return Poll::Ready(Ok(raw.len()));
            }
            ready!(writer.poll_ahead(cx))?;
        }
        let polled = Pin::new(&mut *writer.inner).poll_write(cx, &bytes[..bytes.len().min(writer.plain)]);
        let Poll::Ready(wrote) = polled else {
            writer.note(false);
            return Poll::Pending;
        };
        let wrote = wrote?;
        writer.plain -= wrote;
        writer.note(true);
        Poll::Ready(Ok(wrote))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        ready!(writer.poll_ahead(cx))?;
        Pin::new(&mut *writer.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        ready!(writer.poll_ahead(cx))?;
        Pin::new(&mut *writer.inner).poll_shutdown(cx)
    }
}

impl Drop for PackedWriter<'_> {
    fn drop(&mut self) {
        self.packing.streams.lock().remove(&self.name);
    }
}

//! The writer that makes blocks of what a stream sends. What takes long to pack is packed by threads beside it; blocks leave in their order.

use super::Packing;
use super::packers::{Made, Packers, Stream};
use crate::outlet::Outlet;
use bytes::Bytes;
use platform::pack::{Method, Packer};
use protocol::MAX_BLOCK_BYTES;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

/// The path is asked what it carries this often.
const ASK_PATH: Duration = Duration::from_millis(100);

/// What takes less is packed at once: to wake a thread and to be woken by it takes some ten microseconds on either side.
const AT_ONCE: Duration = Duration::from_micros(250);

/// The same while nothing of this stream is in work: it does not wait for a packer that has other streams' blocks, of which one takes 30 ms at the highest level.
const ALONE_AT_ONCE: Duration = Duration::from_millis(2);

/// Seconds that packing a byte takes, as long as nothing was packed.
const FIRST_PACE: f64 = 5e-9;

/// Bytes per second that a path carries now, as far as known.
pub type Goodput = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// The writer for what comes after the greeting: one that packs, where that is agreed. Of a lane with this number, or of the session.
pub(crate) fn writer<'a>(
    inner: &'a mut (dyn Outlet + 'a),
    goodput: &'a Goodput,
    packing: Option<&'a Arc<Packing>>,
    lane: Option<u8>,
) -> Box<dyn Outlet + 'a> {
    match packing.filter(|packing| packing.is_agreed()) {
        None => Box::new(inner),
        Some(packing) => Box::new(PackedWriter::new(inner, goodput, packing, lane)),
    }
}

/// Makes a block of what is written at once: a batch, or a payload. A payload that goes plain is not copied. What is written leaves with what is written after it, or
/// with the flush.
struct PackedWriter<'a> {
    inner: &'a mut (dyn Outlet + 'a),
    goodput: &'a Goodput,
    packing: &'a Packing,
    name: String,
    packer: Packer,
    /// Threads that pack for it, and what it is to them.
    beside: Option<(&'a Packers, Stream)>,
    begun: Instant,
    asked: Option<Instant>,
    /// Seconds that packing a byte takes.
    pace: f64,
    /// What has not left, in its order; the first is being sent.
    ahead: VecDeque<Block>,
}

/// A block on its way.
struct Block {
    content: Content,
    /// So many bytes travel of it.
    bytes: u64,
    /// Since when nothing is before it.
    first: Option<Instant>,
    /// Since when it waits for the line.
    waiting: Option<Instant>,
    /// How long it did.
    waited: Duration,
}

enum Content {
    /// A thread packs it.
    InWork(Work),
    /// What is left of it: the block, and bytes that follow it as they are.
    Made([Bytes; 2]),
}

struct Work {
    raw: Bytes,
    method: Method,
    /// So many blocks of this stream were in work, with it.
    beside: u32,
    made: oneshot::Receiver<Made>,
}

impl Block {
    fn new(content: Content, first: Option<Instant>) -> Self {
        Self { content, bytes: 0, first, waiting: None, waited: Duration::ZERO }
    }

    /// The line took something, or did not.
    fn note(&mut self, took: bool) {
        if took {
            self.waited += self.waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
        } else {
            self.waiting.get_or_insert_with(Instant::now);
        }
    }
}

impl<'a> PackedWriter<'a> {
    fn new(inner: &'a mut (dyn Outlet + 'a), goodput: &'a Goodput, packing: &'a Packing, lane: Option<u8>) -> Self {
        let name = lane.map_or_else(|| "session".to_owned(), |number| format!("lane {number}"));
        let stream = |packers: &Packers| if lane.is_some() { packers.lane() } else { Stream::Session };
        let mut packer = Packer::new(packing.mode);
        packing.streams.lock().insert(name.clone(), packer.choice().now());
        Self {
            inner,
            goodput,
            packing,
            name,
            packer,
            beside: packing.packers.as_ref().map(|packers| (packers, stream(packers))),
            begun: Instant::now(),
            asked: None,
            pace: FIRST_PACE,
            ahead: VecDeque::new(),
        }
    }

    /// Blocks that may wait at most: as many as are packed at once, and as many that are before them or become the next.
    fn most_ahead(&self) -> usize {
        self.beside.map_or(1, |(packers, _)| 2 * packers.most() + 2)
    }

    /// Begins a block of these bytes.
    fn begin(&mut self, raw: Bytes) {
        let (begun, epoch) = (Instant::now(), self.begun);
        if self.asked.is_none_or(|asked| begun - asked >= ASK_PATH) {
            self.asked = Some(begun);
            self.packer.choice().path((self.goodput)());
        }
        let before = self.packer.choice().now();
        let method = self.packer.plan(&raw, || epoch.elapsed());
        let now = self.packer.choice().now();
        if now != before {
            tracing::debug!(event = "packing", stream = self.name, by = %now, "what is sent is packed otherwise");
            self.packing.streams.lock().insert(self.name.clone(), now);
        }
        let first = self.ahead.is_empty().then_some(begun);
        let block = if let Some(work) = self.have_packed(method, &raw) {
            Block::new(Content::InWork(work), first)
        } else {
            let packs = Instant::now();
            let is_packed = self.packer.pack_by(method, &raw, || epoch.elapsed());
            if method != Method::Plain {
                self.took(raw.len(), packs.elapsed());
            }
            let mut block = Block::new(Content::Made([Bytes::new(), Bytes::new()]), first);
            let made = Bytes::copy_from_slice(self.packer.block());
            self.made(&mut block, raw, made, is_packed);
            block
        };
        self.ahead.push_back(block);
    }

    /// Has a thread pack what takes long; `None`: it is better done at once, or by nobody.
    #[allow(clippy::cast_precision_loss)] // of at most 256 KiB
    fn have_packed(&self, method: Method, raw: &Bytes) -> Option<Work> {
        let (packers, stream) = self.beside?;
        let in_work = self.in_work();
        let at_once = if in_work > 0 { AT_ONCE } else { ALONE_AT_ONCE };
        if method == Method::Plain || raw.len() as f64 * self.pace < at_once.as_secs_f64() {
            return None;
        }
        let beside = u32::try_from((in_work + 1).min(packers.most())).unwrap_or(u32::MAX);
        let made = packers.give(stream, method, raw.clone())?;
        Some(Work { raw: raw.clone(), method, beside, made })
    }

    fn in_work(&self) -> usize {
        self.ahead.iter().filter(|block| matches!(block.content, Content::InWork(_))).count()
    }

    /// Packing so many bytes took so long.
    #[allow(clippy::cast_precision_loss)] // of at most 256 KiB
    fn took(&mut self, bytes: usize, took: Duration) {
        self.pace += (took.as_secs_f64() / bytes as f64 - self.pace) / 4.0;
    }

    /// A block is made, and is counted as what it has become.
    fn made(&self, block: &mut Block, raw: Bytes, made: Bytes, is_packed: bool) {
        let raw_bytes = raw.len() as u64;
        let plain = if is_packed { Bytes::new() } else { raw };
        block.bytes = (made.len() + plain.len()) as u64;
        block.content = Content::Made([made, plain]);
        self.packing.raw_bytes.fetch_add(raw_bytes, Ordering::Relaxed);
        self.packing.sent_bytes.fetch_add(block.bytes, Ordering::Relaxed);
    }

    /// Writes what is ahead: done where nothing is any more.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(mut block) = self.ahead.pop_front() {
            let polled = self.poll_block(cx, &mut block);
            if polled.is_pending() {
                self.ahead.push_front(block);
                return Poll::Pending;
            }
            ready!(polled)?;
            let busy = block.first.map_or(Duration::ZERO, |first| first.elapsed());
            self.packer.choice().passed(block.bytes, busy, block.waited);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_block(&mut self, cx: &mut Context<'_>, block: &mut Block) -> Poll<io::Result<()>> {
        block.first.get_or_insert_with(Instant::now);
        if let Content::InWork(work) = &mut block.content {
            let Ok(made) = ready!(Pin::new(&mut work.made).poll(cx)) else {
                return Poll::Ready(Err(io::Error::other("a thread that packs what is sent has ended")));
            };
            let (raw, len) = (std::mem::take(&mut work.raw), made.block.len());
            let became = if made.is_packed { len } else { raw.len() };
            // Others were packed in the same time.
            self.packer.choice().packed(work.method, raw.len(), became, made.took / work.beside);
            self.took(raw.len(), made.took);
            self.made(block, raw, made.block, made.is_packed);
        }
        if let Content::Made(parts) = &mut block.content {
            let mut taken = true;
            for part in parts {
                while taken && !part.is_empty() {
                    taken = match Pin::new(&mut *self.inner).poll_hand(cx, part) {
                        Poll::Ready(handed) => handed.map(|()| true)?,
                        Poll::Pending => false,
                    };
                }
            }
            block.note(taken);
            if !taken {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PackedWriter<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let len = bytes.len().min(MAX_BLOCK_BYTES);
        let mut chunk = Bytes::copy_from_slice(&bytes[..len]);
        ready!(self.poll_hand(cx, &mut chunk))?;
        Poll::Ready(Ok(len))
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

impl Outlet for PackedWriter<'_> {
    fn takes_its_time(&self) -> bool {
        self.in_work() > 0
    }

    fn poll_hand(self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        if chunk.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(left) = writer.poll_ahead(cx) {
            left?;
        } else if writer.ahead.len() >= writer.most_ahead() {
            return Poll::Pending;
        }
        let raw = chunk.split_to(chunk.len().min(MAX_BLOCK_BYTES));
        writer.begin(raw);
        Poll::Ready(Ok(()))
    }
}

impl Drop for PackedWriter<'_> {
    fn drop(&mut self) {
        self.packing.streams.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests;

//! The writer that makes blocks of what a stream sends.

use super::Packing;
use crate::outlet::Outlet;
use bytes::{Buf, Bytes};
use platform::pack::Packer;
use protocol::MAX_BLOCK_BYTES;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;

/// The path is asked what it carries this often.
const ASK_PATH: Duration = Duration::from_millis(100);

/// Bytes per second that a path carries now, as far as known.
pub type Goodput = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// The writer for what comes after the greeting: one that packs, where that is agreed.
pub(crate) fn writer<'a>(
    inner: &'a mut (dyn Outlet + 'a),
    goodput: &'a Goodput,
    packing: Option<&'a Arc<Packing>>,
    name: String,
) -> Box<dyn Outlet + 'a> {
    match packing.filter(|packing| packing.is_agreed()) {
        None => Box::new(inner),
        Some(packing) => Box::new(PackedWriter::new(inner, goodput, packing, name)),
    }
}

/// Makes a block of what is written at once: a batch, or a payload. What goes plain is not copied.
struct PackedWriter<'a> {
    inner: &'a mut (dyn Outlet + 'a),
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

/// What becomes of bytes, and of how many.
enum Begun {
    /// They are in a block, and leave with what is written next, or with the flush.
    Packed(usize),
    /// They are to follow as they are.
    Plain(usize),
}

/// The block that is being sent.
struct Block {
    begun: Instant,
    bytes: u64,
    waiting: Option<Instant>,
    waited: Duration,
}

impl<'a> PackedWriter<'a> {
    fn new(inner: &'a mut (dyn Outlet + 'a), goodput: &'a Goodput, packing: &'a Packing, name: String) -> Self {
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

    /// Goes on with the block that is being sent, or begins one of these bytes.
    fn poll_begun(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Begun>> {
        ready!(self.poll_ahead(cx))?;
        if self.plain == 0 {
            let raw = &bytes[..bytes.len().min(MAX_BLOCK_BYTES)];
            if self.begin(raw) {
                return Poll::Ready(Ok(Begun::Packed(raw.len())));
            }
            ready!(self.poll_ahead(cx))?;
        }
        Poll::Ready(Ok(Begun::Plain(bytes.len().min(self.plain))))
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
        let plain = match ready!(writer.poll_begun(cx, bytes))? {
            Begun::Packed(bytes) => return Poll::Ready(Ok(bytes)),
            Begun::Plain(bytes) => bytes,
        };
        let polled = Pin::new(&mut *writer.inner).poll_write(cx, &bytes[..plain]);
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

impl Outlet for PackedWriter<'_> {
    fn poll_hand(self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        if chunk.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match ready!(writer.poll_begun(cx, chunk))? {
            Begun::Packed(bytes) => {
                chunk.advance(bytes);
                Poll::Ready(Ok(()))
            }
            Begun::Plain(bytes) => {
                let mut part = chunk.slice(..bytes);
                let polled = Pin::new(&mut *writer.inner).poll_hand(cx, &mut part);
                if polled.is_pending() {
                    writer.note(false);
                    return Poll::Pending;
                }
                ready!(polled)?;
                let handed = bytes - part.len();
                chunk.advance(handed);
                writer.plain -= handed;
                writer.note(true);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Drop for PackedWriter<'_> {
    fn drop(&mut self) {
        self.packing.streams.lock().remove(&self.name);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::outlet::Loader;
    use crate::outlet::tests::{Kept, frame, uncopied};
    use crate::packing::Packed;
    use platform::pack::{Mode, Unpacker};
    use protocol::Features;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn agreed(mode: Mode) -> Arc<Packing> {
        let packing = Packing::new(mode);
        packing.agree(Features::PACKED);
        packing
    }

    /// What arrives of these writes through a pipe that holds little, and what the far end makes of it.
    async fn sent(packing: &Arc<Packing>, writes: &[Vec<u8>], goodput: Option<u64>) -> (usize, Vec<u8>) {
        let (mut ours, mut theirs) = duplex(1000);
        let goodput: Goodput = Box::new(move || goodput);
        let send = async {
            let mut to = writer(&mut ours, &goodput, Some(packing), "session".to_owned());
            for bytes in writes {
                to.write_all(bytes).await.unwrap();
            }
            to.flush().await.unwrap();
            to.shutdown().await.unwrap();
            packing.now().streams
        };
        let mut arrived = Vec::new();
        let (streams, _) = tokio::join!(send, theirs.read_to_end(&mut arrived));
        assert_eq!(streams.len(), usize::from(packing.is_agreed()));
        let mut back = Vec::new();
        Unpacker::new(&arrived[..], packing.is_agreed()).read_to_end(&mut back).await.unwrap();
        (arrived.len(), back)
    }

    fn writes() -> Vec<Vec<u8>> {
        let text = |len: usize| (0..).flat_map(|n: u32| format!("{n} and on\n").into_bytes()).take(len).collect();
        [1, 48, 255, 256, 5000, 70_000, 1 << 20, 3].map(text).to_vec()
    }

    #[tokio::test]
    async fn what_is_written_arrives_packed_and_is_counted() {
        let raw = writes().concat();
        for (mode, goodput) in
            [(Mode::Lz4, None), (Mode::Zstd(3), None), (Mode::Auto, Some(1_000_000)), (Mode::Auto, None)]
        {
            let packing = agreed(mode);
            let (arrived, back) = sent(&packing, &writes(), goodput).await;
            assert!(back == raw, "{mode}");
            let now = packing.now();
            assert_eq!((now.raw_bytes, now.sent_bytes), (raw.len() as u64, arrived as u64), "{mode}");
            let packs = mode != Mode::Auto || goodput.is_some();
            assert_eq!(arrived < raw.len() / 2, packs, "{mode}, {goodput:?}: {arrived} of {}", raw.len());
            assert!(now.streams.is_empty(), "{mode}: it is closed");
        }
    }

    #[tokio::test]
    async fn a_payload_that_goes_plain_is_not_copied() {
        let payload = frame(600_000);
        let goodput: Goodput = Box::new(|| None);
        let mut kept = Kept::default();
        let mut loader = Loader::default();
        // Without a word of what the path carries nothing is packed.
        let packing = agreed(Mode::Auto);
        let mut to = writer(&mut kept, &goodput, Some(&packing), "session".to_owned());
        loader.push(payload.clone(), &mut *to).await.unwrap();
        to.flush().await.unwrap();
        drop(to);
        assert_eq!(uncopied(&kept, &payload.payload), payload.payload.len());
    }

    #[tokio::test]
    async fn without_agreement_everything_goes_as_it_is() {
        let old = Packing::new(Mode::Lz4);
        old.agree(Features::BUSY);
        let off = agreed(Mode::Off);
        let short = Features::BUSY.and(Features::SHORT);
        assert_eq!((off.offer(Features::BUSY), old.offer(Features::BUSY)), (short, short.and(Features::PACKED)));
        for packing in [old, off] {
            let (arrived, back) = sent(&packing, &writes(), Some(1000)).await;
            assert!(back == writes().concat() && arrived == back.len() && packing.now() == Packed::default());
        }
    }
}

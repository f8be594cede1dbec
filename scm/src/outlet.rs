//! What the half of a stream is that sends: bytes are copied into it, a payload that somebody shares is handed over as it is. Nothing of what is sent is known here.

use bytes::{Buf, Bytes};
use platform::wire::Batch;
use protocol::Frame;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncWrite, DuplexStream, WriteHalf};

/// A stream that takes chunks over.
pub trait Outlet: AsyncWrite + Send + Unpin {
    /// Something is done with what was taken over before it can leave: not the line is waited for.
    fn takes_its_time(&self) -> bool {
        false
    }

    /// Takes over as much of a chunk as there is room for; what is left of it is for another call. What copies does so here.
    fn poll_hand(mut self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        match ready!(self.as_mut().poll_write(cx, chunk))? {
            0 if !chunk.is_empty() => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            copied => {
                chunk.advance(copied);
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// A pipe in memory.
impl Outlet for WriteHalf<DuplexStream> {}

/// The same, both halves.
impl Outlet for DuplexStream {}

impl<T: Outlet + ?Sized> Outlet for Box<T> {
    fn takes_its_time(&self) -> bool {
        (**self).takes_its_time()
    }

    fn poll_hand(self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.get_mut()).poll_hand(cx, chunk)
    }
}

impl<T: Outlet + ?Sized> Outlet for &mut T {
    fn takes_its_time(&self) -> bool {
        (**self).takes_its_time()
    }

    fn poll_hand(self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.get_mut()).poll_hand(cx, chunk)
    }
}

/// A stream of a QUIC connection, which keeps chunks until they are acknowledged and copies none.
#[derive(Debug)]
pub(crate) struct QuicOutlet(pub quinn::SendStream);

impl AsyncWrite for QuicOutlet {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().0), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().0), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.get_mut().0), cx)
    }
}

impl Outlet for QuicOutlet {
    fn poll_hand(self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let mut chunks = [std::mem::take(chunk)];
        // It has no state but the stream's, and what it has taken when it is polled it says at once: it may be dropped.
        let polled = pin!(self.get_mut().0.write_chunks(&mut chunks)).poll(cx);
        [*chunk] = chunks;
        match ready!(polled) {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

/// Frames on their way into an outlet: small ones are gathered, large payloads are handed over.
#[derive(Default)]
pub(crate) struct Loader {
    batch: Batch,
}

impl Loader {
    /// One whose fronts are short, where that is agreed.
    pub fn new(short: bool) -> Self {
        Self { batch: if short { Batch::short() } else { Batch::default() } }
    }

    /// Adds a frame; what is gathered leaves when it is enough, and before a payload that is not gathered.
    pub async fn push(&mut self, frame: Frame, outlet: &mut (dyn Outlet + '_)) -> io::Result<()> {
        if !self.batch.push(&frame) {
            self.write(outlet).await?;
            return hand(outlet, frame.payload).await;
        }
        if self.batch.is_full() { self.write(outlet).await } else { Ok(()) }
    }

    /// Hands over what is gathered.
    pub async fn write(&mut self, outlet: &mut (dyn Outlet + '_)) -> io::Result<()> {
        hand(outlet, self.batch.take()).await
    }
}

async fn hand(outlet: &mut (dyn Outlet + '_), mut chunk: Bytes) -> io::Result<()> {
    while !chunk.is_empty() {
        poll_fn(|cx| Pin::new(&mut *outlet).poll_hand(cx, &mut chunk)).await?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use parking_lot::Mutex;
    use protocol::{Draft, Mark, Op, SeqNo};
    use std::ops::Range;
    use std::sync::Arc;

    /// Keeps what it is handed, where it lies, and takes at most so much at once.
    #[derive(Default)]
    pub(crate) struct Kept {
        pub chunks: Vec<Bytes>,
        pub copied: Vec<u8>,
    }

    const AT_ONCE: usize = 5000;

    impl AsyncWrite for Kept {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().copied.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Outlet for Kept {
        fn poll_hand(self: Pin<&mut Self>, _: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
            self.get_mut().chunks.push(chunk.split_to(chunk.len().min(AT_ONCE)));
            Poll::Ready(Ok(()))
        }
    }

    /// One that somebody else can look at.
    pub(crate) struct Shared(Arc<Mutex<Kept>>);

    pub(crate) fn handing() -> (Shared, Arc<Mutex<Kept>>) {
        let kept = Arc::default();
        (Shared(Arc::clone(&kept)), kept)
    }

    impl AsyncWrite for Shared {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut *self.0.lock()).poll_write(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut *self.0.lock()).poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut *self.0.lock()).poll_shutdown(cx)
        }
    }

    impl Outlet for Shared {
        fn poll_hand(self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
            Pin::new(&mut *self.0.lock()).poll_hand(cx, chunk)
        }
    }

    pub(crate) fn frame(bytes: usize) -> Frame {
        Draft::new(&Op::Mark(Mark::Barrier), Bytes::from(vec![7; bytes])).number(SeqNo::new(1), 0, false)
    }

    /// Where it lies in memory.
    pub(crate) fn place(bytes: &[u8]) -> Range<usize> {
        let range = bytes.as_ptr_range();
        range.start as usize..range.end as usize
    }

    /// How many bytes of a payload were handed over where they lay.
    pub(crate) fn uncopied(kept: &Kept, payload: &[u8]) -> usize {
        let whole = place(payload);
        let inside = |chunk: &&Bytes| whole.start <= place(chunk).start && place(chunk).end <= whole.end;
        kept.chunks.iter().filter(inside).map(Bytes::len).sum()
    }

    #[tokio::test]
    async fn a_payload_is_handed_over_where_it_lies_and_small_frames_leave_together() {
        let (mut loader, mut kept) = (Loader::default(), Kept::default());
        let large = frame(100_000);
        let mut wanted = Vec::new();
        for frame in [frame(10), frame(100), large.clone(), frame(1000)] {
            wanted.extend_from_slice(&frame.front);
            wanted.extend_from_slice(&frame.payload);
            loader.push(frame, &mut kept).await.unwrap();
        }
        loader.write(&mut kept).await.unwrap();
        assert_eq!(uncopied(&kept, &large.payload), large.payload.len());
        assert!(kept.chunks.concat() == wanted && kept.copied.is_empty(), "in order, and all of it");
        assert_eq!(kept.chunks.len(), 2 + large.payload.len().div_ceil(AT_ONCE), "what is small leaves together");
    }
}

//! What the half of a stream is that receives: bytes are copied out of it, or taken over where they lie. Nothing of what arrives is known here.

use bytes::{Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, DuplexStream, ReadBuf, ReadHalf};
use tokio::net::unix::OwnedReadHalf;

/// What is taken at once where it has to be copied.
const COPIED_BYTES: usize = 16 << 10;

/// A stream that gives its chunks away.
pub trait Inlet: AsyncRead + Unpin {
    /// Takes what is there next, `most` bytes of it at most; nothing where the stream has ended. What cannot give it away copies it here.
    fn poll_take(self: Pin<&mut Self>, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        copy(self.get_mut(), cx, most)
    }
}

/// Takes what is there next, copied.
pub(crate) fn copy(
    from: &mut (impl AsyncRead + Unpin + ?Sized),
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    let mut bytes = BytesMut::zeroed(most.min(COPIED_BYTES));
    let mut read = ReadBuf::new(&mut bytes);
    ready!(Pin::new(from).poll_read(cx, &mut read))?;
    let len = read.filled().len();
    bytes.truncate(len);
    Poll::Ready(Ok(bytes.freeze()))
}

impl Inlet for DuplexStream {}
impl Inlet for ReadHalf<DuplexStream> {}
impl Inlet for OwnedReadHalf {}
impl Inlet for &[u8] {}

impl<T: Inlet + ?Sized> Inlet for &mut T {
    fn poll_take(self: Pin<&mut Self>, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        Pin::new(&mut **self.get_mut()).poll_take(cx, most)
    }
}

/// What is in the buffer comes first, copied.
impl<T: Inlet> Inlet for BufReader<T> {
    fn poll_take(self: Pin<&mut Self>, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        let reader = self.get_mut();
        if reader.buffer().is_empty() {
            return Pin::new(reader.get_mut()).poll_take(cx, most);
        }
        let bytes = Bytes::copy_from_slice(&reader.buffer()[..reader.buffer().len().min(most)]);
        Pin::new(reader).consume(bytes.len());
        Poll::Ready(Ok(bytes))
    }
}

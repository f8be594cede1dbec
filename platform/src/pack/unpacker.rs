//! Expands blocks as they arrive. Everything that a peer says of a block is checked before room is made for it.

use crate::inlet::{self, Inlet};
use bytes::Bytes;
use protocol::{BLOCK_HEAD_BYTES, BlockError, BlockHead, BlockKind};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, Take};
use zstd::bulk::Decompressor;

/// Reads what was packed into blocks, or what was not: as its two ends agreed. A block that breaks a bound or does not expand to what it says is an error of
/// kind `InvalidData` with a [`BlockError`] in it, then and ever after.
pub struct Unpacker<R> {
    inner: Take<R>,
    state: State,
    packed: Vec<u8>,
    raw: Vec<u8>,
    zstd: Option<Decompressor<'static>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// No blocks.
    Bare,
    /// So much of a head is there.
    Head([u8; BLOCK_HEAD_BYTES], usize),
    /// So many bytes of a plain block are to come.
    Plain(usize),
    /// So many packed bytes of a block are there.
    Packed(BlockHead, usize),
    /// Expanded, and read up to here.
    Raw(usize),
    Failed(BlockError),
}

impl<R> std::fmt::Debug for Unpacker<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<R: AsyncRead + Unpin> Unpacker<R> {
    /// A reader of `inner`, on which blocks come, or `inner` as it is.
    pub fn new(inner: R, blocks: bool) -> Self {
        let state = if blocks { State::Head([0; BLOCK_HEAD_BYTES], 0) } else { State::Bare };
        Self { inner: inner.take(u64::MAX), state, packed: Vec::new(), raw: Vec::new(), zstd: None }
    }

    /// What comes, unread and not expanded.
    pub fn get_mut(&mut self) -> &mut R {
        self.inner.get_mut()
    }

    /// Expands the block that is there. It becomes no larger than its head says.
    fn expand(&mut self, head: BlockHead) -> Result<(), BlockError> {
        self.raw.resize(head.raw_len, 0);
        let packed = &self.packed[..head.packed_len];
        let expanded = match head.kind {
            BlockKind::Plain => None,
            BlockKind::Lz4 => lz4_flex::block::decompress_into(packed, &mut self.raw).ok(),
            BlockKind::Zstd => match self.zstd.take().map_or_else(Decompressor::new, Ok) {
                Ok(zstd) => self.zstd.insert(zstd).decompress_to_buffer(packed, &mut self.raw[..]).ok(),
                Err(_) => None,
            },
        };
        if expanded == Some(head.raw_len) { Ok(()) } else { Err(BlockError::Content(head.raw_len)) }
    }

    /// Reads the head of the next block; `false`: the stream has ended before it.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while let State::Head(mut head, before) = self.state {
            let now = ready!(Self::fill(&mut self.inner, cx, &mut head, before))?;
            if now == before {
                // It may end between two blocks.
                let cut = before != 0;
                return Poll::Ready(if cut { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) });
            }
            self.state = if now < BLOCK_HEAD_BYTES { State::Head(head, now) } else { self.begin(head) };
        }
        Poll::Ready(Ok(true))
    }

    /// More of what `place` is to hold from `at` on, without waiting where it is there: up to where it is now. The stream may not end here.
    fn fill(inner: &mut Take<R>, cx: &mut Context<'_>, place: &mut [u8], at: usize) -> Poll<io::Result<usize>> {
        inner.set_limit(u64::MAX);
        let mut more = ReadBuf::new(&mut place[at..]);
        ready!(Pin::new(inner).poll_read(cx, &mut more))?;
        Poll::Ready(Ok(at + more.filled().len()))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Unpacker<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let unpacker = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            unpacker.state = match unpacker.state {
                State::Bare => {
                    unpacker.inner.set_limit(u64::MAX);
                    return Pin::new(&mut unpacker.inner).poll_read(cx, buf);
                }
                State::Head(..) => {
                    if !ready!(unpacker.poll_head(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                State::Plain(left) => {
                    let filled = buf.filled().len();
                    unpacker.inner.set_limit(left as u64);
                    ready!(Pin::new(&mut unpacker.inner).poll_read(cx, buf))?;
                    let got = buf.filled().len() - filled;
                    if got == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    unpacker.state = if got == left { NEXT } else { State::Plain(left - got) };
                    return Poll::Ready(Ok(()));
                }
                State::Packed(head, before) => {
                    let place = &mut unpacker.packed[..head.packed_len];
                    let now = ready!(Self::fill(&mut unpacker.inner, cx, place, before))?;
                    if now == before {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    if now < head.packed_len {
                        State::Packed(head, now)
                    } else {
                        unpacker.expand(head).map_or_else(State::Failed, |()| State::Raw(0))
                    }
                }
                State::Raw(at) => {
                    let end = unpacker.raw.len().min(at + buf.remaining());
                    buf.put_slice(&unpacker.raw[at..end]);
                    unpacker.state = if end == unpacker.raw.len() { NEXT } else { State::Raw(end) };
                    return Poll::Ready(Ok(()));
                }
                State::Failed(error) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
            };
        }
    }
}

/// What is not packed is taken as it lies.
impl<R: Inlet> Inlet for Unpacker<R> {
    fn poll_take(self: Pin<&mut Self>, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        let unpacker = self.get_mut();
        if let State::Head(..) = unpacker.state {
            ready!(unpacker.poll_head(cx))?;
        }
        match unpacker.state {
            State::Bare => Pin::new(unpacker.inner.get_mut()).poll_take(cx, most),
            State::Plain(left) => {
                let bytes = ready!(Pin::new(unpacker.inner.get_mut()).poll_take(cx, most.min(left)))?;
                if bytes.is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                unpacker.state = if bytes.len() == left { NEXT } else { State::Plain(left - bytes.len()) };
                Poll::Ready(Ok(bytes))
            }
            _ => inlet::copy(unpacker, cx, most),
        }
    }
}

const NEXT: State = State::Head([0; BLOCK_HEAD_BYTES], 0);

impl<R> Unpacker<R> {
    /// What a whole head says is to come.
    fn begin(&mut self, head: [u8; BLOCK_HEAD_BYTES]) -> State {
        match BlockHead::parse(&head) {
            Err(error) => State::Failed(error),
            Ok(BlockHead { kind: BlockKind::Plain, raw_len, .. }) => State::Plain(raw_len),
            Ok(head) => {
                if self.packed.len() < head.packed_len {
                    self.packed.resize(head.packed_len, 0);
                }
                State::Packed(head, 0)
            }
        }
    }
}

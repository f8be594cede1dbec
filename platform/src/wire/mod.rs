//! Messages over any byte stream: QUIC, or a pipe in memory when the target is a local directory.

mod messages;

pub use messages::{Heard, Messages};

use bytes::{Bytes, BytesMut};
use protocol::frame::HEAD_BYTES;
use protocol::short::Shortener;
use protocol::{BlockError, Frame, FrameError, Head, Message};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why no message could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream failed, or ended within a frame.
    #[error("connection lost: {0}")]
    Io(#[source] io::Error),
    /// What arrived is not a frame.
    #[error("unreadable frame: {0}")]
    Frame(#[from] FrameError),
}

impl From<io::Error> for WireError {
    /// What [`crate::pack::Unpacker`] could not expand is no matter of the network.
    fn from(error: io::Error) -> Self {
        match error.downcast::<BlockError>() {
            Ok(block) => Self::Frame(block.into()),
            Err(error) => Self::Io(error),
        }
    }
}

/// Reads one message; `None` where the stream ended between two. Not cancel-safe: a read that is dropped loses bytes.
pub async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Message>, WireError> {
    read_message_within(stream, usize::MAX).await
}

/// The same from somebody who is not known: a message of more than `most` bytes is refused before room is made for it.
pub async fn read_message_within(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Result<Option<Message>, WireError> {
    let mut head = [0; HEAD_BYTES];
    if !read_first(stream, &mut head).await? {
        return Ok(None);
    }
    let head = Head::parse(&head)?;
    let len = head.header_len() + head.payload_len();
    if len > most {
        return Err(FrameError::Length(len).into());
    }
    let header = read_header(stream, &head).await?;
    Ok(Some(read_rest(stream, &head, &header).await?))
}

/// Fills a buffer with what a message begins with; `false`: the stream ended before it.
async fn read_first(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<bool> {
    match stream.read(buffer).await? {
        0 => Ok(false),
        got => stream.read_exact(&mut buffer[got..]).await.map(|_| true),
    }
}

/// The header, which is what the sender meant.
async fn read_header(stream: &mut (impl AsyncRead + Unpin), head: &Head) -> Result<Bytes, WireError> {
    let header = read_bytes(stream, head.header_len(), FIRST_HEADER_BYTES).await?;
    head.check_front(&header)?;
    Ok(header)
}

/// The payload, and the message.
async fn read_rest(stream: &mut (impl AsyncRead + Unpin), head: &Head, header: &[u8]) -> Result<Message, WireError> {
    let payload = read_bytes(stream, head.payload_len(), FIRST_PAYLOAD_BYTES).await?;
    Ok(head.message(header, payload)?)
}

/// What is allocated for a header, or a payload, before any of it is there. The rest is allocated as it arrives: a peer that announces much and sends
/// nothing occupies no more than this. Nearly all headers, and all writes that the kernel passes on, are shorter.
const FIRST_HEADER_BYTES: usize = 64 << 10;
const FIRST_PAYLOAD_BYTES: usize = 1 << 20;

/// Reads exactly `len` bytes, which the caller has checked against a bound.
async fn read_bytes(stream: &mut (impl AsyncRead + Unpin), len: usize, first: usize) -> io::Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(len.min(first));
    let mut limited = stream.take(len as u64);
    while buffer.len() < len {
        if buffer.len() == buffer.capacity() {
            // Twice what has arrived.
            buffer.reserve(buffer.len().min(len - buffer.len()));
        }
        if limited.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.freeze())
}

/// Frames that are gathered and written together.
#[derive(Default)]
pub struct Batch {
    small: BytesMut,
    shortener: Option<Shortener>,
}

impl Batch {
    /// Above this many gathered bytes a batch is written.
    pub const FULL_BYTES: usize = 64 << 10;

    /// One whose fronts may be short: all that is sent of records and pieces has to go through it.
    pub fn short() -> Self {
        Self { shortener: Some(Shortener::default()), ..Self::default() }
    }

    /// Adds a frame. `false`: its payload is large and was not added; write the batch and then the payload by itself.
    #[must_use]
    pub fn push(&mut self, frame: &Frame) -> bool {
        match &mut self.shortener {
            Some(shortener) => shortener.put(&frame.front, &mut self.small),
            None => self.small.extend_from_slice(&frame.front),
        }
        let together = frame.payload.len() <= Self::FULL_BYTES / 4;
        if together {
            self.small.extend_from_slice(&frame.payload);
        }
        together
    }

    /// Enough is gathered.
    pub fn is_full(&self) -> bool {
        self.small.len() >= Self::FULL_BYTES
    }

    /// Takes out what is gathered.
    pub fn take(&mut self) -> Bytes {
        self.small.split().freeze()
    }

    /// Writes what is gathered.
    pub async fn write(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if !self.small.is_empty() {
            stream.write_all(&self.small).await?;
            self.small.clear();
        }
        Ok(())
    }
}

/// Writes one message at once.
pub async fn write_message(stream: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let frame = Frame::encode(message);
    stream.write_all(&frame.front).await?;
    stream.write_all(&frame.payload).await?;
    stream.flush().await
}

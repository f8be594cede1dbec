//! Messages over any byte stream: QUIC, or a pipe in memory when the target is a local directory.

use bytes::{Bytes, BytesMut};
use protocol::{BlockError, Frame, FrameError, Head, Message, frame::HEAD_BYTES};
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
    match stream.read(&mut head).await? {
        0 => return Ok(None),
        got => stream.read_exact(&mut head[got..]).await?,
    };
    let head = Head::parse(&head)?;
    let len = head.header_len() + head.payload_len();
    if len > most {
        return Err(FrameError::Length(len).into());
    }
    let header = read_bytes(stream, head.header_len(), FIRST_HEADER_BYTES).await?;
    head.check_front(&header)?;
    let payload = read_bytes(stream, head.payload_len(), FIRST_PAYLOAD_BYTES).await?;
    Ok(Some(head.message(&header, payload)?))
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
}

impl Batch {
    /// Above this many gathered bytes a batch is written.
    pub const FULL_BYTES: usize = 64 << 10;

    /// Adds a frame. `false`: its payload is large and was not added; write the batch and then the payload by itself.
    #[must_use]
    pub fn push(&mut self, frame: &Frame) -> bool {
        self.small.extend_from_slice(&frame.front);
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

//! What a source says after its greeting, as it was agreed to come: in blocks or not, its fronts short or whole. Large content is taken over in the parts in which it
//! arrived.

use super::{WireError, read_first, read_header, read_rest};
use crate::inlet::Inlet;
use crate::pack::Unpacker;
use crate::parts::Parts;
use bytes::{Bytes, BytesMut};
use protocol::frame::{Carried, HEAD_BYTES};
use protocol::short::{Begins, Fronts, MAX_SHORT_BYTES};
use protocol::{Features, FrameError, Head, Message, PieceOp, Record};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use tokio::io::AsyncReadExt;

/// Content of less than this is copied together: it is in one chunk or two, of which each would hold on to its whole datagram.
const SMALL_BYTES: usize = 16 << 10;

/// A chunk of less than this is copied: one that is kept costs some hundred bytes, and a source could send one byte in each.
const CRUMB_BYTES: usize = 1 << 10;

/// What was heard.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A record and its payload.
    Record(Record, Parts),
    /// A piece with its number, and its payload.
    Piece(u64, PieceOp, Parts),
    /// Anything else.
    Other(Message),
}

impl From<Message> for Heard {
    fn from(message: Message) -> Self {
        match message {
            Message::Record(record, payload) => Self::Record(record, payload.into()),
            Message::Piece(number, op, payload) => Self::Piece(number, op, payload.into()),
            other => Self::Other(other),
        }
    }
}

impl From<Heard> for Message {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Record(record, payload) => Self::Record(record, payload.whole()),
            Heard::Piece(number, op, payload) => Self::Piece(number, op, payload.whole()),
            Heard::Other(message) => message,
        }
    }
}

/// Messages, one after the other.
#[derive(Debug)]
pub struct Messages<R> {
    stream: Unpacker<R>,
    /// Where fronts may be short.
    fronts: Option<Fronts>,
}

impl<R: Inlet> Messages<R> {
    /// `agreed`: what both ends have.
    pub fn new(stream: R, agreed: Features) -> Self {
        Self {
            stream: Unpacker::new(stream, agreed.has(Features::PACKED)),
            fronts: agreed.has(Features::SHORT).then(Fronts::default),
        }
    }

    /// The stream below, where nothing that comes matters any more.
    pub fn get_mut(&mut self) -> &mut R {
        self.stream.get_mut()
    }

    /// The next one; `None` where the stream ended between two. Not cancel-safe: a read that is dropped loses bytes.
    pub async fn next(&mut self) -> Result<Option<Heard>, WireError> {
        let stream = &mut self.stream;
        let mut head = [0; HEAD_BYTES];
        let mut keep = None;
        if let Some(fronts) = &mut self.fronts {
            let mut first = [0; 2];
            if !read_first(stream, &mut first).await? {
                return Ok(None);
            }
            let begun = match Begins::of(first[0]) {
                Begins::Short(slot) => {
                    let mut short = [0; MAX_SHORT_BYTES];
                    let short = &mut short[..usize::from(first[1])];
                    stream.read_exact(short).await?;
                    let front = fronts.expand(slot, short).map_err(FrameError::from)?;
                    let (head, header) = front.split_first_chunk().expect("a front has a head");
                    let head = Head::parse(head)?;
                    head.check_front(header)?;
                    return read_content(stream, &head, header).await.map(Some);
                }
                Begins::Keep(slot) => {
                    keep = Some((fronts, slot));
                    &first[1..]
                }
                Begins::Whole => &first[..],
            };
            head[..begun.len()].copy_from_slice(begun);
            stream.read_exact(&mut head[begun.len()..]).await?;
        } else if !read_first(stream, &mut head).await? {
            return Ok(None);
        }
        let parsed = Head::parse(&head)?;
        let header = read_header(stream, &parsed).await?;
        if let Some((fronts, slot)) = keep {
            fronts.keep(slot, &[&head[..], &header].concat()).map_err(FrameError::from)?;
        }
        read_content(stream, &parsed, &header).await.map(Some)
    }
}

/// The payload, and what it belongs to.
async fn read_content<R: Inlet>(stream: &mut Unpacker<R>, head: &Head, header: &[u8]) -> Result<Heard, WireError> {
    if head.payload_len() < SMALL_BYTES || !head.carries() {
        return Ok(read_rest(stream, head, header).await?.into());
    }
    let payload = take_all(stream, head.payload_len()).await?;
    Ok(match head.carried(header, payload.crc())? {
        Carried::Record(record) => Heard::Record(record, payload),
        Carried::Piece(number, op) => Heard::Piece(number, op, payload),
    })
}

/// Takes exactly so many bytes, which the caller has checked against a bound, where they lie.
async fn take_all<R: Inlet>(stream: &mut Unpacker<R>, len: usize) -> io::Result<Parts> {
    let (mut parts, mut crumbs, mut left) = (Vec::new(), BytesMut::new(), len);
    while left > 0 {
        let chunk: Bytes = poll_fn(|cx| Pin::new(&mut *stream).poll_take(cx, left)).await?;
        left -= chunk.len();
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if chunk.len() < CRUMB_BYTES {
            crumbs.extend_from_slice(&chunk);
            continue;
        }
        if !crumbs.is_empty() {
            parts.push(crumbs.split().freeze());
        }
        parts.push(chunk);
    }
    if !crumbs.is_empty() {
        parts.push(crumbs.freeze());
    }
    Ok(parts.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pack::{Mode, Packer};
    use protocol::{Draft, Mark, Op, SeqNo};
    use std::collections::VecDeque;
    use std::task::{Context, Poll, Waker, ready};
    use std::time::Duration;
    use tokio::io::{AsyncRead, BufReader, ReadBuf};

    /// Gives away chunks that somebody else holds too.
    struct Chunks(VecDeque<Bytes>);

    impl AsyncRead for Chunks {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let chunk = ready!(self.poll_take(cx, buf.remaining()))?;
            buf.put_slice(&chunk);
            Poll::Ready(Ok(()))
        }
    }

    impl Inlet for Chunks {
        fn poll_take(mut self: Pin<&mut Self>, _: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
            let Some(chunk) = self.0.front_mut() else { return Poll::Ready(Ok(Bytes::new())) };
            let taken = chunk.split_to(chunk.len().min(most));
            if chunk.is_empty() {
                self.0.pop_front();
            }
            Poll::Ready(Ok(taken))
        }
    }

    fn frame(payload: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..payload).map(|n| ((n * 31) >> 3).to_le_bytes()[0]).collect();
        let frame = Draft::new(&Op::Mark(Mark::Barrier), payload.into()).number(SeqNo::new(1), 0, false);
        [frame.front, frame.payload].concat()
    }

    fn all_of(mut messages: Messages<impl Inlet>) -> Vec<Heard> {
        let mut heard = Vec::new();
        let reading = async {
            while let Some(one) = messages.next().await.unwrap() {
                heard.push(one);
            }
        };
        let polled = std::pin::pin!(reading).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready(), "all of it is there");
        heard
    }

    /// How many bytes of a payload lie where they arrived.
    fn uncopied(payload: &Parts, arrived: &[Bytes]) -> usize {
        let lies_in = |part: &Bytes| arrived.iter().any(|chunk| chunk.as_ptr_range().contains(&part.as_ptr()));
        payload.parts().iter().filter(|part| lies_in(part)).map(Bytes::len).sum()
    }

    #[test]
    fn large_content_is_taken_over_where_it_lies_and_small_is_copied_together() {
        let bytes = [frame(1 << 20), frame(100), frame(SMALL_BYTES), frame(0)].concat();
        for (blocks, datagram) in [(false, 1400), (false, 6400), (true, 1400)] {
            let sent = if blocks { plain_blocks(&bytes) } else { bytes.clone() };
            let arrived: Vec<_> = sent.chunks(datagram).map(Bytes::copy_from_slice).collect();
            let agreed = if blocks { Features::PACKED } else { Features::default() };
            let buffered = BufReader::with_capacity(4096, Chunks(arrived.clone().into()));
            let heard = all_of(Messages::new(buffered, agreed));
            assert_eq!(heard.len(), 4);
            for (one, wanted) in heard.iter().zip([1 << 20, 100, SMALL_BYTES, 0]) {
                let Heard::Record(_, payload) = one else { panic!("{one:?}") };
                assert_eq!(payload.len(), wanted);
                // What the buffer had read ahead with the front, and crumbs, are copied.
                let least = if wanted < SMALL_BYTES { 0 } else { wanted - 4096 - 2 * CRUMB_BYTES };
                let kept = uncopied(payload, &arrived);
                let crumbs = if blocks { wanted / (256 << 10) * 2 * CRUMB_BYTES } else { 0 };
                assert!(kept + crumbs >= least, "{kept} of {wanted} in datagrams of {datagram}");
                assert!(payload.parts().len() < 4 + wanted / CRUMB_BYTES);
            }
            let again: Vec<_> = heard.into_iter().map(Message::from).collect();
            let wanted = all_of(Messages::new(&bytes[..], Features::default()));
            assert!(again == wanted.into_iter().map(Message::from).collect::<Vec<_>>());
        }
    }

    /// In blocks that are not packed.
    fn plain_blocks(bytes: &[u8]) -> Vec<u8> {
        let mut packer = Packer::new(Mode::Auto);
        let mut sent = Vec::new();
        for raw in bytes.chunks(protocol::MAX_BLOCK_BYTES) {
            assert!(!packer.pack(raw, || Duration::ZERO), "nothing is known of the path");
            sent.extend_from_slice(packer.block());
            sent.extend_from_slice(raw);
        }
        sent
    }

    #[test]
    fn a_byte_in_each_chunk_costs_no_more_than_the_bytes() {
        let bytes = frame(SMALL_BYTES);
        let arrived: VecDeque<_> = bytes.chunks(1).map(Bytes::copy_from_slice).collect();
        let heard = all_of(Messages::new(Chunks(arrived), Features::default()));
        let [Heard::Record(_, payload)] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((payload.len(), payload.parts().len()), (SMALL_BYTES, 1));
    }

    #[test]
    fn content_that_is_cut_or_other_than_its_checksum_is_no_message() {
        let whole = frame(1 << 20);
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        for (bytes, wanted) in [(&whole[..whole.len() - 1], "connection lost"), (&other[..], "checksum of the payload")]
        {
            let arrived: VecDeque<_> = bytes.chunks(6400).map(Bytes::copy_from_slice).collect();
            let mut messages = Messages::new(Chunks(arrived), Features::default());
            let read = std::pin::pin!(messages.next()).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Err(error)) = read else { panic!("{read:?}") };
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}

//! Frames: a fixed head, a `MessagePack` header, a raw payload (C5, C7). docs/protocol.md shows the bytes.
//!
//! Lengths are checked before anything is allocated, checksums before anything is believed. What a kind does not have is zero, and a frame where it
//! is not is none. All integers are little endian.
//!
//! ```text
//!  0  2  magic "RF"
//!  2  1  version
//!  3  1  kind
//!  4  1  codec of the payload (0: as it is)
//!  5  1  flags of a record (bit 0: tolerant; bit 1: proposed; bit 2: settled)
//!  6  2  of a record: how many of those right before it need not be durable before it is applied; else zero
//!  8  4  header length in bytes
//! 12  4  payload length in bytes
//! 16  8  sequence number, or a piece's number; 0 for what is neither
//! 24  8  offset of the payload in its file, 0 where that means nothing
//! 32  8  time stamp: nanoseconds since 1970 on the sender's clock, 0 for what is no record
//! 40  4  CRC-32C of the payload
//! 44  4  CRC-32C of bytes 0 to 44 and the header
//! 48     header, then payload
//! ```

use crate::block::BlockError;
use crate::head::{self, Fields};
use crate::id::SeqNo;
use crate::message::{Hello, HelloAck, Message};
use crate::piece::PieceOp;
use crate::record::{Op, Phase, Record};
use crate::short::ShortError;
use crate::{MAX_HEADER_BYTES, MAX_NUMBER, MAX_PAYLOAD_BYTES, VERSION};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::head::HEAD_BYTES;

const FLAG_TOLERANT: u8 = 1;
const FLAG_PROPOSED: u8 = 2;
const FLAG_SETTLED: u8 = 4;
const FLAGS: u8 = FLAG_TOLERANT | FLAG_PROPOSED | FLAG_SETTLED;

/// Why bytes are not a frame. The connection that carried them is closed with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Does not begin as a frame does.
    #[error("not a replfs frame (magic {0:02x?})")]
    Magic([u8; 2]),
    /// A version that this build does not speak.
    #[error("it is of protocol version {0}, this side speaks {VERSION}: use the same release of replfs on both sides")]
    Version(u8),
    /// A kind that does not exist.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A payload codec that does not exist.
    #[error("unknown payload codec {0}")]
    Codec(u8),
    /// Flags that do not exist, that this kind does not have, or that contradict each other.
    #[error("flags {0:02x} do not belong on it")]
    Flags(u8),
    /// A field that this kind does not have is not zero, or says something else than the header.
    #[error("its {0} is not what its kind has there")]
    Field(&'static str),
    /// Longer than allowed.
    #[error("frame of {0} bytes exceeds the bound")]
    Length(usize),
    /// The checksum of head and header, or of the payload, does not match.
    #[error("checksum of the {0} does not match")]
    Checksum(&'static str),
    /// The header is not what its kind says.
    #[error("header does not parse: {0}")]
    Header(String),
    /// It did not even get out of the block that it came in.
    #[error("{0}")]
    Block(#[from] BlockError),
    /// Its front was told by another, and not as that is done.
    #[error("{0}")]
    Short(#[from] ShortError),
}

/// Whether the front of such a frame may be told by another ([`crate::short`]): of the kinds that there are many of.
pub(crate) fn is_told(head: &[u8; HEAD_BYTES]) -> bool {
    let kinds = [Kind::Record as u8, Kind::Piece as u8];
    head[..2] == head::MAGIC
        && head[head::VERSION_AT] == VERSION
        && head[head::CODEC_AT] == 0
        && kinds.contains(&head[head::KIND_AT])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Hello = 1,
    HelloAck = 2,
    Refused = 3,
    Record = 4,
    Ack = 5,
    Answer = 6,
    Trouble = 7,
    Heartbeat = 8,
    Bye = 9,
    ByeAck = 10,
    Fetch = 11,
    FetchAck = 12,
    Ask = 13,
    Told = 14,
    Lane = 15,
    LaneAck = 16,
    Piece = 17,
    PieceDone = 18,
    Pair = 19,
    PairAck = 20,
    Busy = 21,
}

impl Kind {
    /// Whether frames of this kind have a number of their own.
    fn is_numbered(self) -> bool {
        matches!(self, Self::Record | Self::Answer | Self::Ask | Self::Told | Self::Piece | Self::PieceDone)
    }

    /// Whether frames of this kind may have a payload.
    fn has_payload(self) -> bool {
        matches!(self, Self::Record | Self::Told | Self::Piece)
    }

    fn parse(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            1 => Self::Hello,
            2 => Self::HelloAck,
            3 => Self::Refused,
            4 => Self::Record,
            5 => Self::Ack,
            6 => Self::Answer,
            7 => Self::Trouble,
            8 => Self::Heartbeat,
            9 => Self::Bye,
            10 => Self::ByeAck,
            11 => Self::Fetch,
            12 => Self::FetchAck,
            13 => Self::Ask,
            14 => Self::Told,
            15 => Self::Lane,
            16 => Self::LaneAck,
            17 => Self::Piece,
            18 => Self::PieceDone,
            19 => Self::Pair,
            20 => Self::PairAck,
            21 => Self::Busy,
            other => return Err(FrameError::Kind(other)),
        })
    }
}

/// What a payload belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A record.
    Record(Record),
    /// A piece with its number.
    Piece(u64, PieceOp),
}

/// A checked head: how much is still to be read, and what it will be.
#[derive(Clone, Debug)]
pub struct Head {
    kind: Kind,
    fields: Fields,
    running_crc: u32,
}

impl Head {
    /// Checks magic, version, kind, codec, both lengths, and that what the kind does not have is zero. The checksum of the head covers the header
    /// too and is checked by [`Head::check_front`].
    ///
    /// A refusal is read whatever its version is: its bytes never change, so that ends of different versions can say so.
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Self, FrameError> {
        if bytes[..2] != head::MAGIC {
            return Err(FrameError::Magic([bytes[0], bytes[1]]));
        }
        let version = bytes[head::VERSION_AT];
        if version != VERSION && bytes[head::KIND_AT] != Kind::Refused as u8 {
            return Err(FrameError::Version(version));
        }
        let fields = Fields::read(bytes);
        let kind = Kind::parse(fields.kind)?;
        if bytes[head::CODEC_AT] != 0 {
            return Err(FrameError::Codec(bytes[head::CODEC_AT]));
        }
        for (len, bound) in [(fields.header_len, MAX_HEADER_BYTES), (fields.payload_len, MAX_PAYLOAD_BYTES)] {
            if len as usize > bound {
                return Err(FrameError::Length(len as usize));
            }
        }
        let is_record = kind == Kind::Record;
        if fields.flags & !FLAGS != 0 || fields.flags != 0 && !is_record {
            return Err(FrameError::Flags(fields.flags));
        }
        let rules = [
            (fields.beside == 0 || is_record, "place for records beside it"),
            (fields.payload_len == 0 || kind.has_payload(), "payload"),
            (fields.seq == 0 || kind.is_numbered(), "number"),
            (fields.seq <= MAX_NUMBER, "number"),
            (fields.offset == 0 || is_record || kind == Kind::Piece, "offset"),
            (fields.stamp == 0 || is_record, "time stamp"),
        ];
        if let Some((_, field)) = rules.iter().find(|(right, _)| !right) {
            return Err(FrameError::Field(field));
        }
        Ok(Self { kind, fields, running_crc: head::running_crc(bytes) })
    }

    /// Bytes of header to read after the head.
    pub fn header_len(&self) -> usize {
        self.fields.header_len as usize
    }

    /// Bytes of payload to read after the header.
    pub fn payload_len(&self) -> usize {
        self.fields.payload_len as usize
    }

    /// The sequence number, or what else the kind keeps in its place.
    pub fn seq(&self) -> SeqNo {
        SeqNo::new(self.fields.seq)
    }

    /// Nanoseconds since 1970 on the sender's clock; 0 for what is no record.
    pub fn stamp(&self) -> u64 {
        self.fields.stamp
    }

    /// Whether it is a record's or a piece's.
    pub fn carries(&self) -> bool {
        matches!(self.kind, Kind::Record | Kind::Piece)
    }

    /// The record or piece ([`Self::carries`]) without its payload, which has this checksum; [`Self::check_front`] held.
    pub fn carried(&self, header: &[u8], payload_crc: u32) -> Result<Carried, FrameError> {
        if payload_crc != self.fields.payload_crc {
            return Err(FrameError::Checksum("payload"));
        }
        match self.kind {
            Kind::Record => {
                let op: Op = parse(header)?;
                self.is_at(offset_of(&op))?;
                let tolerant = self.fields.flags & FLAG_TOLERANT != 0;
                let phase = phase(self.fields.flags)?;
                let (seq, stamp, beside) = (self.seq(), self.stamp(), self.fields.beside);
                Ok(Carried::Record(Record { seq, stamp, tolerant, phase, beside, op }))
            }
            Kind::Piece => {
                let op: PieceOp = parse(header)?;
                self.is_at(piece_offset(&op))?;
                Ok(Carried::Piece(self.fields.seq, op))
            }
            _ => Err(FrameError::Kind(self.kind as u8)),
        }
    }

    /// Checks head and header against their checksum: after this the length of the payload is what the sender meant.
    pub fn check_front(&self, header: &[u8]) -> Result<(), FrameError> {
        let right =
            header.len() == self.header_len() && crc32c::crc32c_append(self.running_crc, header) == self.fields.crc;
        if right { Ok(()) } else { Err(FrameError::Checksum("header")) }
    }

    /// Checks header and payload against their checksums, without taking the header apart.
    pub fn check(&self, header: &[u8], payload: &[u8]) -> Result<(), FrameError> {
        self.check_front(header)?;
        if crc32c::crc32c(payload) != self.fields.payload_crc {
            return Err(FrameError::Checksum("payload"));
        }
        Ok(())
    }

    /// The offset in the head is the header's.
    fn is_at(&self, offset: u64) -> Result<(), FrameError> {
        if self.fields.offset == offset { Ok(()) } else { Err(FrameError::Field("offset")) }
    }

    fn without_header(&self, message: Message) -> Result<Message, FrameError> {
        if self.header_len() == 0 { Ok(message) } else { Err(FrameError::Field("header")) }
    }

    /// The message, from the header and payload that were read.
    pub fn message(&self, header: &[u8], payload: Bytes) -> Result<Message, FrameError> {
        assert!(header.len() == self.header_len() && payload.len() == self.payload_len(), "lengths as announced");
        self.check(header, &payload)?;
        Ok(match self.kind {
            Kind::Hello => Message::Hello(parse_greeting(header, Hello::FIELDS)?),
            Kind::HelloAck => Message::HelloAck(parse_greeting(header, HelloAck::FIELDS)?),
            Kind::Refused => Message::Refused(parse(header)?),
            Kind::Record | Kind::Piece => match self.carried(header, self.fields.payload_crc)? {
                Carried::Record(record) => Message::Record(record, payload),
                Carried::Piece(number, op) => Message::Piece(number, op, payload),
            },
            Kind::Ack => Message::Ack(parse(header)?),
            Kind::Answer => Message::Answer(self.seq(), parse(header)?),
            Kind::Trouble => Message::Trouble(parse(header)?),
            Kind::Heartbeat => self.without_header(Message::Heartbeat)?,
            Kind::Bye => self.without_header(Message::Bye)?,
            Kind::Busy => Message::Busy(parse(header)?),
            Kind::ByeAck => Message::ByeAck(parse(header)?),
            Kind::Fetch => Message::Fetch(parse(header)?),
            Kind::FetchAck => Message::FetchAck(parse(header)?),
            Kind::Ask => Message::Ask(self.seq(), parse(header)?),
            Kind::Told => Message::Told(self.seq(), parse(header)?, payload),
            Kind::Lane => Message::Lane(parse(header)?),
            Kind::LaneAck => Message::LaneAck(parse(header)?),
            Kind::PieceDone => Message::PieceDone(self.fields.seq, parse(header)?),
            Kind::Pair => Message::Pair(parse(header)?),
            Kind::PairAck => Message::PairAck(parse(header)?),
        })
    }
}

fn offset_of(op: &Op) -> u64 {
    match op {
        Op::Write { offset, .. } => *offset,
        _ => 0,
    }
}

fn piece_offset(op: &PieceOp) -> u64 {
    match op {
        PieceOp::Data { offset, .. } => *offset,
        _ => 0,
    }
}

fn phase(flags: u8) -> Result<Phase, FrameError> {
    match (flags & FLAG_PROPOSED != 0, flags & FLAG_SETTLED != 0) {
        (false, false) => Ok(Phase::Plain),
        (true, false) => Ok(Phase::Proposed),
        (false, true) => Ok(Phase::Settled),
        (true, true) => Err(FrameError::Flags(flags)),
    }
}

/// A header, and nothing behind it.
fn parse<T: DeserializeOwned>(header: &[u8]) -> Result<T, FrameError> {
    let mut reader = rmp_serde::Deserializer::new(std::io::Cursor::new(header));
    let parsed = T::deserialize(&mut reader).map_err(|e| FrameError::Header(e.to_string()))?;
    match (header.len() as u64).saturating_sub(reader.position()) {
        0 => Ok(parsed),
        more => Err(FrameError::Header(format!("{more} bytes behind it"))),
    }
}

/// A greeting may have more fields than this build knows, at its end: they are passed over. `fields`: how many it knows.
fn parse_greeting<T: DeserializeOwned>(header: &[u8], fields: u8) -> Result<T, FrameError> {
    // MessagePack: an array of up to 15 is one byte, of more three.
    let (len, body) = match header {
        [marker @ 0x90..=0x9f, body @ ..] => (u16::from(marker & 0x0f), body),
        [0xdc, high, low, body @ ..] => (u16::from_be_bytes([*high, *low]), body),
        _ => return parse(header),
    };
    if len <= u16::from(fields) {
        return parse(header);
    }
    let known = [&[0x90 | fields], body].concat();
    rmp_serde::from_slice(&known).map_err(|e| FrameError::Header(e.to_string()))
}

fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("the protocol's own types serialize into memory")
}

/// An encoded frame: head and header in one piece, the payload shared with whoever made it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Head and header.
    pub front: Bytes,
    /// Payload.
    pub payload: Bytes,
}

impl Frame {
    /// Encodes `message`. The payload is not copied.
    pub fn encode(message: &Message) -> Self {
        match message {
            Message::Hello(m) => Self::build(Kind::Hello, SeqNo::ZERO, &pack(m)),
            Message::HelloAck(m) => Self::build(Kind::HelloAck, SeqNo::ZERO, &pack(m)),
            Message::Refused(m) => Self::build(Kind::Refused, SeqNo::ZERO, &pack(m)),
            Message::Record(record, payload) => Self::record(record, payload.clone()),
            Message::Ack(m) => Self::build(Kind::Ack, SeqNo::ZERO, &pack(m)),
            Message::Answer(seq, m) => Self::build(Kind::Answer, *seq, &pack(m)),
            Message::Trouble(m) => Self::build(Kind::Trouble, SeqNo::ZERO, &pack(m)),
            Message::Heartbeat => Self::build(Kind::Heartbeat, SeqNo::ZERO, &[]),
            Message::Busy(m) => Self::build(Kind::Busy, SeqNo::ZERO, &pack(m)),
            Message::Bye => Self::build(Kind::Bye, SeqNo::ZERO, &[]),
            Message::ByeAck(m) => Self::build(Kind::ByeAck, SeqNo::ZERO, &pack(m)),
            Message::Fetch(m) => Self::build(Kind::Fetch, SeqNo::ZERO, &pack(m)),
            Message::FetchAck(m) => Self::build(Kind::FetchAck, SeqNo::ZERO, &pack(m)),
            Message::Ask(seq, m) => Self::build(Kind::Ask, *seq, &pack(m)),
            Message::Told(seq, m, payload) => {
                assemble(Kind::Told, (0, 0), *seq, 0, 0, &pack(m), payload.clone(), crc32c::crc32c(payload))
            }
            Message::Lane(m) => Self::build(Kind::Lane, SeqNo::ZERO, &pack(m)),
            Message::LaneAck(m) => Self::build(Kind::LaneAck, SeqNo::ZERO, &pack(m)),
            Message::Piece(n, op, payload) => Self::piece(*n, op, payload.clone()),
            Message::PieceDone(n, m) => Self::build(Kind::PieceDone, SeqNo::new(*n), &pack(m)),
            Message::Pair(m) => Self::build(Kind::Pair, SeqNo::ZERO, &pack(m)),
            Message::PairAck(m) => Self::build(Kind::PairAck, SeqNo::ZERO, &pack(m)),
        }
    }

    /// Encodes a record with its payload.
    pub fn record(record: &Record, payload: Bytes) -> Self {
        let draft = Draft { beside: record.beside, ..Draft::new(&record.op, payload).in_phase(record.phase) };
        draft.number(record.seq, record.stamp, record.tolerant)
    }

    /// Encodes a piece with its number and payload. The payload is not copied.
    pub fn piece(n: u64, op: &PieceOp, payload: Bytes) -> Self {
        let offset = piece_offset(op);
        let crc = crc32c::crc32c(&payload);
        assemble(Kind::Piece, (0, 0), SeqNo::new(n), offset, 0, &pack(op), payload, crc)
    }

    /// Length of the whole frame in bytes.
    #[allow(clippy::len_without_is_empty)] // a frame is never empty
    pub fn len(&self) -> usize {
        self.front.len() + self.payload.len()
    }

    fn build(kind: Kind, seq: SeqNo, header: &[u8]) -> Self {
        let none = Bytes::new();
        assemble(kind, (0, 0), seq, 0, 0, header, none, crc32c::crc32c(&[]))
    }

    /// The same record for a target that does not know [`Record::beside`] ([`crate::Features::BESIDE`]).
    #[must_use]
    pub fn without_beside(self) -> Self {
        let Some((head, header)) = self.front.split_first_chunk() else { return self };
        let fields = Fields::read(head);
        if fields.kind != Kind::Record as u8 || fields.beside == 0 {
            return self;
        }
        Self { front: Fields { beside: 0, ..fields }.front(header).into(), ..self }
    }
}

/// A record that has everything but its number: the work of encoding is done before the lock that gives out numbers is taken.
#[derive(Debug)]
pub struct Draft {
    header: Vec<u8>,
    payload: Bytes,
    payload_crc: u32,
    offset: u64,
    word: &'static str,
    phase: Phase,
    beside: u16,
}

impl Draft {
    /// Encodes an operation and takes the checksum of its payload.
    pub fn new(op: &Op, payload: Bytes) -> Self {
        let offset = offset_of(op);
        Self {
            header: pack(op),
            payload_crc: crc32c::crc32c(&payload),
            payload,
            offset,
            word: op.word(),
            phase: Phase::Plain,
            beside: 0,
        }
    }

    /// The same where this is the newest number of which the application that asked for it to be durable was told so.
    #[must_use]
    pub fn after(mut self, synced: SeqNo, seq: SeqNo) -> Self {
        // More than there is room for: that fewer are said to be beside it is right too.
        self.beside = u16::try_from(seq.prev().since(synced)).unwrap_or(u16::MAX);
        self
    }

    /// The same in another phase.
    #[must_use]
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// Whether the source has carried it out, and who was first.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The operation's word ([`Op::word`]).
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// The frame of this operation in its place in the order.
    pub fn number(self, seq: SeqNo, stamp: u64, tolerant: bool) -> Frame {
        let phase = match self.phase {
            Phase::Plain => 0,
            Phase::Proposed => FLAG_PROPOSED,
            Phase::Settled => FLAG_SETTLED,
        };
        let flags = phase | if tolerant { FLAG_TOLERANT } else { 0 };
        let marks = (flags, self.beside);
        assemble(Kind::Record, marks, seq, self.offset, stamp, &self.header, self.payload, self.payload_crc)
    }
}

#[allow(clippy::too_many_arguments)] // the fields of the head, in their order
fn assemble(
    kind: Kind,
    (flags, beside): (u8, u16),
    seq: SeqNo,
    offset: u64,
    stamp: u64,
    header: &[u8],
    payload: Bytes,
    payload_crc: u32,
) -> Frame {
    assert!(header.len() <= MAX_HEADER_BYTES && payload.len() <= MAX_PAYLOAD_BYTES, "frame within its bounds");
    let len32 = |len: usize| u32::try_from(len).expect("bounded above");
    let fields = Fields {
        kind: kind as u8,
        flags,
        beside,
        header_len: len32(header.len()),
        payload_len: len32(payload.len()),
        seq: seq.get(),
        offset,
        stamp,
        payload_crc,
        crc: 0,
    };
    Frame { front: fields.front(header).into(), payload }
}

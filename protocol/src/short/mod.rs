//! Short fronts (C4): the head and header of a record or piece, told by what is other than in one that went before it on the same stream. Frames are
//! what they were: a short front expands to the bytes that it was made of, checksums included, and is checked as they are. docs/protocol.md shows the bytes.
//!
//! Both ends of a stream keep the same few fronts. Which of them a front is told by, and where it is kept, is the sender's choice ([`Shortener`], `sender.rs`); the receiver
//! ([`Fronts`]) follows, and holds no more than [`SLOTS`] headers of [`MAX_KEPT_BYTES`], whatever is sent.

mod coding;
mod items;
mod sender;

pub use sender::Shortener;

use crate::frame::is_told;
use crate::head::{Fields, HEAD_BYTES};
use coding::Source;
use items::{Item, Items, Shape, put_bytes, put_number};

/// How many fronts each end of a stream keeps.
pub const SLOTS: usize = 32;

/// The longest header that is kept, in bytes. One that is longer always goes whole.
pub const MAX_KEPT_BYTES: usize = 1024;

/// The longest short front in bytes, without the two that begin it.
pub const MAX_SHORT_BYTES: usize = 255;

/// A whole frame follows, and its front is kept in this slot.
const KEEP: u8 = 0xc0;
/// A front told by the one in this slot, where it is kept in its place.
const SHORT: u8 = 0x80;
const SLOT: u8 = 0x1f;

const FLAGS: u8 = 1;
const BESIDE: u8 = 2;
const SEQ: u8 = 4;
const OFFSET: u8 = 8;
const PAYLOAD: u8 = 16;
const MASK: u8 = FLAGS | BESIDE | SEQ | OFFSET | PAYLOAD;

/// Why bytes are not a short front. The connection that carried them is closed with this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShortError {
    /// It is told by a front that was never sent.
    #[error("a front is told by one that was not sent (slot {0})")]
    Empty(u8),
    /// It does not say what a front has to.
    #[error("a short front does not say its {0}")]
    Truncated(&'static str),
    /// It says more than there is to say, or what cannot be.
    #[error("the {0} of a short front is not what it can be")]
    Field(&'static str),
    /// A front is to be kept that cannot be told by.
    #[error("a front of {0} bytes cannot be kept")]
    Keep(usize),
}

/// How something begins that is sent where fronts may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// A frame as it is: this is its first byte.
    Whole,
    /// A frame as it is comes after this byte; its front is to be kept in a slot.
    Keep(u8),
    /// A byte with the length of a short front, that front, told by the one in a slot, and the payload come after this byte.
    Short(u8),
}

impl Begins {
    /// What a first byte says. What is neither is taken for a frame's, and found out as such.
    pub fn of(byte: u8) -> Self {
        match byte & !SLOT {
            KEEP => Self::Keep(byte & SLOT),
            SHORT => Self::Short(byte & SLOT),
            _ => Self::Whole,
        }
    }
}

/// A front that others are told by.
#[derive(Clone, Debug)]
struct Kept {
    head: Fields,
    header: Vec<u8>,
}

/// What one front after the other is told by, at either end.
#[derive(Debug, Default)]
pub struct Fronts {
    slots: [Option<Kept>; SLOTS],
    /// Of the last front that was kept.
    seq: u64,
    stamp: u64,
    beside: u16,
}

impl Fronts {
    /// Keeps a front that came whole.
    pub fn keep(&mut self, slot: u8, front: &[u8]) -> Result<(), ShortError> {
        let (head, header) = split(front).ok_or(ShortError::Keep(front.len()))?;
        if Shape::of(head.kind, header).is_none() {
            return Err(ShortError::Keep(front.len()));
        }
        self.put(slot, head, header);
        Ok(())
    }

    fn put(&mut self, slot: u8, head: Fields, header: &[u8]) {
        let slot = &mut self.slots[usize::from(slot & SLOT)];
        let mut kept = slot.take().map_or_else(Vec::new, |kept| kept.header);
        kept.clear();
        kept.extend_from_slice(header);
        *slot = Some(Kept { head, header: kept });
        (self.seq, self.stamp, self.beside) = (head.seq, head.stamp, head.beside);
    }

    /// How many records before this one nobody was told of: as many more as there are since the last front, where nobody was told of any meanwhile.
    fn likely_beside(&self, seq: u64) -> u16 {
        let more = seq.wrapping_sub(self.seq);
        u16::try_from(more).map_or(u16::MAX, |more| self.beside.saturating_add(more))
    }

    /// The front that a short one was made of. Nothing is checked of it but that there is one.
    pub fn expand(&mut self, slot: u8, short: &[u8]) -> Result<Vec<u8>, ShortError> {
        let Kept { head: known, header: known_header } =
            self.slots[usize::from(slot & SLOT)].as_ref().ok_or(ShortError::Empty(slot))?;
        let mut from = Source(short);
        let mask = from.byte("mask")?;
        if mask & !MASK != 0 {
            return Err(ShortError::Field("mask"));
        }
        let flags = if mask & FLAGS == 0 { known.flags } else { from.byte("flags")? };
        let seq = self.seq.wrapping_add(1);
        let seq = if mask & SEQ == 0 { seq } else { seq.wrapping_add(from.signed("number")?) };
        let beside = match mask & BESIDE {
            0 => self.likely_beside(seq),
            _ => u16::try_from(from.varint("place for records beside it")?)
                .map_err(|_| ShortError::Field("place for records beside it"))?,
        };
        let stamp = self.stamp.wrapping_add(from.signed("time stamp")?);
        let offset = known.offset.wrapping_add(known.payload_len.into());
        let offset = if mask & OFFSET == 0 { offset } else { offset.wrapping_add(from.signed("offset")?) };
        let payload_len = match mask & PAYLOAD {
            0 => known.payload_len,
            _ => u32::try_from(from.varint("length of the payload")?)
                .map_err(|_| ShortError::Field("length of the payload"))?,
        };
        let payload_crc = if payload_len == 0 { 0 } else { from.four("checksum of the payload")? };

        let mut front = vec![0; HEAD_BYTES];
        expand_header(known_header, &mut from, &mut front)?;
        let crc = from.four("checksum")?;
        if !from.0.is_empty() {
            return Err(ShortError::Field("end"));
        }
        let header_len = front.len() - HEAD_BYTES;
        if header_len > MAX_KEPT_BYTES {
            return Err(ShortError::Field("header"));
        }
        let header_len = u32::try_from(header_len).expect("bounded above");
        let head =
            Fields { kind: known.kind, flags, beside, header_len, payload_len, seq, offset, stamp, payload_crc, crc };
        front[..HEAD_BYTES].copy_from_slice(&head.write());
        self.put(slot, head, &front[HEAD_BYTES..]);
        Ok(front)
    }
}

/// The header that is other than a known one in what is said.
fn expand_header(known: &[u8], from: &mut Source<'_>, out: &mut Vec<u8>) -> Result<(), ShortError> {
    let mut bits = from.varint("header")?;
    for item in Items(known) {
        let is_other = !matches!(item, Item::Fixed(_)) && bits & 1 != 0;
        match item {
            Item::Fixed(bytes) => {
                out.extend_from_slice(bytes);
                continue;
            }
            Item::Number(old) => put_number(out, if is_other { old.wrapping_add(from.signed("header")?) } else { old }),
            Item::Bytes(old) if is_other => {
                let same = usize::try_from(from.varint("header")?).ok().and_then(|same| old.get(..same));
                let same = same.ok_or(ShortError::Field("header"))?;
                let rest = usize::try_from(from.varint("header")?).map_err(|_| ShortError::Field("header"))?;
                put_bytes(out, &[same, from.take(rest, "header")?]);
            }
            Item::Bytes(old) => put_bytes(out, &[old]),
        }
        bits >>= 1;
    }
    if bits == 0 { Ok(()) } else { Err(ShortError::Field("header")) }
}

/// Head and header of a front that may be told by another, or others by it.
fn split(front: &[u8]) -> Option<(Fields, &[u8])> {
    let (head, header) = front.split_first_chunk()?;
    let fields = Fields::read(head);
    (is_told(head) && header.len() == fields.header_len as usize).then_some((fields, header))
}

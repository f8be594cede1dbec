//! Short fronts (C4): the head and header of a record or piece, told by what is other than in one that went before it on the same stream. Frames are
//! what they were: a short front expands to the bytes that it was made of, checksums included, and is checked as they are. docs/protocol.md shows the bytes.
//!
//! Both ends of a stream keep the same few fronts. Which of them a front is told by, and where it is kept, is the sender's choice ([`Shortener`]); the receiver
//! ([`Fronts`]) follows, and holds no more than [`SLOTS`] headers of [`MAX_KEPT_BYTES`], whatever is sent.

use crate::frame::{begin, is_told};
use crate::head::{self, HEAD_BYTES};
use bytes::{BufMut, BytesMut};
use std::hash::{DefaultHasher, Hash, Hasher};

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

/// Values of a header that may be other than in the one it is told by: as many as there are bits to say so.
const MAX_VALUES: usize = 63;

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
    kind: u8,
    flags: u8,
    payload_len: u32,
    offset: u64,
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
        if Shape::of(head[head::KIND], header).is_none() {
            return Err(ShortError::Keep(front.len()));
        }
        self.put(slot, head, header);
        Ok(())
    }

    fn put(&mut self, slot: u8, head: &[u8; HEAD_BYTES], header: &[u8]) {
        let slot = &mut self.slots[usize::from(slot & SLOT)];
        let mut kept = slot.take().map_or_else(Vec::new, |kept| kept.header);
        kept.clear();
        kept.extend_from_slice(header);
        *slot = Some(Kept {
            kind: head[head::KIND],
            flags: head[head::FLAGS],
            payload_len: head::u32_at(head, head::PAYLOAD_LEN),
            offset: head::u64_at(head, head::OFFSET),
            header: kept,
        });
        self.seq = head::u64_at(head, head::SEQ);
        self.stamp = head::u64_at(head, head::STAMP);
        self.beside = head::u16_at(head, head::BESIDE);
    }

    /// How many records before this one nobody was told of: as many more as there are since the last front, where nobody was told of any meanwhile.
    fn likely_beside(&self, seq: u64) -> u16 {
        let more = seq.wrapping_sub(self.seq);
        u16::try_from(more).map_or(u16::MAX, |more| self.beside.saturating_add(more))
    }

    /// The front that a short one was made of. Nothing is checked of it but that there is one.
    pub fn expand(&mut self, slot: u8, short: &[u8]) -> Result<Vec<u8>, ShortError> {
        let known = self.slots[usize::from(slot & SLOT)].as_ref().ok_or(ShortError::Empty(slot))?;
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
        let payload_crc = if payload_len == 0 { [0; 4] } else { from.four("checksum of the payload")? };

        let mut front = vec![0; HEAD_BYTES];
        expand_header(&known.header, &mut from, &mut front)?;
        let crc = from.four("checksum")?;
        if !from.0.is_empty() {
            return Err(ShortError::Field("end"));
        }
        let header_len = front.len() - HEAD_BYTES;
        if header_len > MAX_KEPT_BYTES {
            return Err(ShortError::Field("header"));
        }
        let (new, header) = front.split_first_chunk_mut().expect("as long as a head");
        begin(new, known.kind, flags);
        head::put(new, head::BESIDE, beside.to_le_bytes());
        head::put(new, head::HEADER_LEN, u32::try_from(header_len).expect("bounded above").to_le_bytes());
        head::put(new, head::PAYLOAD_LEN, payload_len.to_le_bytes());
        head::put(new, head::SEQ, seq.to_le_bytes());
        head::put(new, head::OFFSET, offset.to_le_bytes());
        head::put(new, head::STAMP, stamp.to_le_bytes());
        head::put(new, head::PAYLOAD_CRC, payload_crc);
        head::put(new, head::CRC, crc);
        self.put(slot, new, header);
        Ok(front)
    }
}

/// Makes fronts short, for the end that sends.
#[derive(Debug, Default)]
pub struct Shortener {
    fronts: Fronts,
    slots: [Slot; SLOTS],
    count: u64,
    short: Vec<u8>,
}

/// Of a slot, at the end that chooses.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    shape: u64,
    used: u64,
}

impl Shortener {
    /// Puts a front, or what tells it, behind what is there. The payload is to follow.
    pub fn put(&mut self, front: &[u8], out: &mut BytesMut) {
        let Some((head, header)) = split(front) else { return out.extend_from_slice(front) };
        let Some(shape) = Shape::of(head[head::KIND], header) else { return out.extend_from_slice(front) };
        self.count += 1;
        let known = self.slots.iter().position(|slot| slot.used != 0 && slot.shape == shape.0);
        let slot = known.unwrap_or_else(|| {
            let oldest = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.used);
            oldest.map_or(0, |(at, _)| at)
        });
        self.slots[slot] = Slot { shape: shape.0, used: self.count };
        let number = u8::try_from(slot).expect("there are few") & SLOT;
        if known.is_some() && self.tell(slot, head, header) && self.short.len() <= MAX_SHORT_BYTES {
            out.put_u8(SHORT | number);
            out.put_u8(u8::try_from(self.short.len()).expect("bounded above"));
            out.extend_from_slice(&self.short);
        } else {
            out.put_u8(KEEP | number);
            out.extend_from_slice(front);
        }
        self.fronts.put(number, head, header);
    }

    /// Tells a front by the one in a slot; `false`: it cannot be told by that.
    fn tell(&mut self, slot: usize, head: &[u8; HEAD_BYTES], header: &[u8]) -> bool {
        let Some(known) = &self.fronts.slots[slot] else { return false };
        let (flags, beside) = (head[head::FLAGS], head::u16_at(head, head::BESIDE));
        let (seq, offset, stamp) =
            (head::u64_at(head, head::SEQ), head::u64_at(head, head::OFFSET), head::u64_at(head, head::STAMP));
        let payload_len = head::u32_at(head, head::PAYLOAD_LEN);
        let payload_crc = &head[head::PAYLOAD_CRC..head::CRC];
        if known.kind != head[head::KIND] || payload_len == 0 && payload_crc != [0; 4] {
            return false;
        }
        let likely_seq = self.fronts.seq.wrapping_add(1);
        let likely_offset = known.offset.wrapping_add(known.payload_len.into());
        let other = [
            (FLAGS, flags != known.flags),
            (BESIDE, beside != self.fronts.likely_beside(seq)),
            (SEQ, seq != likely_seq),
            (OFFSET, offset != likely_offset),
            (PAYLOAD, payload_len != known.payload_len),
        ];
        let mask = other.iter().filter(|(_, other)| *other).fold(0, |mask, (bit, _)| mask | bit);
        let short = &mut self.short;
        short.clear();
        short.push(mask);
        if mask & FLAGS != 0 {
            short.push(flags);
        }
        if mask & SEQ != 0 {
            put_signed(short, seq.wrapping_sub(likely_seq));
        }
        if mask & BESIDE != 0 {
            put_varint(short, beside.into());
        }
        put_signed(short, stamp.wrapping_sub(self.fronts.stamp));
        if mask & OFFSET != 0 {
            put_signed(short, offset.wrapping_sub(likely_offset));
        }
        if mask & PAYLOAD != 0 {
            put_varint(short, payload_len.into());
        }
        if payload_len != 0 {
            short.extend_from_slice(payload_crc);
        }
        let told = tell_header(&known.header, header, short);
        short.extend_from_slice(&head[head::CRC..]);
        told
    }
}

/// Which of the values of a header are other, and what they are; `false`: the headers have not the same shape.
fn tell_header(known: &[u8], header: &[u8], short: &mut Vec<u8>) -> bool {
    let (mut others, mut at, mut bits) = (Vec::new(), 0, 0u64);
    let (mut olds, mut news) = (Items(known), Items(header));
    loop {
        match (olds.next(), news.next()) {
            (None, None) => break,
            (Some(Item::Fixed(old)), Some(Item::Fixed(new))) if old == new => continue,
            (Some(Item::Number(old)), Some(Item::Number(new))) => {
                if old != new {
                    bits |= 1 << at;
                    put_signed(&mut others, new.wrapping_sub(old));
                }
            }
            (Some(Item::Bytes(old)), Some(Item::Bytes(new))) => {
                if old != new {
                    bits |= 1 << at;
                    let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
                    put_varint(&mut others, same as u64);
                    put_varint(&mut others, (new.len() - same) as u64);
                    others.extend_from_slice(&new[same..]);
                }
            }
            _ => return false,
        }
        at += 1;
    }
    put_varint(short, bits);
    short.extend_from_slice(&others);
    true
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

/// What two headers have in common of which one can be told by the other: everything but the values of numbers and byte strings.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape(u64);

impl Shape {
    /// `None`: such a front is never told by another. Only what is numbered and short is.
    fn of(kind: u8, header: &[u8]) -> Option<Self> {
        if header.len() > MAX_KEPT_BYTES {
            return None;
        }
        let (mut hasher, mut values, mut items, mut len) = (DefaultHasher::new(), 0, Items(header), 0);
        kind.hash(&mut hasher);
        for item in items.by_ref() {
            match item {
                Item::Fixed(bytes) => hasher.write(bytes),
                Item::Number(_) => hasher.write_u8(1),
                Item::Bytes(_) => hasher.write_u8(2),
            }
            values += usize::from(!matches!(item, Item::Fixed(_)));
            len += 1;
        }
        (items.0.is_empty() && values <= MAX_VALUES && len > 0).then(|| Self(hasher.finish()))
    }
}

/// An item of `MessagePack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item<'a> {
    /// Belongs to the shape: whatever is neither of the others, with its content (names of variants, lengths of lists, what is not there).
    Fixed(&'a [u8]),
    /// A number that is not negative.
    Number(u64),
    /// A byte string.
    Bytes(&'a [u8]),
}

/// The items of a header one after the other, nested or not. It ends where something is that is no item, or one that would not be written as it is.
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let header = self.0;
        let number = |len: usize| {
            let bytes = header.get(1..=len)?;
            Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        };
        // What comes before the content, and the content.
        let bytes = |len: usize| {
            let start = 1 + len;
            let end = start.checked_add(usize::try_from(number(len)?).ok()?)?;
            Some((start, end))
        };
        let (item, len) = match *header.first()? {
            small @ 0..=0x7f => (Item::Number(small.into()), 1),
            marker @ 0xcc..=0xcf => {
                let len = 1 << (marker - 0xcc);
                let least = [0x80, 1 << 8, 1 << 16, 1 << 32][usize::from(marker - 0xcc)];
                (Item::Number(number(len).filter(|number| *number >= least)?), 1 + len)
            }
            marker @ 0xc4..=0xc5 => {
                let (start, end) = bytes(1 << (marker - 0xc4))?;
                let content = header.get(start..end)?;
                if marker == 0xc5 && content.len() < 1 << 8 {
                    return None;
                }
                (Item::Bytes(content), end)
            }
            0x80..=0x9f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (Item::Fixed(&header[..1]), 1),
            marker @ 0xa0..=0xbf => {
                let end = 1 + usize::from(marker & 0x1f);
                (Item::Fixed(header.get(..end)?), end)
            }
            0xd9 => {
                let (_, end) = bytes(1)?;
                (Item::Fixed(header.get(..end)?), end)
            }
            marker @ 0xd0..=0xd3 => {
                let end = 1 + (1 << (marker - 0xd0));
                (Item::Fixed(header.get(..end)?), end)
            }
            0xdc => (Item::Fixed(header.get(..3)?), 3),
            _ => return None,
        };
        self.0 = header.get(len..)?;
        Some(item)
    }
}

fn split(front: &[u8]) -> Option<(&[u8; HEAD_BYTES], &[u8])> {
    let (head, header) = front.split_first_chunk()?;
    (is_told(head) && header.len() == head::u32_at(head, head::HEADER_LEN) as usize).then_some((head, header))
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    match number {
        0..0x80 => out.push(bytes[7]),
        0x80..0x100 => out.extend_from_slice(&[0xcc, bytes[7]]),
        0x100..0x1_0000 => out.extend_from_slice(&[0xcd, bytes[6], bytes[7]]),
        0x1_0000..0x1_0000_0000 => {
            out.push(0xce);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Parts of one byte string. What would be longer than any that is kept says that it is shorter, and is found to be no header.
fn put_bytes(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let len = u16::try_from(parts.iter().map(|part| part.len()).sum::<usize>()).unwrap_or(u16::MAX);
    if let Ok(len) = u8::try_from(len) {
        out.extend_from_slice(&[0xc4, len]);
    } else {
        out.push(0xc5);
        out.extend_from_slice(&len.to_be_bytes());
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Seven bits in each byte, the lowest first; the highest bit says that more come.
fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// A difference: 0, -1, 1, -2 and so on are 0, 1, 2, 3.
fn put_signed(out: &mut Vec<u8>, difference: u64) {
    let sign = 0u64.wrapping_sub(difference >> 63);
    put_varint(out, difference << 1 ^ sign);
}

/// What is left of a short front.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ShortError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ShortError::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, ShortError> {
        Ok(self.take(1, what)?[0])
    }

    fn four(&mut self, what: &'static str) -> Result<[u8; 4], ShortError> {
        let taken = self.take(4, what)?;
        Ok([taken[0], taken[1], taken[2], taken[3]])
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, ShortError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ShortError::Field(what));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ShortError::Field(what))
    }

    /// A difference, to be added with wrapping.
    fn signed(&mut self, what: &'static str) -> Result<u64, ShortError> {
        let coded = self.varint(what)?;
        Ok(coded >> 1 ^ 0u64.wrapping_sub(coded & 1))
    }
}

//! The items of a header's `MessagePack`: which of them belong to its shape, and which are values that may be other. What operation it is of is not known here.

use super::MAX_KEPT_BYTES;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Values of a header that may be other than in the one it is told by: as many as there are bits to say so.
const MAX_VALUES: usize = 63;

/// What two headers have in common of which one can be told by the other: everything but the values of numbers and byte strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape(u64);

impl Shape {
    /// `None`: a front with this header is never told by another, nor another by it: it is long, or not all of it is items.
    pub fn of(kind: u8, header: &[u8]) -> Option<Self> {
        if header.is_empty() || header.len() > MAX_KEPT_BYTES {
            return None;
        }
        let (mut hasher, mut values, mut items) = (DefaultHasher::new(), 0, Items(header));
        kind.hash(&mut hasher);
        for item in items.by_ref() {
            match item {
                Item::Fixed(bytes) => hasher.write(bytes),
                Item::Number(_) => hasher.write_u8(1),
                Item::Bytes(_) => hasher.write_u8(2),
            }
            values += usize::from(!matches!(item, Item::Fixed(_)));
        }
        (items.0.is_empty() && values <= MAX_VALUES).then(|| Self(hasher.finish()))
    }
}

/// An item of `MessagePack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// Belongs to the shape: whatever is neither of the others, with its content (names of variants, lengths of lists, what is not there).
    Fixed(&'a [u8]),
    /// A number that is not negative.
    Number(u64),
    /// A byte string.
    Bytes(&'a [u8]),
}

/// The items of a header one after the other, nested or not. It ends where something is that is no item, or one that would not be written as it is.
pub(super) struct Items<'a>(pub &'a [u8]);

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

pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
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
pub(super) fn put_bytes(out: &mut Vec<u8>, parts: &[&[u8]]) {
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

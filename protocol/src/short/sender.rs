//! The end that sends: it chooses what a front is told by, and tells it.

use super::coding::{put_signed, put_varint};
use super::items::{Item, Items, Shape};
use super::{BESIDE, FLAGS, Fronts, KEEP, MAX_SHORT_BYTES, OFFSET, PAYLOAD, SEQ, SHORT, SLOT, SLOTS, split};
use crate::head::Fields;
use bytes::{BufMut, BytesMut};

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
    shape: Option<Shape>,
    used: u64,
}

impl Shortener {
    /// Puts a front, or what tells it, behind what is there. The payload is to follow.
    pub fn put(&mut self, front: &[u8], out: &mut BytesMut) {
        let Some((head, header)) = split(front) else { return out.extend_from_slice(front) };
        let Some(shape) = Shape::of(head.kind, header) else { return out.extend_from_slice(front) };
        self.count += 1;
        let known = self.slots.iter().position(|slot| slot.shape == Some(shape));
        let slot = known.unwrap_or_else(|| {
            let oldest = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.used);
            oldest.map_or(0, |(at, _)| at)
        });
        self.slots[slot] = Slot { shape: Some(shape), used: self.count };
        let number = u8::try_from(slot).expect("there are few") & SLOT;
        if known.is_some() && self.tell(slot, &head, header) && self.short.len() <= MAX_SHORT_BYTES {
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
    fn tell(&mut self, slot: usize, head: &Fields, header: &[u8]) -> bool {
        let Some(known) = &self.fronts.slots[slot] else { return false };
        if known.head.kind != head.kind || head.payload_len == 0 && head.payload_crc != 0 {
            return false;
        }
        let likely_seq = self.fronts.seq.wrapping_add(1);
        let likely_offset = known.head.offset.wrapping_add(known.head.payload_len.into());
        let other = [
            (FLAGS, head.flags != known.head.flags),
            (BESIDE, head.beside != self.fronts.likely_beside(head.seq)),
            (SEQ, head.seq != likely_seq),
            (OFFSET, head.offset != likely_offset),
            (PAYLOAD, head.payload_len != known.head.payload_len),
        ];
        let mask = other.iter().filter(|(_, other)| *other).fold(0, |mask, (bit, _)| mask | bit);
        let short = &mut self.short;
        short.clear();
        short.push(mask);
        if mask & FLAGS != 0 {
            short.push(head.flags);
        }
        if mask & SEQ != 0 {
            put_signed(short, head.seq.wrapping_sub(likely_seq));
        }
        if mask & BESIDE != 0 {
            put_varint(short, head.beside.into());
        }
        put_signed(short, head.stamp.wrapping_sub(self.fronts.stamp));
        if mask & OFFSET != 0 {
            put_signed(short, head.offset.wrapping_sub(likely_offset));
        }
        if mask & PAYLOAD != 0 {
            put_varint(short, head.payload_len.into());
        }
        if head.payload_len != 0 {
            short.extend_from_slice(&head.payload_crc.to_le_bytes());
        }
        let told = tell_header(&known.header, header, short);
        short.extend_from_slice(&head.crc.to_le_bytes());
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

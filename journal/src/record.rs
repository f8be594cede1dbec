//! A record in a segment: a small head, then the frame as it goes on the wire. Pure.
//!
//! ```text
//!  0  4  magic "RFJr"
//!  4  4  length of the frame in bytes
//!  8  8  sequence number
//! 16  4  CRC-32C of the segment's salt, bytes 0 to 16, and the frame's own head of 48 bytes
//! 20  4  zero
//! 24     the frame; the next record begins at the next multiple of 8
//! ```
//!
//! The salt tells the records of a segment from what the same file held before. The frame's head is in the checksum too, because it holds the checksums
//! of header and payload: after a power cut a new head before an old body of the same number and length must not pass.

use protocol::frame::HEAD_BYTES as FRAME_HEAD_BYTES;
use protocol::{MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, SeqNo};

/// Length of a record's head in bytes.
pub const HEAD_BYTES: usize = 24;

/// What has to be read before a record's head can be believed.
pub const CHECKED_BYTES: usize = HEAD_BYTES + FRAME_HEAD_BYTES;

/// Records begin at multiples of this.
pub const ALIGN: usize = 8;

pub const MAGIC: [u8; 4] = *b"RFJr";
const CRC_AT: usize = 16;
const MAX_FRAME_BYTES: usize = FRAME_HEAD_BYTES + MAX_HEADER_BYTES + MAX_PAYLOAD_BYTES;

/// A head whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    pub seq: SeqNo,
    /// Length of the frame in bytes.
    pub len: usize,
}

/// What a frame of `len` bytes takes in a segment.
pub const fn space(len: usize) -> u64 {
    (HEAD_BYTES + len).next_multiple_of(ALIGN) as u64
}

fn checksum(salt: u64, head: &[u8], frame_head: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, head), frame_head)
}

/// The head of a record. `frame_head` is the beginning of the frame, 48 bytes; `len` the length of the whole frame.
pub fn encode(salt: u64, seq: SeqNo, len: usize, frame_head: &[u8]) -> [u8; HEAD_BYTES] {
    assert!(
        frame_head.len() == FRAME_HEAD_BYTES && (FRAME_HEAD_BYTES..=MAX_FRAME_BYTES).contains(&len),
        "a whole frame"
    );
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    head[8..16].copy_from_slice(&seq.get().to_le_bytes());
    let crc = checksum(salt, &head[..CRC_AT], frame_head);
    head[CRC_AT..20].copy_from_slice(&crc.to_le_bytes());
    head
}

/// The head at the beginning of `bytes`, if it is one of this salt.
pub fn parse(salt: u64, bytes: &[u8]) -> Option<RecordHead> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    let frame_head = bytes.get(HEAD_BYTES..CHECKED_BYTES)?;
    if head[..4] != MAGIC || head[20..] != [0; 4] {
        return None;
    }
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let seq = u64::from_le_bytes(*head[8..].first_chunk()?);
    let crc = u32::from_le_bytes(*head[CRC_AT..].first_chunk()?);
    let fits = (FRAME_HEAD_BYTES..=MAX_FRAME_BYTES).contains(&len) && seq < u64::MAX / 2;
    (fits && checksum(salt, &head[..CRC_AT], frame_head) == crc).then_some(RecordHead { seq: SeqNo::new(seq), len })
}

//! Where the fields of a frame's head are ([`crate::frame`] has the table). What they mean, and whether they may be so, is not known here.

/// Length of the fixed head in bytes.
pub const HEAD_BYTES: usize = 48;

pub(crate) const MAGIC: [u8; 2] = *b"RF";
pub(crate) const VERSION: usize = 2;
pub(crate) const KIND: usize = 3;
pub(crate) const CODEC: usize = 4;
pub(crate) const FLAGS: usize = 5;
pub(crate) const BESIDE: usize = 6;
pub(crate) const HEADER_LEN: usize = 8;
pub(crate) const PAYLOAD_LEN: usize = 12;
pub(crate) const SEQ: usize = 16;
pub(crate) const OFFSET: usize = 24;
pub(crate) const STAMP: usize = 32;
pub(crate) const PAYLOAD_CRC: usize = 40;
pub(crate) const CRC: usize = 44;

/// A head, as bytes.
pub(crate) type Bytes = [u8; HEAD_BYTES];

pub(crate) fn u16_at(head: &Bytes, at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}

pub(crate) fn u32_at(head: &Bytes, at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

pub(crate) fn u64_at(head: &Bytes, at: usize) -> u64 {
    u64::from(u32_at(head, at)) | u64::from(u32_at(head, at + 4)) << 32
}

pub(crate) fn put<const N: usize>(head: &mut Bytes, at: usize, bytes: [u8; N]) {
    head[at..at + N].copy_from_slice(&bytes);
}

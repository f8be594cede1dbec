//! The head of a frame as fields and as bytes ([`crate::frame`] has the table). What the fields mean, and whether they may be so, is not known here.

use crate::VERSION;

/// Length of the fixed head in bytes.
pub const HEAD_BYTES: usize = 48;

pub(crate) const MAGIC: [u8; 2] = *b"RF";
/// Where the version is.
pub(crate) const VERSION_AT: usize = 2;
/// Where the kind is.
pub(crate) const KIND_AT: usize = 3;
/// Where the codec is.
pub(crate) const CODEC_AT: usize = 4;
/// Where the checksum is that covers all before it, and the header.
const CRC_AT: usize = 44;

/// All that a head says but magic, version and codec, which are the same in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub kind: u8,
    pub flags: u8,
    pub beside: u16,
    pub header_len: u32,
    pub payload_len: u32,
    pub seq: u64,
    pub offset: u64,
    pub stamp: u64,
    pub payload_crc: u32,
    pub crc: u32,
}

impl Fields {
    /// Those of a head.
    pub fn read(head: &[u8; HEAD_BYTES]) -> Self {
        let two = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let four = |at: usize| u32::from(two(at)) | u32::from(two(at + 2)) << 16;
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        Self {
            kind: head[KIND_AT],
            flags: head[5],
            beside: two(6),
            header_len: four(8),
            payload_len: four(12),
            seq: eight(16),
            offset: eight(24),
            stamp: eight(32),
            payload_crc: four(40),
            crc: four(CRC_AT),
        }
    }

    /// The head.
    pub fn write(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..6].copy_from_slice(&[MAGIC[0], MAGIC[1], VERSION, self.kind, 0, self.flags]);
        head[6..8].copy_from_slice(&self.beside.to_le_bytes());
        head[8..12].copy_from_slice(&self.header_len.to_le_bytes());
        head[12..16].copy_from_slice(&self.payload_len.to_le_bytes());
        head[16..24].copy_from_slice(&self.seq.to_le_bytes());
        head[24..32].copy_from_slice(&self.offset.to_le_bytes());
        head[32..40].copy_from_slice(&self.stamp.to_le_bytes());
        head[40..CRC_AT].copy_from_slice(&self.payload_crc.to_le_bytes());
        head[CRC_AT..].copy_from_slice(&self.crc.to_le_bytes());
        head
    }

    /// The head and its header, with the checksum of both.
    pub fn front(mut self, header: &[u8]) -> Vec<u8> {
        self.crc = crc32c::crc32c_append(running_crc(&self.write()), header);
        [&self.write()[..], header].concat()
    }
}

/// The checksum of a head, before that of its header is added.
pub(crate) fn running_crc(head: &[u8; HEAD_BYTES]) -> u32 {
    crc32c::crc32c(&head[..CRC_AT])
}

//! A segment's header: what segment this is, and the mark: what the journal's chain is. Pure.
//!
//! Two copies of one page each. The header with the greatest generation over all files holds the mark that counts, so one write of one page moves the
//! journal to its next state. All integers are little endian.
//!
//! ```text
//!    0   8  magic "RFJSEG" 0 0
//!    8   4  format version
//!   12   4  zero
//!   16   8  generation: grows with every header that is written
//!   24  16  incarnation of the segment's records
//!   40   8  serial number of the segment
//!   48   8  serial number of the segment before it in the chain; 0: none
//!   56   8  sequence number of its first record
//!   64   8  salt of its records
//!   72   8  size of the segment in bytes, headers included
//!   80   8  time stamp of its first record
//!   88  16  boot id of the machine when this was written
//!  104  16  mark: incarnation of the journal
//!  120   8  mark: serial number of the oldest segment that is not trimmed
//!  128   8  mark: sequence number that the oldest segment begins with
//!  136      zero
//! 4092   4  CRC-32C of bytes 0 to 4092
//! ```

use protocol::{Incarnation, SeqNo};

/// The format that this build reads and writes.
pub const VERSION: u32 = 1;

/// One copy of the header in bytes.
pub const PAGE_BYTES: usize = 4096;

/// Where a segment's records begin.
pub const DATA_AT: u64 = 2 * PAGE_BYTES as u64;

const MAGIC: [u8; 8] = *b"RFJSEG\0\0";
const CRC_AT: usize = PAGE_BYTES - 4;

/// What the whole journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub generation: u64,
    pub boot: [u8; 16],
    pub incarnation: Incarnation,
    /// Segments before this one are trimmed.
    pub oldest: u64,
    /// What the oldest segment begins with.
    pub base: SeqNo,
}

/// What one segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub incarnation: Incarnation,
    pub serial: u64,
    /// The segment before it in the chain; 0: none.
    pub before: u64,
    pub first: SeqNo,
    pub salt: u64,
    /// Size in bytes, headers included.
    pub bytes: u64,
    pub stamp: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub segment: Identity,
    pub mark: Mark,
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Header(Header),
    /// Never written.
    Blank,
    Version(u32),
    /// Neither blank nor a header.
    Bad,
}

fn take<const N: usize>(page: &[u8; PAGE_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&page[at..at + N]);
    out
}

fn number(page: &[u8; PAGE_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(take(page, at))
}

impl Header {
    pub fn encode(&self) -> [u8; PAGE_BYTES] {
        let Self { segment, mark } = self;
        let mut page = [0; PAGE_BYTES];
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let numbers = [
            (16, mark.generation),
            (40, segment.serial),
            (48, segment.before),
            (56, segment.first.get()),
            (64, segment.salt),
            (72, segment.bytes),
            (80, segment.stamp),
            (120, mark.oldest),
            (128, mark.base.get()),
        ];
        for (at, value) in numbers {
            page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        page[24..40].copy_from_slice(&segment.incarnation.to_bytes());
        page[88..104].copy_from_slice(&mark.boot);
        page[104..120].copy_from_slice(&mark.incarnation.to_bytes());
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    pub fn parse(page: &[u8; PAGE_BYTES]) -> Parsed {
        if page.iter().all(|byte| *byte == 0) {
            return Parsed::Blank;
        }
        if page[..8] != MAGIC {
            return Parsed::Bad;
        }
        let version = u32::from_le_bytes(take(page, 8));
        if version != VERSION {
            return Parsed::Version(version);
        }
        if crc32c::crc32c(&page[..CRC_AT]) != u32::from_le_bytes(take(page, CRC_AT)) {
            return Parsed::Bad;
        }
        let segment = Identity {
            incarnation: Incarnation::from_bytes(take(page, 24)),
            serial: number(page, 40),
            before: number(page, 48),
            first: SeqNo::new(number(page, 56)),
            salt: number(page, 64),
            bytes: number(page, 72),
            stamp: number(page, 80),
        };
        let mark = Mark {
            generation: number(page, 16),
            boot: take(page, 88),
            incarnation: Incarnation::from_bytes(take(page, 104)),
            oldest: number(page, 120),
            base: SeqNo::new(number(page, 128)),
        };
        // Numbers that would overflow were never written, whatever the checksum says.
        let small = [mark.generation, mark.oldest, segment.serial, segment.first.get(), mark.base.get(), segment.bytes];
        if small.iter().any(|value| *value > u64::MAX / 2) || segment.before >= segment.serial {
            return Parsed::Bad;
        }
        Parsed::Header(Self { segment, mark })
    }
}

//! Blocks (C3): what a source sends on a stream whose ends both have [`Features::PACKED`](crate::Features::PACKED), after the greeting. Here is the head of one and
//! its bounds; `platform::pack` packs and unpacks. docs/protocol.md shows the bytes.
//!
//! ```text
//!  0  1  kind: 0 plain, 1 LZ4, 2 Zstandard
//!  1  4  raw length in bytes, little endian: 1 to 262144
//!  5  4  packed length in bytes, little endian: 1 to the raw length; of a plain one the raw length
//!  9     the packed bytes
//! ```

/// Length of the head of a block in bytes.
pub const BLOCK_HEAD_BYTES: usize = 9;

/// Largest raw length of a block in bytes: what is allocated for one at most, twice (packed and raw).
pub const MAX_BLOCK_BYTES: usize = 256 << 10;

/// Why bytes are not a block. The connection that carried them is closed with this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A kind that does not exist.
    #[error("unknown kind of block {0}")]
    Kind(u8),
    /// Nothing in it, or more than allowed, or packed to more than it was.
    #[error("a block of {raw} bytes, packed to {packed}, is not within the bounds")]
    Length {
        /// What it says that it expands to.
        raw: u32,
        /// What it says that follows.
        packed: u32,
    },
    /// It does not expand to what its head says.
    #[error("a block does not expand to the {0} bytes that its head announces")]
    Content(usize),
}

/// How a block is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockKind {
    /// As it is.
    Plain = 0,
    /// LZ4's block format.
    Lz4 = 1,
    /// One or more frames of Zstandard (RFC 8878).
    Zstd = 2,
}

/// A head that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// How it is packed.
    pub kind: BlockKind,
    /// Bytes that it expands to.
    pub raw_len: usize,
    /// Bytes that follow the head.
    pub packed_len: usize,
}

impl BlockHead {
    /// Checks kind and both lengths: nothing is to be allocated before.
    pub fn parse(bytes: &[u8; BLOCK_HEAD_BYTES]) -> Result<Self, BlockError> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = match bytes[0] {
            0 => BlockKind::Plain,
            1 => BlockKind::Lz4,
            2 => BlockKind::Zstd,
            other => return Err(BlockError::Kind(other)),
        };
        let (raw, packed) = (number(1), number(5));
        let (raw_len, packed_len) = (raw as usize, packed as usize);
        let within = (1..=MAX_BLOCK_BYTES).contains(&raw_len) && (1..=raw_len).contains(&packed_len);
        if !within || kind == BlockKind::Plain && packed_len != raw_len {
            return Err(BlockError::Length { raw, packed });
        }
        Ok(Self { kind, raw_len, packed_len })
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; BLOCK_HEAD_BYTES] {
        assert!(self.raw_len <= MAX_BLOCK_BYTES && self.packed_len <= self.raw_len, "block within its bounds");
        let mut bytes = [self.kind as u8; BLOCK_HEAD_BYTES];
        for (at, len) in [(1, self.raw_len), (5, self.packed_len)] {
            bytes[at..at + 4].copy_from_slice(&u32::try_from(len).expect("bounded above").to_le_bytes());
        }
        bytes
    }
}

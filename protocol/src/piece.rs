//! Pieces: content of files that travels beside the ordered stream, over lanes, into staging files on the target. A lane
//! never says what a path becomes: an ordered record does ([`crate::record::Content::Staged`]). It may name a path to read
//! from, and whatever is there by then, what is taken from it is checked by its hash.
//!
//! Every operation can be done again: a lane that breaks is followed by one with the same number, and what was not
//! answered goes out again.

use crate::id::{Incarnation, StageId};
use crate::path::{Name, RelPath};
use serde::{Deserialize, Serialize};

/// Lanes that one source may have open to a replica; their numbers are below this.
pub const MAX_LANES: u8 = 16;

/// Content-defined chunks are cut by `fastcdc::v2020`, normalization level 1, seed 0, with these three, which both sides must
/// have the same: the shortest chunk in bytes, but for the last of a file;
pub const CUT_MIN_BYTES: u32 = 8 << 10;
/// the average;
pub const CUT_AVG_BYTES: u32 = 32 << 10;
/// the longest.
pub const CUT_MAX_BYTES: u32 = 128 << 10;
/// Chunks in one answer at most.
pub const MAX_CHUNKS: usize = 1024;

/// First message of a lane's connection. It is let in while a session of the same source, with the same run of numbers,
/// has the replica, and ends with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneHello {
    /// Protocol version of the source ([`crate::VERSION`]).
    pub version: u8,
    /// Which replica.
    pub name: Name,
    /// The source's current run of numbers.
    pub incarnation: Incarnation,
    /// Which lane, below [`MAX_LANES`]. An earlier connection of the same lane has ended when this one is answered:
    /// whatever came over it is done or will never be.
    pub lane: u8,
}

/// The target takes pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneAck {
    /// Protocol version of the target.
    pub version: u8,
}

/// What is to be done with a staging file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PieceOp {
    /// Makes it, or takes the one that is there; answered by [`PieceAnswer::There`].
    Open {
        /// Which.
        stage: StageId,
        /// How long the file is now, in bytes.
        size: u64,
    },
    /// The payload, at most [`crate::CHUNK_BYTES`], at `offset`.
    Data {
        /// Which.
        stage: StageId,
        /// Position in bytes.
        offset: u64,
    },
    /// Whatever the staging file has here becomes a hole. It does not grow.
    Hole {
        /// Which.
        stage: StageId,
        /// Position in bytes.
        offset: u64,
        /// Length in bytes, at least 1.
        len: u64,
    },
    /// Asks which blocks differ from these hashes; answered by [`PieceAnswer::Differs`]. As [`crate::Op::Compare`].
    Compare {
        /// Which.
        stage: StageId,
        /// Position in bytes.
        offset: u64,
        /// Length in bytes, at most [`crate::CHUNK_BYTES`].
        len: u64,
        /// Bytes per block; the last block may be shorter.
        block_bytes: u32,
        /// The first 16 bytes of BLAKE3 of each block.
        #[serde(with = "serde_bytes")]
        hashes: Vec<u8>,
    },
    /// It is not wanted any more. Nothing there is as good.
    Drop {
        /// Which.
        stage: StageId,
    },
    /// Asks for the content-defined chunks of a regular file of the replica; answered by [`PieceAnswer::Chunks`].
    Chunks {
        /// The staging file that they are wanted for.
        stage: StageId,
        /// The file.
        path: RelPath,
        /// Where the first chunk begins, in bytes: 0, or where an earlier answer ended.
        offset: u64,
    },
    /// Copies what a file of the replica has into the staging file; answered by [`PieceAnswer::Done`], or by
    /// [`PieceAnswer::Unlike`] where that has not this hash, and then nothing was written.
    CopyFrom {
        /// Which.
        stage: StageId,
        /// Position in the staging file, in bytes.
        offset: u64,
        /// Length in bytes, 1 to [`crate::CHUNK_BYTES`].
        len: u64,
        /// The file.
        path: RelPath,
        /// Position in that file, in bytes.
        from: u64,
        /// The first 16 bytes of BLAKE3 of all of it.
        hash: [u8; 16],
    },
}

impl PieceOp {
    /// The staging file concerned.
    pub fn stage(&self) -> StageId {
        match self {
            Self::Open { stage, .. }
            | Self::Data { stage, .. }
            | Self::Hole { stage, .. }
            | Self::Compare { stage, .. }
            | Self::Drop { stage }
            | Self::Chunks { stage, .. }
            | Self::CopyFrom { stage, .. } => *stage,
        }
    }
}

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PieceAnswer {
    /// It is in the staging file; durable together with the ordered record that places the file.
    Done,
    /// The length that the staging file has already, in bytes. What lies below may be old, torn or a hole: it is worth
    /// comparing, and proves nothing.
    There {
        /// In bytes.
        len: u64,
    },
    /// The indexes of the blocks that differ (or are holes), ascending.
    Differs(Vec<u32>),
    /// It could not be done.
    Failed {
        /// For people.
        text: String,
        /// Someone may make room or give rights: trying again later makes sense.
        retry: bool,
    },
    /// Chunks of a file from the offset that was asked for on, without gaps. None: the file ends there.
    Chunks {
        /// Length of each in bytes, at least 1 and at most [`CUT_MAX_BYTES`]; at most [`MAX_CHUNKS`] of them.
        lens: Vec<u32>,
        /// The first 16 bytes of BLAKE3 of each.
        #[serde(with = "serde_bytes")]
        hashes: Vec<u8>,
    },
    /// The file has not these bytes there, or ends before.
    Unlike,
}

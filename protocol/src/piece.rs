//! Pieces: content of files that travels beside the ordered stream, over lanes, into staging files on the target. A lane
//! never names a path: what a staging file becomes is said by an ordered record ([`crate::record::Content::Staged`]).
//!
//! Every operation can be done again: a lane that breaks is followed by one with the same number, and what was not
//! answered goes out again.

use crate::id::{Incarnation, StageId};
use crate::path::Name;
use serde::{Deserialize, Serialize};

/// Lanes that one source may have open to a replica; their numbers are below this.
pub const MAX_LANES: u8 = 16;

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
}

impl PieceOp {
    /// The staging file concerned.
    pub fn stage(&self) -> StageId {
        match self {
            Self::Open { stage, .. }
            | Self::Data { stage, .. }
            | Self::Hole { stage, .. }
            | Self::Compare { stage, .. }
            | Self::Drop { stage } => *stage,
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
}

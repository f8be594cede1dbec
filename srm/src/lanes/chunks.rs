//! Questions about what the replica has already, for a staging file that is to be much like it.

use super::piece::HASH_BYTES;
use super::{Asked, LaneError, Lanes};
use protocol::{PieceAnswer, PieceOp, RelPath, StageId};

/// A content-defined chunk of a file on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// In bytes, at least 1.
    pub len: u32,
    /// The first 16 bytes of BLAKE3.
    pub hash: [u8; HASH_BYTES],
}

/// Bytes of a file on the target that a staging file is to have too.
#[derive(Clone, Copy, Debug)]
pub struct CopyFrom<'a> {
    /// The file.
    pub path: &'a RelPath,
    /// Position in it, in bytes.
    pub from: u64,
    /// Position in the staging file, in bytes.
    pub offset: u64,
    /// In bytes, 1 to [`protocol::CHUNK_BYTES`].
    pub len: u64,
    /// What these bytes must be: the first 16 bytes of BLAKE3.
    pub hash: [u8; HASH_BYTES],
}

impl Lanes {
    /// Some chunks of a regular file on the target from `offset` on, which is 0 or where others ended, without gaps; none
    /// where the file ends.
    pub fn chunks(&self, pass: u64, stage: StageId, path: &RelPath, offset: u64) -> Result<Vec<Chunk>, LaneError> {
        let asked = self.put(pass, PieceOp::Chunks { stage, path: path.clone(), offset })?;
        match self.answer_to(self.state.lock(), pass, asked.n)? {
            PieceAnswer::Chunks { lens, hashes } => {
                let hashes = hashes.as_chunks::<HASH_BYTES>().0;
                Ok(lens.into_iter().zip(hashes).map(|(len, hash)| Chunk { len, hash: *hash }).collect())
            }
            other => Err(LaneError::Failed(format!("the target answered {other:?} to a question for chunks"))),
        }
    }

    /// Asks for a copy of what the target has; it overlaps nothing else that is under way. Returns when it is queued.
    pub fn copy_from(&self, pass: u64, stage: StageId, copy: CopyFrom<'_>) -> Result<Asked, LaneError> {
        let CopyFrom { path, from, offset, len, hash } = copy;
        self.put(pass, PieceOp::CopyFrom { stage, offset, len, path: path.clone(), from, hash })
    }

    /// Whether the target had these bytes, which are in the staging file then.
    #[allow(clippy::needless_pass_by_value)] // it comes once
    pub fn copied(&self, asked: Asked) -> Result<bool, LaneError> {
        match self.answer_to(self.state.lock(), asked.pass, asked.n)? {
            PieceAnswer::Done => Ok(true),
            PieceAnswer::Unlike => Ok(false),
            other => Err(LaneError::Failed(format!("the target answered {other:?} to a copy"))),
        }
    }
}

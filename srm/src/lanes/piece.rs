//! One piece: what it is, what it costs, what answers it.

use crate::said::{are_blocks, words};
use bytes::Bytes;
use protocol::{CUT_MAX_BYTES, MAX_CHUNKS, PieceAnswer, PieceOp};

/// What a piece costs beside its data, at the least.
const PIECE_BYTES: usize = 512;

/// Bytes of a chunk's hash.
pub(super) const HASH_BYTES: usize = 16;

/// A piece from its queueing to its answer.
#[derive(Debug)]
pub(super) struct Piece {
    pub n: u64,
    pub op: PieceOp,
    pub data: Bytes,
    /// How often it was sent.
    pub tries: u32,
    /// Somebody still wants it. What nobody wants is not sent again, but may still be under way.
    pub live: bool,
}

impl Piece {
    /// One that is wanted and was not sent.
    pub fn new(n: u64, op: PieceOp, data: Bytes) -> Self {
        Self { n, op, data, tries: 0, live: true }
    }

    pub fn cost(&self) -> usize {
        cost(&self.op, self.data.len())
    }
}

/// Bytes that a piece counts.
pub(super) fn cost(op: &PieceOp, data: usize) -> usize {
    let words = match op {
        PieceOp::Compare { hashes, .. } => hashes.len(),
        PieceOp::Chunks { path, .. } | PieceOp::CopyFrom { path, .. } => path.as_bytes().len(),
        _ => 0,
    };
    PIECE_BYTES + words + data
}

/// Whether an answer is one to this question.
pub(super) fn judge(op: &PieceOp, answer: PieceAnswer) -> Result<PieceAnswer, String> {
    let fits = match (op, &answer) {
        (_, PieceAnswer::Failed { text, .. }) => return Err(words(text)),
        (PieceOp::Open { .. }, PieceAnswer::There { .. })
        | (
            PieceOp::Data { .. } | PieceOp::Hole { .. } | PieceOp::Drop { .. } | PieceOp::CopyFrom { .. },
            PieceAnswer::Done,
        )
        | (PieceOp::CopyFrom { .. }, PieceAnswer::Unlike) => true,
        (PieceOp::Chunks { .. }, PieceAnswer::Chunks { lens, hashes }) => {
            lens.len() <= MAX_CHUNKS
                && hashes.len() == lens.len() * HASH_BYTES
                && lens.iter().all(|len| (1..=CUT_MAX_BYTES).contains(len))
        }
        (PieceOp::Compare { len, block_bytes, .. }, PieceAnswer::Differs(list)) => {
            are_blocks(list, len.div_ceil(u64::from(*block_bytes).max(1)))
        }
        _ => false,
    };
    if fits { Ok(answer) } else { Err("the target answered a question that was not asked".to_owned()) }
}

//! The contract between source and target: ids, paths, records, messages, frames.
//!
//! Pure: no I/O, no clock, no randomness. What arrives from a peer is parsed here, once, within bounds, into types
//! that cannot hold anything unsafe (a [`RelPath`] cannot leave its directory). docs/protocol.md describes the bytes.

pub mod attrs;
pub mod block;
pub mod fetch;
pub mod frame;
mod head;
pub mod id;
pub mod message;
pub mod path;
pub mod piece;
pub mod record;
pub mod short;

pub use attrs::{Attrs, NodeKind, Owner, Time};
pub use block::{BLOCK_HEAD_BYTES, BlockError, BlockHead, BlockKind, MAX_BLOCK_BYTES};
pub use fetch::{Ask, FailedKind, Fetch, FetchAck, Hole, MAX_RESERVED, MIN_HASH_BLOCK_BYTES, Seen, Told};
pub use frame::{Draft, Frame, FrameError, Head};
pub use id::{Incarnation, NodeId, ReplicaId, SeqNo, StageId};
pub use message::{
    Ack, Answer, Busy, Entry, Features, Hello, HelloAck, Message, Own, Page, Pair, PairAck, Position, RefusalCode,
    Refused, Trouble, TroubleKind, Verdict,
};
pub use path::{Name, PathError, RelPath};
pub use piece::{
    CUT_AVG_BYTES, CUT_MAX_BYTES, CUT_MIN_BYTES, LaneAck, LaneHello, MAX_CHUNKS, MAX_LANES, PieceAnswer, PieceOp,
};
pub use record::{AllocateMode, At, Content, Ensure, Mark, Op, Phase, Place, Record, RenameKind, Replaced};
pub use short::ShortError;

/// The protocol version that this build speaks. Versions are compared for equality until there are two.
pub const VERSION: u8 = 1;

/// Largest sequence number, and largest number of a piece or a question: none of them comes near, and what is added to one does not overflow.
pub const MAX_NUMBER: u64 = u64::MAX / 2;

/// What a connection for pairing says it speaks (TLS, ALPN); a stranger's key is let in for nothing else.
pub const PAIR_ALPN: &[u8] = b"replfs-pair/1";

/// Largest payload of one frame in bytes. A FUSE write is at most 1 MiB; extended attributes at most 64 KiB.
pub const MAX_PAYLOAD_BYTES: usize = 4 << 20;

/// Largest header of one frame in bytes: a page of a directory listing is the largest that occurs.
pub const MAX_HEADER_BYTES: usize = 4 << 20;

/// Largest piece of content that one [`Ensure`] or one comparison covers, in bytes.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// Block size in bytes at which content is compared.
pub const COMPARE_BLOCK_BYTES: u32 = 16 << 10;

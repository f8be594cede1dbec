//! Messages: everything that travels in frames. Records go from source to target; the rest is the conversation around
//! them.

use crate::attrs::{Attrs, NodeKind};
use crate::fetch::{Ask, Fetch, FetchAck, Told};
use crate::id::{Incarnation, ReplicaId, SeqNo};
use crate::path::{Name, RelPath};
use crate::piece::{LaneAck, LaneHello, PieceAnswer, PieceOp};
use crate::record::Record;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How far a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which run of numbers.
    pub incarnation: Incarnation,
    /// Everything up to this is applied.
    pub applied: SeqNo,
    /// Everything up to this survives a power cut of the target.
    pub durable: SeqNo,
}

/// First message of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol version of the source ([`crate::VERSION`]).
    pub version: u8,
    /// The replfs version of the source, for people.
    pub software: String,
    /// Which replica: the directory below ROOT.
    pub name: Name,
    /// The source's current run of numbers.
    pub incarnation: Incarnation,
    /// The oldest number that the source can still send.
    pub oldest: SeqNo,
    /// The newest number given out.
    pub newest: SeqNo,
    /// The replica that the source had before, if any. Another one is refused.
    pub replica: Option<ReplicaId>,
    /// Take over a directory that is not empty and belongs to nobody.
    pub adopt: bool,
    /// How long, in milliseconds, the target tries a record again that meets an error which may pass, before it goes on without
    /// it and says [`TroubleKind::Skipped`]. Without it the target tries for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// First answer of a target that lets the source in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // independent facts about a replica
pub struct HelloAck {
    /// Protocol version of the target.
    pub version: u8,
    /// The replfs version of the target, for people.
    pub software: String,
    /// The replica.
    pub replica: ReplicaId,
    /// How far the replica is, if anything is known of it.
    pub position: Option<Position>,
    /// The replica was left after a clean end, and which of its entries changed since can be told by their change
    /// time ([`Entry::suspect`]). Otherwise content is to be compared.
    pub clean: bool,
    /// Nothing is in the replica yet.
    pub empty: bool,
    /// The replica is known to differ from what was applied to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// It differs only because the target's machine lost power: what was applied after the position may be there in part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub power_lost: bool,
}

/// Why a target does not let a source in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// Versions that do not understand each other.
    Version,
    /// The key is not on the target's list.
    Unknown,
    /// The replica belongs to another source.
    Owned,
    /// The directory has entries, belongs to nobody, and adoption was not asked for.
    NotEmpty,
    /// ROOT cannot be written or is full.
    Unwritable,
    /// The replica that the source had is not there.
    Changed,
    /// Another connection of the same source is being served.
    Busy,
    /// There is no such replica to read.
    Missing,
    /// A message that did not parse, or came out of order.
    Protocol,
    /// Anything else; the text says it.
    Other,
}

/// A refusal, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub text: String,
}

/// Cumulative acknowledgement. Also sent once a second when nothing changed: the applier is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Everything up to this is applied.
    pub applied: SeqNo,
    /// Everything up to this survives a power cut of the target.
    pub durable: SeqNo,
}

/// What stands in the way of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TroubleKind {
    /// It may pass (no space, no permission): the target tries again by itself.
    Blocked,
    /// The replica is not what it should be: it needs repair. The target goes on with the next record.
    Damaged,
    /// An earlier [`TroubleKind::Blocked`] is over.
    Over,
    /// It did not pass within the bound that the source had given ([`Hello::retry_ms`]), or it follows from such a record: the
    /// target goes on with the next one, and what this one would have changed needs repair once the cause is gone.
    Skipped,
    /// It did not pass within the bound, and no other record would fare better (the replica is read-only, or the target cannot
    /// write where it is): the target stays at this one and tries again, until it says [`TroubleKind::Over`].
    Halted,
}

/// A record that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Which record.
    pub seq: SeqNo,
    /// What kind.
    pub kind: TroubleKind,
    /// The path concerned.
    pub path: Option<RelPath>,
    /// For people.
    pub text: String,
}

/// One name of a directory on the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name.
    pub name: Name,
    /// What it names.
    pub kind: NodeKind,
    /// Owner, permissions, modification time.
    pub attrs: Attrs,
    /// Size in bytes of a regular file, else zero.
    pub size: u64,
    /// Allocated blocks of 512 bytes of a regular file, else zero.
    pub blocks: u64,
    /// Names that the inode has.
    pub links: u64,
    /// Inode number, to tell which names share it.
    pub inode: u64,
    /// The first 16 bytes of BLAKE3 over the sorted extended attributes ([`Entry::xattr_digest_input`]); zeros where there are none.
    #[serde(with = "serde_bytes")]
    pub xattrs: [u8; 16],
    /// Changed, by its change time, after the last clean end: attributes prove nothing.
    pub suspect: bool,
    /// The first 16 bytes of BLAKE3 of the content, where it was asked for and the file is small enough.
    #[serde(with = "serde_bytes")]
    pub content: Option<[u8; 16]>,
}

impl Entry {
    /// The bytes that an entry's digest of extended attributes is taken over: for each, sorted by name, the length of
    /// the name (u32, little endian), the name, the length of the value, the value.
    pub fn xattr_digest_input(xattrs: &mut [(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        xattrs.sort();
        let mut out = Vec::new();
        for part in xattrs.iter().flat_map(|(name, value)| [name, value]) {
            // Names are at most 255 bytes and values at most 64 KiB: the kernel's bounds.
            let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

/// A page of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The directory is there. Without it the page is empty and complete.
    pub exists: bool,
    /// Entries in byte order of their names.
    pub entries: Vec<Entry>,
    /// There is nothing after the last entry.
    pub complete: bool,
    /// Of the root, which no name in any directory tells of: what it is itself. Told with a [`crate::Op::Look`] at a name in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Own>,
}

/// What is told of a directory beside its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Owner, permissions, modification time.
    pub attrs: Attrs,
    /// As [`Entry::xattrs`].
    #[serde(with = "serde_bytes")]
    pub xattrs: [u8; 16],
}

/// What became of a proposal ([`crate::Phase::Proposed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Zero: it is done. Otherwise the error number, as Linux has them, that an application is to be told.
    pub errno: u32,
    /// It was not done, and nothing has changed. Without this some of it may have been done.
    pub unchanged: bool,
}

/// What a record asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`crate::Op::List`].
    Page(Page),
    /// To [`crate::Op::Compare`]: the indexes of the blocks that differ (or are holes), ascending.
    Differs(Vec<u32>),
    /// To a proposal.
    Verdict(Verdict),
}

/// Everything that travels.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Source to target, first.
    Hello(Hello),
    /// Target to source: come in.
    HelloAck(HelloAck),
    /// Target to source: stay out; or either side: this connection ends, and why.
    Refused(Refused),
    /// Source to target: an operation and its data.
    Record(Record, Bytes),
    /// Target to source.
    Ack(Ack),
    /// Target to source: what the record with this number asked.
    Answer(SeqNo, Answer),
    /// Target to source.
    Trouble(Trouble),
    /// Source to target, once a second when idle; on a lane both ways.
    Heartbeat,
    /// Source to target: nothing comes after this; the replica is complete up to here and is to be made durable.
    Bye,
    /// Target to source: done.
    ByeAck(Ack),
    /// Reader to target, first, in place of a Hello.
    Fetch(Fetch),
    /// Target to reader: ask.
    FetchAck(FetchAck),
    /// Reader to target: a question with a number of the reader's.
    Ask(SeqNo, Ask),
    /// Target to reader: the answer to the question with this number, and what data it has.
    Told(SeqNo, Told, Bytes),
    /// Source to target, first on a lane.
    Lane(LaneHello),
    /// Target to source: pieces are taken.
    LaneAck(LaneAck),
    /// Source to target on a lane: a request with its number, and data.
    Piece(u64, PieceOp, Bytes),
    /// Target to source on a lane: what became of the piece with this number.
    PieceDone(u64, PieceAnswer),
}

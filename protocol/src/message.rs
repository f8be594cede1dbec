//! Messages: everything that travels in frames. Records go from source to target; the rest is the conversation around
//! them.

use crate::attrs::{Attrs, NodeKind};
use crate::fetch::{Ask, Fetch, FetchAck, Told};
use crate::id::{Incarnation, ReplicaId, SeqNo};
use crate::path::{Name, RelPath};
use crate::piece::{LaneAck, LaneHello, PieceAnswer, PieceOp};
use crate::record::Record;
use bytes::Bytes;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

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

/// What an end can do beyond the first builds of this version of the protocol: a bit each. Bits 0 to 31 are offers: one that the other end does not
/// know, or does not have, is not used, and nothing more. Bits 32 to 63 are demands: an end that does not know one refuses the other, and names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Features(u64);

impl Features {
    /// The target says how long it has been at one record ([`Message::Busy`]).
    pub const BUSY: Self = Self(1);

    /// What the source sends after the greeting comes in blocks ([`crate::block`]), on this stream and on the lanes beside it. A target has it only where the
    /// source has.
    pub const PACKED: Self = Self(1 << 1);

    /// Records say what they may be applied beside ([`crate::Record::beside`]). A target has it only where the source has.
    pub const BESIDE: Self = Self(1 << 2);

    /// Fronts of what the source sends after the greeting may be short ([`crate::short`]), on this stream and on the lanes beside it. A target has it only where
    /// the source has.
    pub const SHORT: Self = Self(1 << 3);

    /// What this build can do.
    pub const OURS: Self = Self(Self::BUSY.0 | Self::PACKED.0 | Self::BESIDE.0 | Self::SHORT.0);

    const DEMANDS: u64 = !0 << 32;

    /// From their bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Their bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `wanted` are among them.
    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// What a target of this build answers to a source with these. One that has none is from before there were any, and does not know the field.
    #[must_use]
    pub fn answer(self) -> Self {
        if self == Self::default() { self } else { Self(Self::OURS.0 & self.0 | Self::BUSY.0) }
    }

    /// The numbers of the demands among them that this build does not know, for people; `None`: there is none.
    pub fn unknown_demands(self) -> Option<String> {
        let unknown = self.0 & Self::DEMANDS & !Self::OURS.0;
        let numbers: Vec<String> =
            (0..u64::BITS).filter(|bit| unknown & (1 << bit) != 0).map(|bit| bit.to_string()).collect();
        (unknown != 0).then(|| numbers.join(", "))
    }
}

/// First message of a source. Fields that have come to its end are left out by those who do not know them, and passed over by those who do not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    #[serde(default)]
    pub retry_ms: Option<u64>,
    /// What the source can do.
    #[serde(default)]
    pub features: Features,
    /// The first 16 bytes of BLAKE3 of the text of the replication set that was in force when this was said; `None`: everything is replicated. For people
    /// who look at the target.
    #[serde(default, with = "serde_bytes")]
    pub set: Option<[u8; 16]>,
}

impl Hello {
    /// How many fields it has.
    pub(crate) const FIELDS: u8 = 11;
}

impl Serialize for Hello {
    /// Without the fields at the end that say nothing, which an older end does not know. They have places and no names, so a field that is left out takes
    /// all behind it along.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = [true, self.retry_ms.is_some(), self.features != Features::default(), self.set.is_some()];
        let more = said.iter().rposition(|said| *said).unwrap_or(0);
        let mut out = serializer.serialize_struct("Hello", usize::from(Self::FIELDS) - 3 + more)?;
        out.serialize_field("version", &self.version)?;
        out.serialize_field("software", &self.software)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("incarnation", &self.incarnation)?;
        out.serialize_field("oldest", &self.oldest)?;
        out.serialize_field("newest", &self.newest)?;
        out.serialize_field("replica", &self.replica)?;
        out.serialize_field("adopt", &self.adopt)?;
        if more >= 1 {
            out.serialize_field("retry_ms", &self.retry_ms)?;
        }
        if more >= 2 {
            out.serialize_field("features", &self.features)?;
        }
        if more >= 3 {
            out.serialize_field("set", &self.set.as_ref().map(|digest| serde_bytes::Bytes::new(digest)))?;
        }
        out.end()
    }
}

/// First answer of a target that lets the source in. Of fields at its end holds what holds for [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    #[serde(default)]
    pub damaged: bool,
    /// It differs only because the target's machine lost power: what was applied after the position may be there in part.
    #[serde(default)]
    pub power_lost: bool,
    /// What the target can do.
    #[serde(default)]
    pub features: Features,
}

impl HelloAck {
    /// How many fields it has.
    pub(crate) const FIELDS: u8 = 9;
}

impl Serialize for HelloAck {
    /// As for [`Hello`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = [true, self.damaged, self.power_lost, self.features != Features::default()];
        let more = said.iter().rposition(|said| *said).unwrap_or(0);
        let mut out = serializer.serialize_struct("HelloAck", usize::from(Self::FIELDS) - 3 + more)?;
        out.serialize_field("version", &self.version)?;
        out.serialize_field("software", &self.software)?;
        out.serialize_field("replica", &self.replica)?;
        out.serialize_field("position", &self.position)?;
        out.serialize_field("clean", &self.clean)?;
        out.serialize_field("empty", &self.empty)?;
        if more >= 1 {
            out.serialize_field("damaged", &self.damaged)?;
        }
        if more >= 2 {
            out.serialize_field("power_lost", &self.power_lost)?;
        }
        if more >= 3 {
            out.serialize_field("features", &self.features)?;
        }
        out.end()
    }
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

/// The target's applier is alive and has been at one thing for a while. Said once a second, to a source that has [`Features::BUSY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// The record that it is at; zero: none, it makes something durable or closes files.
    pub seq: SeqNo,
    /// For so many milliseconds.
    pub for_ms: u64,
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
    /// Allocated blocks of 512 bytes of a regular file's content (not of its extended attributes, as far as that can be told), else zero.
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

/// First and only message of a node that wants to be known, over a connection that carries nothing else (ALPN [`crate::PAIR_ALPN`]).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Protocol version of the node.
    pub version: u8,
    /// The replfs version of the node, for people.
    pub software: String,
    /// What it is called, for people; the target decides what it calls it.
    pub name: String,
    /// Which invitation.
    pub invitation: u64,
    /// The secret in it.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; 16],
}

/// The secret is nobody's business.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("version", &self.version)
            .field("name", &self.name)
            .field("invitation", &self.invitation)
            .finish_non_exhaustive()
    }
}

/// The node is known from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairAck {
    /// Protocol version of the target.
    pub version: u8,
    /// The replfs version of the target, for people.
    pub software: String,
    /// What the target's machine is called, for people.
    pub name: String,
    /// The directory below ROOT that is this node's now.
    pub dir: Name,
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
    /// Target to source, once a second while its applier takes long over one record.
    Busy(Busy),
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
    /// Node to target, over a connection for pairing.
    Pair(Pair),
    /// Target to node: it is known now.
    PairAck(PairAck),
}

//! The reading conversation: what a node asks of its own replica when it brings it back (S10). A connection of its own, that
//! begins with [`Fetch`] where a source says Hello; it changes nothing on the target.

use crate::attrs::Time;
use crate::id::ReplicaId;
use crate::message::{Entry, Page, Position};
use crate::path::{Name, RelPath};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Smallest block, in bytes, that [`Ask::Hashes`] may ask for: it bounds the answer.
pub const MIN_HASH_BLOCK_BYTES: u32 = 512;

/// Most stretches that one [`Told::Reserved`] has.
pub const MAX_RESERVED: usize = 1 << 16;

/// First message of a node that reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Protocol version of the reader ([`crate::VERSION`]).
    pub version: u8,
    /// The replfs version of the reader, for people.
    pub software: String,
    /// Which replica: the directory below ROOT. Only the node that owns it may read it.
    pub name: Name,
}

/// First answer of a target that lets a reader in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchAck {
    /// Protocol version of the target.
    pub version: u8,
    /// The replfs version of the target, for people.
    pub software: String,
    /// The replica.
    pub replica: ReplicaId,
    /// The replica is a state that the source had. Otherwise it is being compared, or was left in the middle of that.
    pub coherent: bool,
    /// How far the replica is, if anything is known of it.
    pub position: Option<Position>,
}

/// A question. Several may be under way; they are answered in their order. Paths are those of the replica and end in no
/// symbolic link that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// What `path` is: [`Told::Entry`]. The root's entry has NAME for its name.
    Stat {
        /// Which node.
        path: RelPath,
    },
    /// A page of a directory: [`Told::Page`], without content hashes, nothing suspect.
    List {
        /// Which directory.
        path: RelPath,
        /// Begin after this name.
        after: Option<Name>,
    },
    /// All extended attributes of a node: [`Told::Xattrs`].
    Xattrs {
        /// Which node.
        path: RelPath,
    },
    /// Hashes of a range of a regular file: [`Told::Hashes`].
    Hashes {
        /// Which file.
        path: RelPath,
        /// Start in bytes.
        offset: u64,
        /// Length in bytes, at most [`crate::CHUNK_BYTES`].
        len: u64,
        /// Block in bytes, from [`MIN_HASH_BLOCK_BYTES`].
        block_bytes: u32,
    },
    /// Space of a regular file that is reserved and was never written: [`Told::Reserved`].
    Reserved {
        /// Which file.
        path: RelPath,
    },
    /// The content of a range of a regular file: [`Told::Data`].
    Read {
        /// Which file.
        path: RelPath,
        /// Start in bytes.
        offset: u64,
        /// Length in bytes, at most [`crate::CHUNK_BYTES`].
        len: u64,
    },
}

impl Ask {
    /// What is asked about.
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Stat { path }
            | Self::List { path, .. }
            | Self::Xattrs { path }
            | Self::Reserved { path }
            | Self::Hashes { path, .. }
            | Self::Read { path, .. } => path,
        }
    }
}

/// A file as it was after it was read: a reader that has other numbers has read a file that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Size in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Inode number.
    pub inode: u64,
}

/// A stretch of a file that is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Start in the file, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Why a question has no other answer. The conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailedKind {
    /// Nothing is there, or no longer.
    Missing,
    /// It is of another kind: no directory, no regular file.
    Kind,
    /// The target cannot read it; the text says why.
    Unreadable,
    /// A question out of bounds.
    Bounds,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// To [`Ask::Stat`].
    Entry(Box<Entry>),
    /// To [`Ask::List`].
    Page(Page),
    /// To [`Ask::Xattrs`]: names and values, in byte order of the names.
    Xattrs(Vec<(ByteBuf, ByteBuf)>),
    /// To [`Ask::Hashes`].
    Hashes {
        /// The file after it was read.
        seen: Seen,
        /// For each block up to the end of the file or of the range, the first 16 bytes of BLAKE3 of it; zeros where all
        /// of it is a hole.
        hashes: ByteBuf,
        /// Bytes right after the range that are one hole: there is nothing to ask for.
        hole_after: u64,
    },
    /// To [`Ask::Reserved`]: ascending, at most [`MAX_RESERVED`], beyond the end of the file too. They read as zeros, as holes
    /// do. Empty where the target's file system does not tell.
    Reserved(Vec<Hole>),
    /// To [`Ask::Read`]. The payload has the bytes of the range up to the end of the file, without those in holes.
    Data {
        /// The file after it was read.
        seen: Seen,
        /// Bytes of the range that the file has, holes included.
        len: u64,
        /// The holes within them, ascending.
        holes: Vec<Hole>,
        /// Bytes right after the range that are one hole: there is nothing to ask for.
        hole_after: u64,
    },
    /// To any: there is no answer.
    Failed {
        /// For programs.
        kind: FailedKind,
        /// For people.
        text: String,
    },
}

//! Records: one operation each, as the source carried it out, with the results it had. A target that applies them in
//! order holds what the source held.
//!
//! Every value is absolute (the resulting times, mode, size), so that applying a record twice in a row leaves what
//! applying it once leaves; the exceptions (an exchange of names) are named where they stand.

use crate::attrs::{Attrs, NodeKind, Owner, Time};
use crate::id::{NodeId, SeqNo, StageId};
use crate::path::{Name, RelPath};
use serde::{Deserialize, Serialize};

/// Where a node is at the moment its record is numbered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// Under this path of the replica.
    Path(RelPath),
    /// Without a name, still open on the source: under `.replfs/orphan/` by its node id (R8).
    Orphan,
}

/// A node and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Names the node across renames; a target may keep a descriptor under it.
    pub node: NodeId,
    /// Where it is now.
    pub at: At,
}

/// How space is allocated or given back: `fallocate(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllocateMode {
    /// Allocate; the size may grow.
    Allocate,
    /// Allocate; the size stays.
    KeepSize,
    /// Make a hole; the size stays.
    Punch,
    /// Zeros; the size may grow.
    Zero,
    /// Zeros; the size stays.
    ZeroKeepSize,
}

/// How names move: `renameat2(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenameKind {
    /// What stands at the new name is replaced.
    Replace,
    /// There is nothing at the new name.
    NoReplace,
    /// The two names change places. Not repeatable: a target keeps the inode numbers of both while it applies this (R5).
    Exchange,
}

/// A node that lost a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The node.
    pub node: NodeId,
    /// Its last known name is gone, but it is still open or has links that are not known: the target keeps it as an
    /// orphan until [`Op::Reap`].
    pub orphan: bool,
}

/// What an [`Ensure`] says of a regular file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// What is there stays; the size is set. Comparison or copying follows in records of its own.
    Keep,
    /// The payload is the whole content (at most [`crate::CHUNK_BYTES`], all of it data, no holes).
    Whole,
    /// The staging file is the content: it takes the name over, and gets the size. A file that is there is replaced in
    /// the same step, unless the record asks for a fresh node. Everything that the lanes brought for it was answered.
    Staged(StageId),
}

/// "At this path there is this node": the record of repair. What is there and is something else is set aside first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensure {
    /// Where. The parent exists.
    pub path: RelPath,
    /// The node.
    pub node: NodeId,
    /// Its kind; what is there of another kind is set aside.
    pub kind: NodeKind,
    /// What is there under this name, and is no directory, is not used but replaced by a new node, because on the target
    /// it shares its inode with a name that it does not share it with on the source.
    pub fresh: bool,
    /// Owner, permissions and modification time.
    pub attrs: Attrs,
    /// Access time.
    pub atime: Time,
    /// The size of a regular file in bytes; zero for all others.
    pub size: u64,
    /// What the payload holds.
    pub content: Content,
    /// All extended attributes, ACLs included; others that are there are removed.
    pub xattrs: Vec<(serde_bytes::ByteBuf, serde_bytes::ByteBuf)>,
    /// Modification time of the directory that holds the name; `None` for the root.
    pub parent_mtime: Option<Time>,
}

/// Points in the stream that are no operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// From here on the replica is not a prefix of the source's history.
    Incoherent,
    /// From here on the replica is again a prefix of the source's history.
    Coherent,
    /// Everything before this is to be made durable now, and acknowledged as durable.
    Barrier,
    /// The source's daemon was killed, and another goes on: what was deleted and still open is gone.
    Restarted,
}

/// One operation with its results. Where data goes with it, it is the payload of the record's frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Payload at `offset`. The file may grow.
    Write {
        /// The file.
        place: Place,
        /// Position in bytes.
        offset: u64,
        /// Resulting modification time.
        mtime: Time,
        /// Resulting permission bits where the write cleared setuid or setgid.
        mode: Option<u32>,
        /// The file was opened with `O_SYNC` or `O_DSYNC`: durable before the next record (R11).
        durable: bool,
    },
    /// Attributes; each `None` stays as it is. The size is set first and the times last.
    SetAttr {
        /// The node.
        place: Place,
        /// Size in bytes, of a regular file only.
        size: Option<u64>,
        /// Owner and group.
        owner: Option<Owner>,
        /// Permission bits.
        mode: Option<u32>,
        /// Access time.
        atime: Option<Time>,
        /// Modification time.
        mtime: Option<Time>,
    },
    /// Space.
    Allocate {
        /// The file.
        place: Place,
        /// How.
        mode: AllocateMode,
        /// Position in bytes.
        offset: u64,
        /// Length in bytes, at least 1.
        len: u64,
        /// Resulting modification time.
        mtime: Time,
        /// Resulting permission bits where the call cleared setuid or setgid.
        perm: Option<u32>,
    },
    /// `len` bytes from one file (or place in a file) to another, all of which were copied.
    CopyRange {
        /// The file read.
        from: Place,
        /// Position there in bytes.
        from_offset: u64,
        /// The file written.
        to: Place,
        /// Position there in bytes.
        to_offset: u64,
        /// Length in bytes.
        len: u64,
        /// Resulting modification time of the file written.
        mtime: Time,
        /// Resulting permission bits where the call cleared setuid or setgid.
        perm: Option<u32>,
    },
    /// An extended attribute (ACLs included) gets the payload as its value, whether or not it existed.
    SetXattr {
        /// The node.
        place: Place,
        /// Name with its namespace, 1 to 255 bytes.
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        /// Resulting permission bits (an ACL changes them).
        mode: Option<u32>,
    },
    /// An extended attribute goes.
    RemoveXattr {
        /// The node.
        place: Place,
        /// Name with its namespace, 1 to 255 bytes.
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        /// Resulting permission bits (an ACL changes them).
        mode: Option<u32>,
    },
    /// A new node under a new name: create, mkdir, mknod, symlink.
    Create {
        /// Where.
        path: RelPath,
        /// The new node.
        node: NodeId,
        /// What.
        kind: NodeKind,
        /// Resulting owner, permissions and time.
        attrs: Attrs,
        /// Resulting modification time of the directory.
        parent_mtime: Time,
    },
    /// One more name for a node.
    Link {
        /// The node under a name it has.
        from: Place,
        /// The new name.
        to: RelPath,
        /// Resulting modification time of the new name's directory.
        parent_mtime: Time,
    },
    /// A name goes: unlink, rmdir.
    Unlink {
        /// The name.
        path: RelPath,
        /// The node that had it.
        gone: Replaced,
        /// It was a directory.
        directory: bool,
        /// Resulting modification time of the directory that held it.
        parent_mtime: Time,
    },
    /// A node moves to another name.
    Rename {
        /// The name it had.
        from: RelPath,
        /// The name it has.
        to: RelPath,
        /// How.
        kind: RenameKind,
        /// The node that moved.
        node: NodeId,
        /// What stood at the new name and was replaced.
        replaced: Option<Replaced>,
        /// Resulting modification time of the old name's directory.
        from_parent_mtime: Time,
        /// Resulting modification time of the new name's directory.
        to_parent_mtime: Time,
    },
    /// The source has closed an orphan: it goes. Nothing happens where there is none.
    Reap {
        /// The orphan.
        node: NodeId,
    },
    /// What was written to this node before is durable before anything is applied that comes later.
    Fsync {
        /// The file or directory.
        place: Place,
        /// `fdatasync(2)`.
        data_only: bool,
    },
    /// Repair: this node is at this path.
    Ensure(Box<Ensure>),
    /// Repair: the source has nothing at this path: what is there is set aside (I7). Nothing there is as good.
    SetAside {
        /// Where.
        path: RelPath,
        /// Modification time of the directory that holds the name.
        parent_mtime: Time,
    },
    /// The source replicates nothing at this path any more, and its user wants the replica of it gone: it is removed, with all
    /// below it. Nothing there is as good.
    Remove {
        /// Where.
        path: RelPath,
        /// Modification time of the directory that holds the name.
        parent_mtime: Time,
    },
    /// Repair: asks for a page of a directory as it is at this point of the stream; answered by
    /// [`crate::message::Answer::Page`].
    List {
        /// The directory.
        path: RelPath,
        /// Names after this one, in byte order.
        after: Option<Name>,
        /// The last name of the page at most; without it as many as the target likes.
        last: Option<Name>,
        /// With a hash of the content of every regular file of at most [`crate::CHUNK_BYTES`].
        hash: bool,
    },
    /// Repair: asks what is under one name at this point of the stream; answered by a page of at most one entry.
    Look {
        /// The directory.
        path: RelPath,
        /// The name in it.
        name: Name,
        /// With a hash of the content of a regular file of at most [`crate::CHUNK_BYTES`].
        hash: bool,
    },
    /// Repair: asks which blocks differ from these hashes at this point of the stream; answered by
    /// [`crate::message::Answer::Differs`].
    Compare {
        /// The file.
        place: Place,
        /// Position in bytes.
        offset: u64,
        /// Length in bytes, at most [`crate::CHUNK_BYTES`].
        len: u64,
        /// Bytes per block; the last block may be shorter.
        block_bytes: u32,
        /// The first 16 bytes of BLAKE3 of each block.
        #[serde(with = "serde_bytes")]
        hashes: Vec<u8>,
        /// Verification: what is found under the path now is read, whatever is open, and a hole counts as the zeros that it
        /// reads as. What cannot be read differs, and is no damage.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_read: bool,
    },
    /// A point in the stream.
    Mark(Mark),
}

impl Op {
    /// A short word for statistics and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Write { .. } => "write",
            Self::SetAttr { size: Some(_), .. } => "truncate",
            Self::SetAttr { .. } => "setattr",
            Self::Allocate { .. } => "fallocate",
            Self::CopyRange { .. } => "copy_range",
            Self::SetXattr { .. } => "setxattr",
            Self::RemoveXattr { .. } => "removexattr",
            Self::Create { kind, .. } => match kind {
                NodeKind::File => "create",
                NodeKind::Directory => "mkdir",
                NodeKind::Symlink(_) => "symlink",
                _ => "mknod",
            },
            Self::Link { .. } => "link",
            Self::Unlink { directory: true, .. } => "rmdir",
            Self::Unlink { .. } => "unlink",
            Self::Rename { .. } => "rename",
            Self::Reap { .. } => "reap",
            Self::Fsync { .. } => "fsync",
            Self::Ensure(_) => "ensure",
            Self::SetAside { .. } => "set_aside",
            Self::Remove { .. } => "remove",
            Self::List { .. } => "list",
            Self::Look { .. } => "look",
            Self::Compare { .. } => "compare",
            Self::Mark(_) => "mark",
        }
    }

    /// The node whose data or attributes this operation changes, makes durable or asks about; `None` for operations on
    /// names and marks.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Write { place, .. }
            | Self::SetAttr { place, .. }
            | Self::Allocate { place, .. }
            | Self::CopyRange { to: place, .. }
            | Self::SetXattr { place, .. }
            | Self::RemoveXattr { place, .. }
            | Self::Fsync { place, .. }
            | Self::Compare { place, .. } => Some(place),
            _ => None,
        }
    }

    /// Says anew where the node is that [`Op::place`] gives; other operations stay as they are.
    #[must_use]
    pub fn at(mut self, now: Place) -> Self {
        match &mut self {
            Self::Write { place, .. }
            | Self::SetAttr { place, .. }
            | Self::Allocate { place, .. }
            | Self::CopyRange { to: place, .. }
            | Self::SetXattr { place, .. }
            | Self::RemoveXattr { place, .. }
            | Self::Fsync { place, .. }
            | Self::Compare { place, .. } => *place = now,
            _ => {}
        }
        self
    }

    /// The path to name in an error about this operation; `None` for those that have none.
    pub fn path(&self) -> Option<&RelPath> {
        match self {
            Self::Create { path, .. }
            | Self::Unlink { path, .. }
            | Self::SetAside { path, .. }
            | Self::Remove { path, .. }
            | Self::List { path, .. }
            | Self::Look { path, .. } => Some(path),
            Self::Link { to, .. } | Self::Rename { to, .. } => Some(to),
            Self::Ensure(ensure) => Some(&ensure.path),
            _ => match &self.place()?.at {
                At::Path(path) => Some(path),
                At::Orphan => None,
            },
        }
    }
}

/// What a record is to an operation that commit mode `remote` carries out on the target first (S2, R13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing: the source has carried the operation out.
    #[default]
    Plain,
    /// The source has not carried it out, and waits for the target's [`crate::Verdict`]. Resulting times and attributes are
    /// not known yet.
    Proposed,
    /// The source has carried out what was proposed: what is there stays, and resulting times and attributes are set. Content
    /// that was proposed is not sent again.
    Settled,
}

/// One operation in its place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: SeqNo,
    /// Nanoseconds since 1970 on the source's clock when it was numbered.
    pub stamp: u64,
    /// The replica is under repair: what stands in this operation's way is set aside, what it takes away may already be
    /// gone. Without this either is damage and is reported as such.
    pub tolerant: bool,
    /// Whether the source has carried it out, and who was first.
    pub phase: Phase,
    /// Of so many records right before it no application was told yet that they are durable, where it had asked for that: this one may be applied while the
    /// target still syncs for those (R11). All before them are to be finished.
    pub beside: u16,
    /// What.
    pub op: Op,
}

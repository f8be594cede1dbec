//! Records and answers as they travel in the simulation: those of `protocol`, with content in blocks.

use protocol::{Name, RelPath, RenameKind};

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Under a path.
    Path(RelPath),
    /// Kept without a name.
    Orphan,
}

/// A node that lost a name.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// Its id.
    pub node: u64,
    /// The target keeps it.
    pub orphan: bool,
}

/// What a record that makes a node says of its content.
#[derive(Clone, Debug)]
pub enum Content {
    /// What is there stays.
    Keep,
    /// This.
    Whole(Vec<u32>),
    /// What was staged under this number.
    Staged(u64),
}

/// A record that makes a node exist.
#[derive(Clone, Debug)]
pub struct Ensure {
    /// Where.
    pub path: RelPath,
    /// The node's id.
    pub node: u64,
    /// What.
    pub directory: bool,
    /// Not what is there.
    pub fresh: bool,
    /// Attributes.
    pub mode: u32,
    /// Modification time.
    pub mtime: u64,
    /// Size in blocks.
    pub size: usize,
    /// Content.
    pub content: Content,
    /// Of the directory.
    pub parent_mtime: Option<u64>,
}

/// A record.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // as in `protocol::Op`
pub enum Rec {
    Write { node: u64, at: At, block: usize, data: Vec<u32>, mtime: u64 },
    SetAttr { node: u64, at: At, size: Option<usize>, mode: Option<u32>, mtime: Option<u64> },
    Create { path: RelPath, node: u64, directory: bool, mode: u32, mtime: u64, parent_mtime: u64 },
    Link { node: u64, at: At, to: RelPath, parent_mtime: u64 },
    Unlink { path: RelPath, gone: Gone, directory: bool, parent_mtime: u64 },
    Rename { from: RelPath, to: RelPath, kind: RenameKind, replaced: Option<Gone>, mtimes: (u64, u64) },
    Reap { node: u64 },
    Ensure(Ensure),
    SetAside { path: RelPath, parent_mtime: u64 },
    List { path: RelPath, after: Option<Name>, only: Option<Name> },
    Compare { node: u64, at: At, block: usize, data: Vec<u32> },
    Coherent(bool),
}

/// What the target has under a name.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub name: Name,
    /// What.
    pub directory: bool,
    /// Attributes.
    pub mode: u32,
    /// Modification time.
    pub mtime: u64,
    /// Content.
    pub blocks: Vec<u32>,
    /// Names of it.
    pub links: u32,
    /// Inode number on the target.
    pub inode: u64,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A page of a directory, and whether it is the last.
    Page(Vec<Entry>, bool),
    /// Blocks that differ, counted from where the comparison began.
    Differs(Vec<usize>),
}

/// A piece of content outside the order.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What it is staged under.
    pub key: u64,
    /// Where.
    pub block: usize,
    /// What.
    pub data: Vec<u32>,
}

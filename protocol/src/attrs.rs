//! What a node is and how it looks, as far as it is replicated: kind, owner, permission bits, times.

use serde::{Deserialize, Serialize};

/// A point in time: seconds and nanoseconds since 1970-01-01 UTC, as `struct timespec` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Owner and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Owner, permission bits and modification time as they are after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attrs {
    /// The lowest twelve bits of `st_mode`: permissions, setuid, setgid, sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: Owner,
    /// Modification time.
    pub mtime: Time,
}

/// What kind of node, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and the bytes it points to (1 to 4095).
    Symlink(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
    /// A character device with its number as `st_rdev` has it.
    CharDevice(u64),
    /// A block device with its number as `st_rdev` has it.
    BlockDevice(u64),
}

impl NodeKind {
    /// Whether both are of one kind, whatever they point to.
    pub fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

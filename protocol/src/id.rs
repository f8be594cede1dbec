//! Numbers that name things. Two numbers that could be swapped are two types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The place of an operation in the order of one incarnation. The first operation has number 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeqNo(u64);

impl SeqNo {
    /// Before the first operation.
    pub const ZERO: Self = Self(0);

    /// The number `n`.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// As a plain number, for formatting and storage.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number before this one; zero stays zero.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many operations lie after `earlier` up to and including this one; zero where there are none.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node of the source (a file, a directory, ...) for as long as the source knows it. Never given out twice within one
/// incarnation, so a target may keep a descriptor under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u64);

impl NodeId {
    /// The node with number `n`.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// As a plain number, for names and storage.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A staging file: content of one file of the source on its way. Made from what tells that file from all others that its
/// file system ever had, so that it stays the same when either side starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageId {
    inode: u64,
    generation: u64,
}

impl StageId {
    /// The staging file of the source's file with this inode number and generation.
    pub const fn new(inode: u64, generation: u64) -> Self {
        Self { inode, generation }
    }
}

/// 32 hexadecimal digits: the staging file's name.
impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.inode, self.generation)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u128);

        impl $name {
            /// From 16 random bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_le_bytes(bytes))
            }

            /// The 16 bytes, for storage.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_le_bytes()
            }

            /// From 32 hexadecimal digits, as [`fmt::Display`] writes them.
            pub fn from_hex(text: &str) -> Option<Self> {
                if text.len() != 32 {
                    return None;
                }
                u128::from_str_radix(text, 16).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

random_id! {
    /// One unbroken run of sequence numbers. Any loss of continuity starts a new one (R2); a position means
    /// nothing without it.
    Incarnation
}

random_id! {
    /// One replica: made when a target first gives a source its directory. A source that finds another id where its
    /// replica was stops before it touches anything.
    ReplicaId
}

//! Names and relative paths as they travel: bytes, checked once, unable to leave the directory they are relative to.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// Longest single name in bytes (Linux `NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// Longest path in bytes. Longer than `PATH_MAX`, because a tree can be deeper than a single system call can name.
pub const PATH_MAX: usize = 64 << 10;

/// Why bytes are not a path or a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A name of zero bytes, which `//` or a leading or trailing `/` makes.
    #[error("empty name in path")]
    Empty,
    /// `.` or `..`.
    #[error("'.' or '..' in path")]
    Dots,
    /// A NUL byte, or a `/` in a single name.
    #[error("forbidden byte in name")]
    Byte,
    /// A name over [`NAME_MAX`] or a path over [`PATH_MAX`] bytes.
    #[error("name or path too long")]
    Long,
}

fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        [] => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        _ if name.len() > NAME_MAX => Err(PathError::Long),
        _ if name.iter().any(|b| matches!(b, 0 | b'/')) => Err(PathError::Byte),
        _ => Ok(()),
    }
}

/// One name in a directory: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks `bytes`.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        check_name(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For system calls.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

/// A path below a root: names joined by single `/`. The empty path is the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks `bytes`.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > PATH_MAX {
            return Err(PathError::Long);
        }
        if !bytes.is_empty() {
            bytes.split(|b| *b == b'/').try_for_each(check_name)?;
        }
        Ok(Self(bytes.into()))
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &Name) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&name.0);
        if bytes.len() > PATH_MAX {
            return Err(PathError::Long);
        }
        Ok(Self(bytes.into()))
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Directory and last name; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, Name)> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => (Self(self.0[..at].into()), Name(self.0[at + 1..].into())),
            None => (Self::root(), Name(self.0.clone())),
        })
    }

    /// The bytes, without a leading `/`; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For system calls that take a path relative to the root's descriptor; empty for the root.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

macro_rules! as_text_and_bytes {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                String::from_utf8_lossy(&self.0).escape_debug().fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{self}\"")
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes: serde_bytes::ByteBuf = Deserialize::deserialize(deserializer)?;
                Self::new(&bytes).map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text_and_bytes!(Name);
as_text_and_bytes!(RelPath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_root() {
        for bad in ["..", "a/..", "../a", "a/../b", ".", "a/./b", "/a", "a/", "a//b", "a\0b"] {
            assert!(RelPath::new(bad.as_bytes()).is_err(), "{bad:?} must be refused");
        }
        for good in ["", "a", "a/b", "...", "a/..b", "ä/\u{1}"] {
            assert!(RelPath::new(good.as_bytes()).is_ok(), "{good:?} must be accepted");
        }
        assert_eq!(RelPath::new(&vec![b'a'; 256]), Err(PathError::Long));
    }

    #[test]
    fn join_and_split_are_inverse() {
        let dir = RelPath::new(b"a/b").unwrap();
        let name = Name::new(b"c").unwrap();
        assert_eq!(dir.join(&name).unwrap().split_last(), Some((dir, name.clone())));
        let top = RelPath::root().join(&name).unwrap();
        assert_eq!(top.as_bytes(), b"c");
        assert_eq!(top.split_last(), Some((RelPath::root(), name)));
        assert_eq!(RelPath::root().split_last(), None);
    }
}

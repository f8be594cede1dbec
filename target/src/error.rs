//! What can go wrong for a whole target or a whole session. Trouble with one record is not here: see `apply::fault`.

use protocol::Refused;
use std::io;
use std::path::PathBuf;

/// Why a target cannot be opened, or why a session ended other than by its end.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// ROOT cannot be made or written, or has no room.
    #[error("cannot write {path}: {source}; make room there or give it to this user", path = path.display())]
    Unwritable {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another target daemon serves this ROOT.
    #[error("{path} is in use by another target daemon; stop that one or choose another root", path = path.display())]
    InUse {
        /// ROOT.
        path: PathBuf,
    },
    /// ROOT is not the directory it was.
    #[error("{path} is not the directory it was ({why}); is the disk mounted? If it was copied or restored on purpose, remove {path}/.replfs/root", path = path.display())]
    Changed {
        /// ROOT.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// Nothing was ever replicated to this directory.
    #[error("no replicas are kept in {path}: {source}; name the target's ROOT", path = path.display())]
    NoRoot {
        /// What was taken for a ROOT.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The system failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done, and to what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The source was not let in, or its connection was ended.
    #[error("refused {name}: {}", refused.text)]
    Refused {
        /// Which replica; empty where the source did not get as far as naming one.
        name: String,
        /// What the source was told.
        refused: Refused,
    },
    /// The connection failed.
    #[error("connection of {name} lost: {source}")]
    Connection {
        /// Which replica.
        name: String,
        /// How.
        source: io::Error,
    },
}

/// Errors by what a program does about them; the numbers are the documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The system failed, or anything else.
    Other = 2,
    /// ROOT cannot be written or is full.
    Unwritable = 40,
    /// ROOT is in use.
    InUse = 42,
    /// ROOT is not the directory it was.
    Changed = 45,
}

impl ErrorKind {
    /// The exit code of a program that ends because of this.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

impl TargetError {
    /// What a program does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unwritable { .. } => ErrorKind::Unwritable,
            Self::InUse { .. } => ErrorKind::InUse,
            Self::Changed { .. } => ErrorKind::Changed,
            Self::NoRoot { .. } | Self::System { .. } | Self::Refused { .. } | Self::Connection { .. } => {
                ErrorKind::Other
            }
        }
    }
}

/// Whether an error says that nothing can be written here, by anybody or by us.
pub(crate) fn means_unwritable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::EACCES | libc::EPERM))
}

/// An error in the words of this project: lower case, no number.
pub(crate) fn text(error: &io::Error) -> String {
    let full = error.to_string();
    let plain = full.split(" (os error").next().unwrap_or(&full);
    let mut chars = plain.chars();
    match chars.next() {
        Some(first) if !plain.starts_with("I/O") => first.to_lowercase().chain(chars).collect(),
        _ => plain.to_owned(),
    }
}

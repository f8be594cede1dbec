//! Why a record was not applied, and what that means: it may pass, or the replica is not what it should be.

use crate::error::text;
use rustix::io::Errno;
use std::io;

/// What a fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Someone has to make room, or to give rights: trying again makes sense, going on does not.
    Retry,
    /// The replica is not what this record was made for: trying again does not help, a repair does.
    Damage,
}

/// A record that was not applied.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    /// In lower case, without the path.
    pub text: String,
    /// Of a system call that failed.
    pub errno: Option<Errno>,
}

impl Fault {
    pub fn damage(text: impl Into<String>) -> Self {
        Self { kind: FaultKind::Damage, text: text.into(), errno: None }
    }

    /// A sync failed: what was written is lost. The kernel has given it up, keeps it in memory as if it were on the disk, and the next sync would
    /// say that all is well.
    pub fn lost(error: Errno) -> Self {
        Self::damage(format!("the disk lost what was written: {}", text(&error.into())))
    }

    pub fn retry(text: impl Into<String>) -> Self {
        Self { kind: FaultKind::Retry, text: text.into(), errno: None }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        // Everything that is not known to be about the replica's shape stops the stream where it can be seen, instead of
        // starting a repair that would meet the same error.
        let kind = match error.raw_os_error() {
            Some(
                libc::ENOENT
                | libc::EEXIST
                | libc::ENOTDIR
                | libc::EISDIR
                | libc::ENOTEMPTY
                | libc::ELOOP
                | libc::EXDEV
                | libc::EINVAL
                | libc::ENXIO
                | libc::EBADF
                | libc::ESTALE,
            ) => FaultKind::Damage,
            _ => FaultKind::Retry,
        };
        Self { kind, text: text(&error), errno: Errno::from_io_error(&error) }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

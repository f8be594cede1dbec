//! Why something was not restored, and what that means for the rest.

use crate::exit::{Code, Failure, reason};
use rustix::io::Errno;
use scm::fetch::FetchError;
use srm::said::words;
use std::io;

/// What went wrong.
#[derive(Debug)]
pub(super) enum Fault {
    /// This one cannot be restored: it is listed, and the rest goes on.
    Node(String),
    /// It changed on the target while it was read: again.
    Moved,
    /// Nothing more fits, or nothing may be written at all.
    Full(io::Error),
    /// Nothing more can be done.
    Fatal(Failure),
}

impl Fault {
    /// A node's fault, with what was being done.
    pub fn node(what: &str, error: &io::Error) -> Self {
        match Self::from(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))) {
            Self::Node(_) => Self::Node(format!("{what}: {}", reason(error))),
            other => other,
        }
    }

    /// The target said something that cannot be.
    pub fn nonsense(what: &str) -> Self {
        Self::Fatal(Failure::new(
            Code::System,
            format!("the target's answer makes no sense ({what}); do both sides have the same release?"),
        ))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS) => Self::Full(error),
            _ => Self::Node(reason(&error)),
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<FetchError> for Fault {
    fn from(error: FetchError) -> Self {
        let text = format!("{}; run the same command again: it goes on from there", words(&error.to_string()));
        Self::Fatal(Failure::new(Code::Unreachable, text))
    }
}

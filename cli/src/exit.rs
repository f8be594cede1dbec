//! How commands end: exit codes with their meaning, and the one line that is printed. The only place that knows the
//! numbers.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use std::io;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// Exit codes. Zero is success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Code { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Code {
            /// Every code with its meaning, in ascending order.
            pub const TABLE: &[(Self, &str)] = &[$((Self::$name, concat!($($doc),+)),)+];
        }
    };
}

codes! {
    /// The command line is wrong: options, sizes, or places that lie inside one another (SRC, MNT, ROOT, state).
    Usage = 1,
    /// The system failed: memory, descriptors, a file of the system.
    System = 2,
    /// The mount or the unmount failed for any other reason.
    Mount = 32,
    /// SRC is not there, is not a directory or cannot be opened.
    Source = 33,
    /// MNT is not there, is not a directory or is already a mount of replfs.
    Mountpoint = 34,
    /// SRC is mounted already, or NAME is in use.
    InUse = 35,
    /// The target could not be reached: at the very first mount, or for a command that needs it; or was lost in the middle of a restore.
    Unreachable = 36,
    /// A key: this node's cannot be used, the target has another one than it was said to have, or does not know this node's.
    Key = 37,
    /// The replica belongs to another source.
    Owned = 38,
    /// ROOT/NAME is not empty and belongs to nobody; --adopt takes it over.
    NotEmpty = 39,
    /// ROOT cannot be written or is full.
    Root = 40,
    /// The state directory cannot be read or written.
    State = 41,
    /// The address or ROOT of a target daemon is in use.
    Port = 42,
    /// The time is over and not everything is on the target.
    BacklogLeft = 43,
    /// There is no such mount.
    NoSuchMount = 44,
    /// SRC or ROOT is not the directory that it was.
    Changed = 45,
    /// The replication set cannot be read or written, or does not parse.
    Set = 46,
    /// Verification found what differs, and it was not mended.
    Differs = 47,
    /// Something on the source cannot be read; the rest was done.
    Unreadable = 48,
    /// Restore: some of it could not be read or written and is listed; the rest is there.
    Incomplete = 50,
    /// Restore: DIR or the place for what is set aside cannot be written or is full.
    Destination = 51,
    /// Restore, roll-back: there is no such replica, or no such PATH in it.
    NoReplica = 52,
    /// Roll-back: there is nothing to take the replica back to: it is coherent, nothing was kept, or what is kept is a whole tree. Nothing was changed.
    NotKept = 53,
    /// Roll-back: the undo log is damaged, or something that belongs into the last coherent state is gone.
    UndoDamaged = 54,
    /// Pairing: the invitation is not open any more, or its secret is wrong, or the target does not answer as it should.
    NotPaired = 56,
    /// No peer is called so, or no such invitation is open.
    NoPeer = 57,
    /// Target: it cannot be confined as a whole here, and --cage require was given.
    Uncaged = 60,
}

impl Code {
    /// The number that the process ends with.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The table for people.
pub fn table() -> String {
    let mut text = String::from("Exit codes:\n   0  Success.\n");
    for (code, meaning) in Code::TABLE {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:>2}  {}", code.number(), meaning.trim());
    }
    text
}

/// Why a command did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the process ends with.
    pub code: Code,
    /// One line: the object, what happened, what to do.
    pub message: String,
}

impl Failure {
    /// A failure with its line.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Something that was being done failed with a system error.
    pub fn io(code: Code, what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(code, format!("{what}: {}", reason(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A system error in words: lower case, without its number.
pub fn reason(error: &io::Error) -> String {
    let full = error.to_string();
    let plain = full.split(" (os error").next().unwrap_or(&full);
    let mut chars = plain.chars();
    match (chars.next(), chars.clone().next()) {
        // Abbreviations stay as they are.
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let numbers: Vec<u8> = Code::TABLE.iter().map(|(code, _)| code.number()).collect();
        assert_eq!(
            numbers,
            [1, 2, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 50, 51, 52, 53, 54, 56, 57, 60]
        );
    }

    #[test]
    fn every_exit_code_is_in_the_table_with_a_meaning() {
        let text = table();
        for (code, meaning) in Code::TABLE {
            assert!(!meaning.trim().is_empty());
            assert!(text.contains(&format!("\n  {:>2}  {}", code.number(), meaning.trim())), "{code:?}");
        }
    }

    #[test]
    fn system_errors_are_said_in_lower_case_without_numbers() {
        assert_eq!(reason(&io::Error::from_raw_os_error(libc::ENOENT)), "no such file or directory");
        assert_eq!(reason(&io::Error::from_raw_os_error(libc::EIO)), "input/output error");
    }
}

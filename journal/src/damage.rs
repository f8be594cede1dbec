//! What is wrong in the journal's files, and where. Pure.

use protocol::SeqNo;
use std::fmt;
use std::path::PathBuf;

/// Something in a file that is not as the journal wrote it. What lies behind it is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment, or the area's directory.
    pub path: PathBuf,
    /// Where in the file, in bytes; 0 where the whole file is meant.
    pub offset: u64,
    /// What it is.
    pub kind: DamageKind,
}

/// Kinds of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The last record is not whole: normal after a crash.
    Torn {
        /// Its number.
        seq: SeqNo,
    },
    /// A record is not what was written, and others lie behind it. After a power cut that is normal for what was not durable.
    Corrupt {
        /// The number of the record that should be here.
        seq: SeqNo,
        /// What does not fit.
        reason: String,
    },
    /// The segment ends before its size.
    Truncated {
        /// Its length in bytes.
        length: u64,
        /// What it should be.
        should: u64,
    },
    /// A segment that should be there is not. Normal after a reboot where it was in memory.
    Missing {
        /// Its serial number.
        serial: u64,
    },
    /// Two files call themselves the same segment.
    Twice {
        /// Its serial number.
        serial: u64,
    },
    /// Made by a version of the journal that this build does not read.
    Version(u32),
    /// Neither copy of the segment's header can be read.
    Header,
    /// The system could not read it.
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}: ", self.path.display(), self.offset)?;
        match &self.kind {
            DamageKind::Torn { seq } => {
                write!(f, "record {seq} was being written when the machine or the daemon stopped")
            }
            DamageKind::Corrupt { seq, reason } => {
                write!(f, "record {seq} cannot be read ({reason}); what lies behind it is not used")
            }
            DamageKind::Truncated { length, should } => write!(f, "the file has {length} bytes instead of {should}"),
            DamageKind::Missing { serial } => write!(f, "segment {serial} of the journal is missing"),
            DamageKind::Twice { serial } => write!(f, "segment {serial} of the journal is there twice"),
            DamageKind::Version(version) => {
                write!(f, "journal format {version}, this build reads {}", crate::header::VERSION)
            }
            DamageKind::Header => write!(f, "the segment's header cannot be read"),
            DamageKind::Unreadable(reason) => write!(f, "unreadable: {reason}"),
        }
    }
}

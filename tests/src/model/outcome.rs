//! What a program sees of an operation, in a form in which two file systems can be compared: no inode numbers, and of times only
//! whether the clock made them, or exactly which were set.

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use std::fmt;

/// The result of an operation.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Success, with nothing to say.
    Done,
    /// Nothing was tried: no such open file, or (mmap) not enough of it.
    Nothing,
    /// A count, position or size.
    Number(u64),
    /// Content, a value, a target.
    Bytes(Vec<u8>),
    /// Names, sorted, `.` and `..` left out.
    Names(Vec<String>),
    /// `stat(2)`.
    Attributes(Attributes),
    /// The error.
    Failed(Errno),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "done"),
            Self::Nothing => write!(f, "nothing to do it with"),
            Self::Number(n) => write!(f, "{n}"),
            Self::Bytes(bytes) => {
                let sum = bytes.iter().fold(0_u32, |sum, b| sum.wrapping_mul(31).wrapping_add((*b).into()));
                let start = bytes[..bytes.len().min(24)].escape_ascii();
                write!(f, "{} bytes, \"{start}\"..., sum {sum:08x}", bytes.len())
            }
            Self::Names(names) => write!(f, "{names:?}"),
            Self::Attributes(attributes) => write!(f, "{attributes:?}"),
            Self::Failed(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(errno.raw_os_error())),
        }
    }
}

impl<T: Into<Outcome>> From<rustix::io::Result<T>> for Outcome {
    fn from(result: rustix::io::Result<T>) -> Self {
        match result {
            Ok(value) => value.into(),
            Err(errno) => Self::Failed(errno),
        }
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<u64> for Outcome {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Outcome {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<Vec<u8>> for Outcome {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A time of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The clock made it. The times that sequences set are before 2020.
    Clock,
    /// It was set: seconds and nanoseconds.
    At(i64, u32),
}

impl When {
    /// 2020-01-01.
    const NEWS: i64 = 1_577_836_800;

    /// Reads a time.
    pub fn new(seconds: i64, nanoseconds: u64) -> Self {
        if seconds >= Self::NEWS { Self::Clock } else { Self::At(seconds, u32::try_from(nanoseconds).unwrap_or(0)) }
    }
}

/// `stat(2)` without what no two nodes have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the system call
pub struct Attributes {
    pub kind: FileType,
    pub mode: String,
    pub links: u64,
    pub uid: u32,
    pub gid: u32,
    /// Of files and symbolic links.
    pub size: Option<u64>,
    pub rdev: u64,
    pub mtime: When,
    /// Only where it was just set: what the kernel reads from its cache moves none (docs/semantics.md, A86).
    pub atime: Option<When>,
}

impl From<Stat> for Attributes {
    fn from(stat: Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let sized = matches!(kind, FileType::RegularFile | FileType::Symlink);
        Self {
            kind,
            mode: format!("{:04o}", stat.st_mode & 0o7777),
            links: stat.st_nlink,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: sized.then(|| stat.st_size.cast_unsigned()),
            rdev: stat.st_rdev,
            mtime: When::new(stat.st_mtime, stat.st_mtime_nsec),
            atime: None,
        }
    }
}

impl From<Stat> for Outcome {
    fn from(stat: Stat) -> Self {
        Self::Attributes(stat.into())
    }
}

/// Errors that a racing neighbour explains. All others are wrong wherever they come up: what a dead, overloaded or confused
/// daemon answers is among them (`EIO`, `ESTALE`, `ENOTCONN`, `ENOSYS`, `ENOMEM`, `ETIMEDOUT`, `EINTR` ...).
pub fn is_explained(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::EXIST
            | Errno::NOTEMPTY
            | Errno::ISDIR
            | Errno::NOTDIR
            | Errno::ACCESS
            | Errno::PERM
            | Errno::INVAL
            | Errno::LOOP
            | Errno::NODATA
            | Errno::RANGE
            | Errno::NXIO
            | Errno::SPIPE
            | Errno::BADF
            | Errno::AGAIN
            | Errno::PIPE
            | Errno::OPNOTSUPP
            | Errno::NODEV
            | Errno::BUSY
            | Errno::FBIG
            // Of extended attributes: a file of ext4 has 4 KiB for them.
            | Errno::NOSPC
    )
}

//! Inode flags: what `chattr(1)` and `lsattr(1)` ask the kernel for.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A request about inode flags, with the number under which programs of 64 bits make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `FS_IOC_GETFLAGS`.
    GetFlags,
    /// `FS_IOC_SETFLAGS`.
    SetFlags,
    /// `FS_IOC_FSGETXATTR`.
    GetAttributes,
    /// `FS_IOC_FSSETXATTR`.
    SetAttributes,
}

/// Bytes of the largest argument (`struct fsxattr`, 28), as words.
const WORDS: usize = 7;

impl Request {
    /// The request with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::GetFlags, Self::SetFlags, Self::GetAttributes, Self::SetAttributes]
            .into_iter()
            .find(|request| request.number() == number)
    }

    fn number(self) -> u32 {
        match self {
            Self::GetFlags => 0x8008_6601,
            Self::SetFlags => 0x4008_6602,
            Self::GetAttributes => 0x801c_581f,
            Self::SetAttributes => 0x401c_5820,
        }
    }

    /// Whether it changes something.
    pub fn changes(self) -> bool {
        matches!(self, Self::SetFlags | Self::SetAttributes)
    }

    /// Bytes of its argument. That of the flags is an int, whatever its number says.
    fn len(self) -> usize {
        match self {
            Self::GetFlags | Self::SetFlags => 4,
            Self::GetAttributes | Self::SetAttributes => WORDS * 4,
        }
    }

    /// Makes the request for an open file or directory. `given`: the argument of one that changes something (`EINVAL` if it is
    /// too short). Gives the argument of one that asks.
    pub fn make(self, fd: BorrowedFd<'_>, given: &[u8]) -> io::Result<Vec<u8>> {
        let len = self.len();
        let mut argument = [0_u32; WORDS];
        if self.changes() {
            let given = given.get(..len).ok_or(rustix::io::Errno::INVAL)?;
            for (word, bytes) in argument.iter_mut().zip(given.chunks_exact(4)) {
                *word = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
            }
        }
        // SAFETY: each of these requests reads or writes at most `len` bytes of its argument, and `argument` has as many.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::c_ulong::from(self.number()), argument.as_mut_ptr()) })?;
        if self.changes() {
            return Ok(Vec::new());
        }
        Ok(argument.iter().flat_map(|word| word.to_ne_bytes()).take(len).collect())
    }
}

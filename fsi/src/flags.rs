//! Inode flags (`chattr(1)`): the source's own affair. They are not replicated, because an immutable replica could not follow.

use crate::fs::Fs;
use platform::sys::flags::Request;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;

/// An open file or directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opened {
    File(u64),
    Directory(u64),
}

impl Fs {
    /// `ioctl(2)`; `ENOTTY` for what is not known here. The kernel has checked who asks. Gives what the caller is to be given.
    pub(crate) fn ioctl(&self, opened: Opened, command: u32, given: &[u8]) -> io::Result<Vec<u8>> {
        let request = Request::from_number(command).ok_or(Errno::NOTTY)?;
        match opened {
            Opened::File(number) => request.make(self.files.get(number)?.fd.as_fd(), given),
            Opened::Directory(number) => request.make(self.dirs.get(number)?.fd.as_fd(), given),
        }
    }
}

//! Inode flags (`chattr(1)`): the source's own affair. They are not replicated, because an immutable replica could not follow.

use crate::fs::Fs;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;

/// `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS`, as programs of 64 bits number them: their argument counts as a long.
const GET: u32 = 0x8008_6601;
const SET: u32 = 0x4008_6602;

/// An open file or directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opened {
    File(u64),
    Directory(u64),
}

impl Fs {
    /// `ioctl(2)`; `ENOTTY` for what is not known here. The kernel has checked who asks. Gives what the caller is to be given.
    pub(crate) fn ioctl(&self, opened: Opened, command: u32, given: &[u8]) -> io::Result<Vec<u8>> {
        match opened {
            Opened::File(number) => inode_flags(&self.files.get(number)?.fd, command, given),
            Opened::Directory(number) => inode_flags(&self.dirs.get(number)?.fd, command, given),
        }
    }
}

fn inode_flags(fd: impl AsFd, command: u32, given: &[u8]) -> io::Result<Vec<u8>> {
    match command {
        // An int all the same.
        GET => Ok(ioctl_getflags(fd)?.bits().to_ne_bytes()[..4].to_vec()),
        SET => {
            let given: [u8; 4] = given.get(..4).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::INVAL)?;
            ioctl_setflags(fd, IFlags::from_bits_retain(u32::from_ne_bytes(given).into()))?;
            Ok(Vec::new())
        }
        _ => Err(Errno::NOTTY.into()),
    }
}

//! A file mapped into memory, shared and writable. Besides forked children ([`crate::child`]) the only
//! unsafe code of the suites that concerns memory.

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
use std::fs::File;
use std::io;

/// The mapping; unmapped when dropped.
pub struct Mapping {
    start: *mut libc::c_void,
    len: usize,
}

impl Mapping {
    /// Maps the first `len` bytes, which the file must keep having.
    pub fn shared(file: &File, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new place is asked for, so no memory of this process is replaced.
        let start = unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0)? };
        Ok(Self { start, len })
    }

    /// The bytes. Nobody else writes to the mapped pages by another way while they are borrowed, or the suite that does
    /// reads them for what they are: bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is as long as said, lives as long as `self`, and is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }

    /// `msync(MS_SYNC)`.
    pub fn sync(&mut self) -> io::Result<()> {
        // SAFETY: the whole mapping, which exists.
        unsafe { msync(self.start, self.len, MsyncFlags::SYNC)? };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nobody borrows any more.
        if let Err(error) = unsafe { munmap(self.start, self.len) } {
            eprintln!("cannot unmap: {error}");
        }
    }
}

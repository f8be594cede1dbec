//! Content: writing, allocating, copying, syncing.

use super::{Applier, Fault};
use platform::parts::Parts;
use platform::sys::content::{read_up_to, write_all};
use platform::sys::{attr, dir, extent};
use protocol::{AllocateMode, NodeId, Place, Time};
use rustix::fs::{FallocateFlags, FileType};
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Piece in which bytes are copied or zeroed where the kernel does not do it.
const PIECE_BYTES: u64 = 1 << 20;

impl Applier {
    pub(super) fn write(
        &mut self,
        place: &Place,
        offset: u64,
        payload: &Parts,
        after: (Time, Option<u32>),
        durable: bool,
    ) -> Result<(), Fault> {
        let fd = self.file(place)?;
        let after = (after.0, self.keep_mode(fd.as_fd(), after.1)?);
        payload.write_to(fd.as_fd(), offset)?;
        self.after_data(fd.as_fd(), after)?;
        if durable { self.sync(fd, true) } else { Ok(()) }
    }

    /// What follows data that is there already.
    pub(super) fn settle_data(
        &mut self,
        place: &Place,
        after: (Time, Option<u32>),
        durable: bool,
    ) -> Result<(), Fault> {
        let fd = self.file(place)?;
        self.after_data(fd.as_fd(), after)?;
        if durable {
            rustix::fs::fdatasync(&fd).map_err(|error| self.lost(error))?;
        }
        Ok(())
    }

    pub(super) fn allocate(
        &mut self,
        place: &Place,
        mode: AllocateMode,
        range: Range<u64>,
        after: (Time, Option<u32>),
    ) -> Result<(), Fault> {
        let fd = self.file(place)?;
        let after = (after.0, self.keep_mode(fd.as_fd(), after.1)?);
        allocate(fd.as_fd(), mode, &range)?;
        self.after_data(fd.as_fd(), after)
    }

    pub(super) fn copy_range(
        &mut self,
        (from, from_offset): (&Place, u64),
        (to, to_offset): (&Place, u64),
        len: u64,
        after: (Time, Option<u32>),
    ) -> Result<(), Fault> {
        let source = self.file(from)?;
        let fd = self.file(to)?;
        let after = (after.0, self.keep_mode(fd.as_fd(), after.1)?);
        let (mut at, mut to_at) = (from_offset, to_offset);
        let end = from_offset + len;
        while at < end {
            let piece = usize::try_from((end - at).min(1 << 30)).unwrap_or(1 << 30);
            match rustix::fs::copy_file_range(&source, Some(&mut at), &fd, Some(&mut to_at), piece) {
                Ok(0) => return Err(Fault::damage("the file to copy from is too short")),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    copy_by_hand(source.as_fd(), at, fd.as_fd(), to_at, end - at)?;
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.after_data(fd.as_fd(), after)
    }

    pub(super) fn fsync(&mut self, place: &Place, data_only: bool) -> Result<(), Fault> {
        let node = self.node(place)?;
        match FileType::from_raw_mode(attr::stat(&node)?.st_mode) {
            FileType::RegularFile => {
                let fd = self.file(place)?;
                self.sync(fd, data_only)
            }
            FileType::Directory => {
                let fd = Arc::new(dir::reopen(node.as_fd())?);
                self.sync(fd, false)
            }
            // These have no content of their own to make durable.
            _ => Ok(()),
        }
    }

    /// The source has closed an orphan.
    pub(super) fn reap(&mut self, node: NodeId) -> Result<(), Fault> {
        self.files.remove(node);
        let name = super::node::orphan_name(node);
        match self.home.undo.unlink(self.home.orphans.as_fd(), name.as_bytes(), rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Makes a hole of what there is; the size stays.
pub(crate) fn punch(fd: BorrowedFd<'_>, range: &Range<u64>) -> Result<(), Fault> {
    allocate(fd, AllocateMode::Punch, range)
}

fn allocate(fd: BorrowedFd<'_>, mode: AllocateMode, range: &Range<u64>) -> Result<(), Fault> {
    let flags = match mode {
        AllocateMode::Allocate => FallocateFlags::empty(),
        AllocateMode::KeepSize => FallocateFlags::KEEP_SIZE,
        AllocateMode::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        AllocateMode::Zero => FallocateFlags::ZERO_RANGE,
        AllocateMode::ZeroKeepSize => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
    };
    let result = loop {
        match rustix::fs::fallocate(fd, flags, range.start, range.end - range.start) {
            Err(Errno::INTR) => {}
            result => break result,
        }
    };
    match result {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => emulate(fd, mode, range),
        result => Ok(result?),
    }
}

/// What a file system cannot do by itself, as far as content shows it.
fn emulate(fd: BorrowedFd<'_>, mode: AllocateMode, range: &Range<u64>) -> Result<(), Fault> {
    let size = read_size(fd)?;
    match mode {
        AllocateMode::Allocate if range.end > size => Ok(rustix::fs::ftruncate(fd, range.end)?),
        AllocateMode::Allocate | AllocateMode::KeepSize => Ok(()),
        AllocateMode::Zero => zero(fd, range.clone()),
        AllocateMode::Punch | AllocateMode::ZeroKeepSize => zero(fd, range.start..range.end.min(size)),
    }
}

pub(crate) fn read_size(fd: BorrowedFd<'_>) -> Result<u64, Fault> {
    // The kernel never shows a negative size.
    Ok(u64::try_from(attr::stat(fd)?.st_size).unwrap_or(0))
}

/// Zeros, without filling holes that are there.
fn zero(fd: BorrowedFd<'_>, range: Range<u64>) -> Result<(), Fault> {
    let size = read_size(fd)?;
    let within = range.start..range.end.min(size);
    if within.start < within.end {
        let zeros = vec![0; usize::try_from(PIECE_BYTES).unwrap_or(1 << 20)];
        for segment in extent::segments(fd, within.start, within.end - within.start)? {
            let mut at = segment.offset;
            while !segment.hole && at < segment.offset + segment.len {
                let len = (segment.offset + segment.len - at).min(PIECE_BYTES);
                write_all(fd, &zeros[..usize::try_from(len).unwrap_or(0)], at)?;
                at += len;
            }
        }
    }
    if range.end > size {
        rustix::fs::ftruncate(fd, range.end)?;
    }
    Ok(())
}

fn copy_by_hand(from: BorrowedFd<'_>, mut at: u64, to: BorrowedFd<'_>, mut to_at: u64, len: u64) -> Result<(), Fault> {
    let mut buffer = vec![0; usize::try_from(len.min(PIECE_BYTES)).unwrap_or(1 << 20)];
    let end = at + len;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let got = read_up_to(from, &mut buffer[..want], at)?;
        if got < want {
            return Err(Fault::damage("the file to copy from is too short"));
        }
        write_all(to, &buffer[..got], to_at)?;
        at += got as u64;
        to_at += got as u64;
    }
    Ok(())
}

/// Bytes as a file's whole content, in place.
pub(super) fn replace_content(fd: BorrowedFd<'_>, content: &Parts) -> Result<(), Fault> {
    content.write_to(fd, 0)?;
    Ok(rustix::fs::ftruncate(fd, content.len() as u64)?)
}

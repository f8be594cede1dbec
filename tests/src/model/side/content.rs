//! Operations on what is in files.

use super::Side;
use crate::mapping::Mapping;
use crate::model::op::{On, Op, Path, Seek, pattern};
use crate::model::outcome::Outcome;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::IntoRawFd;

impl Side {
    pub(super) fn content(&self, op: &Op) -> Outcome {
        if let Op::Seek { slot, .. } | Op::FindData { slot, .. } | Op::FindHole { slot, .. } = op
            && self.file(*slot).is_some_and(is_directory)
        {
            // Positions in a directory are cookies, each file system's own (ext4 counts by hash, FUSE in the kernel by size).
            return Outcome::Nothing;
        }
        match op {
            Op::Read { slot, at, len } => self.with(*slot, |file| read(file, *at, *len)),
            Op::Write { slot, at, len, start } => self.with(*slot, |file| {
                let data = pattern(*start, *len);
                match at {
                    Some(at) => rustix::io::pwrite(file, &data, *at),
                    None => rustix::io::write(file, &data),
                }
                .into()
            }),
            Op::Seek { slot, to } => self.with(*slot, |file| {
                let to = match to {
                    Seek::Set(offset) => SeekFrom::Start(*offset),
                    Seek::Current(offset) => SeekFrom::Current(*offset),
                    Seek::End(offset) => SeekFrom::End(*offset),
                };
                rustix::fs::seek(file, to).into()
            }),
            Op::FindData { slot, from } => self.with(*slot, |file| find(file, SeekFrom::Data(*from))),
            Op::FindHole { slot, from } => self.with(*slot, |file| find(file, SeekFrom::Hole(*from))),
            Op::Truncate { on, len } => self.truncate(on, *len),
            Op::Fsync { slot, data_only } => self.with(*slot, |file| {
                if *data_only { rustix::fs::fdatasync(file) } else { rustix::fs::fsync(file) }.into()
            }),
            Op::Fallocate { slot, mode, offset, len } => {
                self.with(*slot, |file| rustix::fs::fallocate(file, *mode, *offset, *len).into())
            }
            Op::CopyRange { from, from_offset, to, to_offset, len } => self.with(*from, |from| {
                self.with(*to, |to| {
                    let (mut input, mut output) = (*from_offset, *to_offset);
                    rustix::fs::copy_file_range(from, Some(&mut input), to, Some(&mut output), *len).into()
                })
            }),
            Op::MapWrite { slot, at, len, start } => {
                self.with(*slot, |file| write_mapped(file, *at, &pattern(*start, *len)))
            }
            _ => unreachable!("{op:?} is about no content"),
        }
    }

    fn truncate(&self, on: &On, len: u64) -> Outcome {
        match on {
            On::Name(Path(path)) | On::Link(Path(path)) => {
                let Ok(path) = CString::new(path.as_str()) else { return Outcome::Failed(Errno::INVAL) };
                // SAFETY: `path` is NUL-terminated and lives through the call.
                if unsafe { libc::truncate(path.as_ptr(), len.cast_signed()) } == 0 {
                    return Outcome::Done;
                }
                Outcome::Failed(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
            }
            On::Open(slot) => self.with(*slot, |file| rustix::fs::ftruncate(file, len).into()),
        }
    }
}

fn is_directory(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_dir())
}

fn read(file: &File, at: Option<u64>, len: usize) -> Outcome {
    let mut buffer = vec![0; len];
    let read = match at {
        Some(at) => rustix::io::pread(file, &mut buffer, at),
        None => rustix::io::read(file, &mut buffer),
    };
    read.map(|len| buffer[..len].to_vec()).into()
}

/// The position stays where it was, because what is found need not count (see `agree`).
fn find(file: &File, what: SeekFrom) -> Outcome {
    let before = rustix::fs::seek(file, SeekFrom::Current(0));
    let found = rustix::fs::seek(file, what);
    if let Ok(before) = before
        && let Err(errno) = rustix::fs::seek(file, SeekFrom::Start(before))
    {
        return Outcome::Failed(errno);
    }
    found.into()
}

/// Writes by way of memory, and reads it there. A file that is too short is left alone: the kernel would end the process.
fn write_mapped(file: &File, at: usize, data: &[u8]) -> Outcome {
    let end = at + data.len();
    match rustix::fs::fstat(file) {
        Ok(stat) if stat.st_size < i64::try_from(end).unwrap_or(i64::MAX) => return Outcome::Nothing,
        Ok(_) => {}
        Err(errno) => return Outcome::Failed(errno),
    }
    let write = || {
        let mut mapping = Mapping::shared(file, end)?;
        mapping.bytes()[at..end].copy_from_slice(data);
        mapping.sync()?;
        Ok(mapping.bytes()[at.saturating_sub(100)..end].to_vec())
    };
    let written: std::io::Result<Vec<u8>> = write();
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).into()
}

/// `close(2)`, whose answer `Drop` would throw away.
pub(super) fn close(file: File) -> Outcome {
    // SAFETY: the descriptor is this function's alone from here on, and closed once.
    if unsafe { libc::close(file.into_raw_fd()) } == 0 {
        return Outcome::Done;
    }
    Outcome::Failed(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

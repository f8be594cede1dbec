//! Operations on names: made, found, moved, removed, listed.

use super::Side;
use crate::model::op::Op;
use crate::model::outcome::Outcome;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, SeekFrom, makedev};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

impl Side {
    pub(super) fn names(&self, op: &Op) -> Outcome {
        let path = |path: &'_ crate::model::op::Path| path.0.clone();
        match op {
            Op::Mkdir { path: at, mode } => rustix::fs::mkdir(path(at), (*mode).into()).into(),
            Op::Mknod { path: at, kind, mode } => {
                let device = if *kind == FileType::CharacterDevice { makedev(1, 3) } else { 0 };
                rustix::fs::mknodat(CWD, path(at), *kind, (*mode).into(), device).into()
            }
            Op::Symlink { target, path: at } => rustix::fs::symlink(target.as_str(), path(at)).into(),
            Op::Link { from, to } => rustix::fs::linkat(CWD, path(from), CWD, path(to), AtFlags::empty()).into(),
            Op::Unlink { path: at } => rustix::fs::unlink(path(at)).into(),
            Op::Rmdir { path: at } => rustix::fs::rmdir(path(at)).into(),
            Op::Rename { from, to, flags } => rustix::fs::renameat_with(CWD, path(from), CWD, path(to), *flags).into(),
            Op::Readlink { path: at } => {
                rustix::fs::readlink(path(at), Vec::new()).map(std::ffi::CString::into_bytes).into()
            }
            Op::ListDir { path: at } => {
                let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
                match rustix::fs::open(path(at), flags, Mode::empty()) {
                    Ok(dir) => list(dir.as_fd()),
                    Err(errno) => Outcome::Failed(errno),
                }
            }
            Op::ListOpenDir { slot } => self.with(*slot, |file| match rustix::fs::seek(file, SeekFrom::Start(0)) {
                Ok(_) => list(file.as_fd()),
                Err(errno) => Outcome::Failed(errno),
            }),
            _ => unreachable!("{op:?} is about no name"),
        }
    }
}

/// Names and kinds, sorted: the order is the file system's business.
fn list(dir: BorrowedFd<'_>) -> Outcome {
    let mut buffer = [const { MaybeUninit::uninit() }; 4096];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Ok(entry) => names.push(format!("{} {:?}", entry.file_name().to_string_lossy(), entry.file_type())),
            Err(errno) => return Outcome::Failed(errno),
        }
    }
    names.sort();
    Outcome::Names(names)
}

//! Staging files: ROOT/.replfs/NAME/stage, content on its way that no name of the replica shows. The lanes fill them, the
//! applier places or removes them. Nothing here knows of messages.

use crate::apply::{Fault, differing, punch, read_size};
use crate::chunks;
use crate::home::Home;
use crate::quota::{Quota, bytes_of};
use parking_lot::Mutex;
use platform::parts::Parts;
use protocol::{PieceAnswer, PieceOp, StageId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Staging files that are kept open.
const MAX_OPEN: usize = 64;

/// The staging files of one replica.
#[derive(Debug)]
pub(crate) struct Stages {
    dir: OwnedFd,
    /// Held while a staging file comes or goes: nobody finds one that has just been placed.
    open: Mutex<Open>,
}

/// A staging file that is open.
#[derive(Debug)]
struct Staged {
    fd: Arc<OwnedFd>,
    /// Held by who writes to it. A file system lets one writer into a file, and the kernel lets others spin until he is through: on two cores, a third of the time.
    writing: Mutex<()>,
}

/// Those in recent use, with the use that was the last.
#[derive(Debug, Default)]
struct Open {
    files: HashMap<StageId, (Arc<Staged>, u64)>,
    uses: u64,
}

impl Open {
    fn get(&mut self, stage: StageId) -> Option<Arc<Staged>> {
        self.uses += 1;
        let (file, used) = self.files.get_mut(&stage)?;
        *used = self.uses;
        Some(file.clone())
    }

    fn keep(&mut self, stage: StageId, fd: OwnedFd) -> Arc<Staged> {
        let file = Arc::new(Staged { fd: Arc::new(fd), writing: Mutex::default() });
        if self.files.len() >= MAX_OPEN {
            let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used).map(|(stage, _)| *stage);
            oldest.and_then(|oldest| self.files.remove(&oldest));
        }
        self.uses += 1;
        self.files.insert(stage, (file.clone(), self.uses));
        file
    }
}

impl Home {
    /// Does what a piece says, within the quota.
    pub fn carry_out(&self, op: &PieceOp, payload: &Parts) -> Result<PieceAnswer, Fault> {
        let carry_out = || self.stages.carry_out(self.tree.as_fd(), op, payload);
        let stage = op.stage();
        let (bytes, files) = match op {
            PieceOp::Open { .. } => (0, u64::from(self.stages.bytes(stage).is_none())),
            PieceOp::Data { offset, .. } => (Quota::room_for(*offset, payload.len() as u64), 0),
            PieceOp::CopyFrom { offset, len, .. } => (Quota::room_for(*offset, *len), 0),
            PieceOp::Hole { .. } | PieceOp::Drop { .. } => (0, 0),
            PieceOp::Compare { offset, len, .. } => {
                self.forget_cached(&self.stages.get(stage)?, &(*offset..*offset + *len));
                return carry_out();
            }
            PieceOp::Chunks { .. } => return carry_out(),
        };
        if !self.quota.is_set() {
            return carry_out();
        }
        self.quota.admit(bytes, files)?;
        self.quota.stage_before(stage, self.stages.bytes(stage));
        let done = carry_out();
        self.quota.stage_after(stage, || self.stages.bytes(stage));
        done
    }
}

impl Stages {
    /// `dir`: the directory that they are in.
    pub fn new(dir: OwnedFd) -> Self {
        Self { dir, open: Mutex::default() }
    }

    /// Does what a piece says. Pieces of one staging file may come from several threads at once. `tree`: the replica, to be
    /// read.
    pub fn carry_out(&self, tree: BorrowedFd<'_>, op: &PieceOp, payload: &Parts) -> Result<PieceAnswer, Fault> {
        match op {
            PieceOp::Open { stage, .. } => {
                let file = self.make(*stage)?;
                return Ok(PieceAnswer::There { len: read_size(file.fd.as_fd())? });
            }
            PieceOp::Data { stage, offset } => {
                let file = self.staged(*stage)?;
                let _alone = file.writing.lock();
                payload.write_to(file.fd.as_fd(), *offset)?;
            }
            PieceOp::Hole { stage, offset, len } => punch(self.get(*stage)?.as_fd(), &(*offset..*offset + *len))?,
            PieceOp::Compare { stage, offset, len, block_bytes, hashes } => {
                let fd = self.get(*stage)?;
                return differing(fd.as_fd(), *offset..*offset + *len, *block_bytes, hashes).map(PieceAnswer::Differs);
            }
            PieceOp::Drop { stage } => self.remove(*stage)?,
            PieceOp::Chunks { path, offset, .. } => return chunks::list(tree, path, *offset),
            PieceOp::CopyFrom { stage, offset, len, path, from, hash } => {
                return chunks::copy((tree, path, *from), (self.get(*stage)?.as_fd(), *offset), *len, hash);
            }
        }
        Ok(PieceAnswer::Done)
    }

    /// What a staging file takes on the disk; `None` where there is none.
    pub fn bytes(&self, stage: StageId) -> Option<i64> {
        rustix::fs::statat(&self.dir, stage.to_string(), AtFlags::SYMLINK_NOFOLLOW).ok().as_ref().map(bytes_of)
    }

    /// The inode of a staging file; `None` where there is none.
    pub fn inode(&self, stage: StageId) -> Result<Option<u64>, Fault> {
        match rustix::fs::statat(&self.dir, stage.to_string(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(Some(stat.st_ino)),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A staging file that exists, for reading and writing.
    pub fn get(&self, stage: StageId) -> Result<Arc<OwnedFd>, Fault> {
        Ok(self.staged(stage)?.fd.clone())
    }

    fn staged(&self, stage: StageId) -> Result<Arc<Staged>, Fault> {
        let mut open = self.open.lock();
        match open.get(stage) {
            Some(file) => Ok(file),
            None => self.open_existing(&mut open, stage),
        }
    }

    /// Moves a staging file to a name, over what is there. Whoever names it afterwards finds nothing.
    pub fn place(&self, stage: StageId, dir: impl AsFd, name: &[u8]) -> Result<(), Fault> {
        let mut open = self.open.lock();
        rustix::fs::renameat(&self.dir, stage.to_string(), dir, name)?;
        open.files.remove(&stage);
        Ok(())
    }

    /// Removes everything: whatever is wanted has been placed. What cannot be removed stays for the next time.
    pub fn clear(&self) -> io::Result<()> {
        let mut open = self.open.lock();
        open.files.clear();
        for name in platform::sys::dir::names(self.dir.as_fd())? {
            match rustix::fs::unlinkat(&self.dir, name.as_bytes(), AtFlags::empty()) {
                // Not made here: an empty directory goes as well, another one stays.
                Err(Errno::ISDIR) => drop(rustix::fs::unlinkat(&self.dir, name.as_bytes(), AtFlags::REMOVEDIR)),
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn make(&self, stage: StageId) -> Result<Arc<Staged>, Fault> {
        let mut open = self.open.lock();
        if self.inode(stage)?.is_some() {
            return open.get(stage).map_or_else(|| self.open_existing(&mut open, stage), Ok);
        }
        open.files.remove(&stage);
        let name = stage.to_string();
        match rustix::fs::unlinkat(&self.dir, &name, AtFlags::empty()) {
            // Something else under this name is nobody's.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(open.keep(stage, fd))
    }

    fn open_existing(&self, open: &mut Open, stage: StageId) -> Result<Arc<Staged>, Fault> {
        // Nothing but a regular file is opened: opening others has effects.
        if self.inode(stage)?.is_none() {
            return Err(Fault::damage("its staging file is not there"));
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, stage.to_string(), flags, Mode::empty())?;
        Ok(open.keep(stage, fd))
    }

    fn remove(&self, stage: StageId) -> Result<(), Fault> {
        let mut open = self.open.lock();
        open.files.remove(&stage);
        match rustix::fs::unlinkat(&self.dir, stage.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

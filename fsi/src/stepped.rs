//! The file system without a kernel in front of it, for simulators: one call for each request, answered with what the reply waits for. What a call does
//! is the file system's; nothing here is for a mount.

use crate::attrs::{SetTime, Wanted};
use crate::data::{Durable, Manner};
use crate::fs::{Caller, Done, Failed, Fs};
use crate::names::New;
use protocol::Time;
use srm::status::CacheMode;
use srm::{Srm, Ticket};
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 0 };

/// See the module. Names are found by their paths, as the kernel does it, and forgotten after each call.
#[derive(Debug)]
pub struct Files(Fs);

/// A result, and what its reply waits for.
pub type Outcome<T> = (io::Result<T>, Ticket);

/// A change of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Modification time.
    pub mtime: Option<Time>,
}

fn split<T>(outcome: Result<Done<T>, Failed>) -> Outcome<T> {
    match outcome {
        Ok(done) => (Ok(done.value), done.ticket),
        Err(failed) => (Err(failed.error), failed.ticket),
    }
}

fn failed<T>(error: io::Error) -> Outcome<T> {
    (Err(error), Ticket::NONE)
}

impl Files {
    /// Of what this replicates.
    pub fn new(srm: Arc<Srm>) -> Self {
        Self(Fs::new(srm, CacheMode::Through))
    }

    /// Walks to a directory; it, the last name, and what was looked up on the way.
    fn walk<'a>(&self, path: &'a str) -> io::Result<(u64, &'a OsStr, Vec<u64>)> {
        let (mut at, mut known) = (1, Vec::new());
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in dirs.split('/').filter(|part| !part.is_empty()) {
            let entry = self.0.lookup(at, OsStr::new(part)).inspect_err(|_| self.forget(&known))?;
            at = entry.stat.st_ino;
            known.push(at);
        }
        Ok((at, OsStr::new(name), known))
    }

    fn forget(&self, known: &[u64]) {
        for ino in known {
            self.0.forget(*ino, 1);
        }
    }

    fn in_dir<T>(&self, path: &str, run: impl Fn(u64, &OsStr) -> Result<Done<T>, Failed>) -> Outcome<T> {
        let (dir, name, known) = match self.walk(path) {
            Ok(found) => found,
            Err(error) => return failed(error),
        };
        let outcome = self.0.changing(|| run(dir, name));
        self.forget(&known);
        split(outcome)
    }

    fn on_file<T>(&self, path: &str, run: impl Fn(u64) -> Result<Done<T>, Failed>) -> Outcome<T> {
        let (dir, name, mut known) = match self.walk(path) {
            Ok(found) => found,
            Err(error) => return failed(error),
        };
        let found = if path.is_empty() { Ok(1) } else { self.0.lookup(dir, name).map(|entry| entry.stat.st_ino) };
        let outcome = match found {
            Ok(ino) => {
                known.extend((ino != 1).then_some(ino));
                self.0.changing(|| run(ino))
            }
            Err(error) => Err(error.into()),
        };
        self.forget(&known);
        split(outcome)
    }

    /// Makes a file, and opens it.
    pub fn create(&self, path: &str) -> Outcome<u64> {
        let new = New { caller: ROOT, mode: 0o644, umask: 0 };
        let (result, ticket) =
            self.in_dir(path, |dir, name| self.0.create(new, dir, name, libc::O_RDWR | libc::O_EXCL));
        let opened = result.map(|(entry, handle)| {
            self.0.forget(entry.stat.st_ino, 1);
            handle
        });
        (opened, ticket)
    }

    /// Makes a directory.
    pub fn mkdir(&self, path: &str) -> Outcome<()> {
        let new = New { caller: ROOT, mode: 0o755, umask: 0 };
        let (result, ticket) = self.in_dir(path, |dir, name| self.0.mkdir(new, dir, name));
        (result.map(|entry| self.0.forget(entry.stat.st_ino, 1)), ticket)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &str, to: &str) -> Outcome<()> {
        let (result, ticket) = self.in_dir(path, |dir, name| self.0.symlink(ROOT, dir, name, OsStr::new(to)));
        (result.map(|entry| self.0.forget(entry.stat.st_ino, 1)), ticket)
    }

    /// Removes a name that is no directory's.
    pub fn unlink(&self, path: &str) -> Outcome<()> {
        self.in_dir(path, |dir, name| self.0.unlink(dir, name))
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, path: &str) -> Outcome<()> {
        self.in_dir(path, |dir, name| self.0.rmdir(dir, name))
    }

    /// Moves a name; `flags` as `renameat2(2)` has them.
    pub fn rename(&self, from: &str, to: &str, flags: u32) -> Outcome<()> {
        let (from_dir, from_name, known) = match self.walk(from) {
            Ok(found) => found,
            Err(error) => return failed(error),
        };
        let outcome = self.in_dir(to, |dir, name| self.0.rename(ROOT, (from_dir, from_name), (dir, name), flags));
        self.forget(&known);
        outcome
    }

    /// Gives a file one more name.
    pub fn link(&self, from: &str, to: &str) -> Outcome<()> {
        let (dir, name, mut known) = match self.walk(from) {
            Ok(found) => found,
            Err(error) => return failed(error),
        };
        let entry = match self.0.lookup(dir, name) {
            Ok(entry) => entry,
            Err(error) => {
                self.forget(&known);
                return failed(error);
            }
        };
        known.push(entry.stat.st_ino);
        let (result, ticket) = self.in_dir(to, |dir, name| self.0.link(entry.stat.st_ino, dir, name));
        let linked = result.map(|made| self.0.forget(made.stat.st_ino, 1));
        self.forget(&known);
        (linked, ticket)
    }

    /// Opens a file; its handle.
    pub fn open(&self, path: &str) -> io::Result<u64> {
        self.on_file(path, |ino| Ok(Done { value: self.0.open(ino, libc::O_RDWR, ROOT)?, ticket: Ticket::NONE })).0
    }

    /// Closes it.
    pub fn release(&self, handle: u64) {
        self.0.release(handle);
    }

    /// Writes to an open file.
    pub fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Outcome<u32> {
        let file = match self.0.files.get(handle) {
            Ok(file) => file,
            Err(error) => return failed(error),
        };
        let manner = Manner { kills: false, durable: Durable::No, written_back: false };
        split(self.0.changing(|| self.0.write(ROOT, &file, offset, data, manner)))
    }

    /// Makes an open file durable.
    pub fn fsync(&self, handle: u64) -> Outcome<()> {
        split(self.0.changing(|| self.0.fsync(handle, false)))
    }

    /// Changes attributes.
    pub fn change(&self, path: &str, change: Change) -> Outcome<()> {
        let mtime = change.mtime.map(SetTime::At);
        let wanted = Wanted { size: change.size, mode: change.mode, mtime, ..Wanted::default() };
        let (result, ticket) = self.on_file(path, |ino| self.0.setattr(ROOT, ino, None, &wanted));
        (result.map(drop), ticket)
    }
}

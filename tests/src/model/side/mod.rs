//! One of the places that are compared: a directory, and the files that a sequence has open in it. Carries out a step as its user
//! and says what a program would have seen. Nothing is judged here.
//!
//! Paths are taken from the thread's own working directory, which `User::act` makes sure of; so several threads work in
//! several places, and calls without an `at` variant (truncate, xattrs) need no detour.

mod attributes;
mod content;
mod names;

use super::op::{Bits, On, Op, Path, SLOTS, Slot, Step};
use super::outcome::Outcome;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What carries out steps.
pub trait Perform {
    /// Carries out one step.
    fn perform(&mut self, step: &Step) -> Outcome;

    /// The file in a slot, if one is open there.
    fn open_file(&self, slot: Slot) -> Option<&File>;

    /// Whether something was written by way of memory so far.
    fn has_mapped(&self) -> bool;
}

/// A directory and the files open in it.
pub struct Side {
    root: OwnedFd,
    files: [Option<File>; SLOTS],
    mapped: bool,
}

impl Side {
    /// Errors: the directory cannot be opened.
    pub fn new(root: &std::path::Path) -> rustix::io::Result<Self> {
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, files: [const { None }; SLOTS], mapped: false })
    }

    fn file(&self, slot: Slot) -> Option<&File> {
        self.files[slot.0].as_ref()
    }

    /// Gives the open file to `f`, or nothing is done.
    fn with(&self, slot: Slot, f: impl FnOnce(&File) -> Outcome) -> Outcome {
        self.file(slot).map_or(Outcome::Nothing, f)
    }

    /// Does one of three things to what is meant.
    fn on<T: Into<Outcome>>(
        &self,
        on: &On,
        name: impl FnOnce(&str) -> rustix::io::Result<T>,
        link: impl FnOnce(&str) -> rustix::io::Result<T>,
        open: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Outcome {
        match on {
            On::Name(Path(path)) => name(path).into(),
            On::Link(Path(path)) => link(path).into(),
            On::Open(slot) => self.with(*slot, |file| open(file.as_fd()).into()),
        }
    }

    fn carry_out(&mut self, op: &Op) -> Outcome {
        if let Err(errno) = rustix::process::fchdir(&self.root) {
            return Outcome::Failed(errno);
        }
        match op {
            Op::Stat { .. }
            | Op::Access { .. }
            | Op::Chmod { .. }
            | Op::Chown { .. }
            | Op::Utimens { .. }
            | Op::SetXattr { .. }
            | Op::SetAcl { .. }
            | Op::GetXattr { .. }
            | Op::ListXattr { .. }
            | Op::RemoveXattr { .. } => self.attributes(op),
            Op::Read { .. }
            | Op::Write { .. }
            | Op::Seek { .. }
            | Op::FindData { .. }
            | Op::FindHole { .. }
            | Op::Truncate { .. }
            | Op::Fsync { .. }
            | Op::Fallocate { .. }
            | Op::CopyRange { .. }
            | Op::MapWrite { .. } => self.content(op),
            Op::Open { slot, path, flags, mode } => self.open(*slot, &path.0, *flags, *mode),
            Op::Close { slot } => self.files[slot.0].take().map_or(Outcome::Nothing, content::close),
            _ => self.names(op),
        }
    }

    /// What was open in the slot is closed once the new file is there.
    fn open(&mut self, slot: Slot, path: &str, flags: OFlags, mode: Bits) -> Outcome {
        // Opening a pipe would wait for its other end otherwise.
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, mode.into()) {
            Ok(file) => self.files[slot.0].replace(file.into()).map_or(Outcome::Done, content::close),
            Err(errno) => Outcome::Failed(errno),
        }
    }
}

impl Perform for Side {
    fn perform(&mut self, step: &Step) -> Outcome {
        let outcome = step.user.act(|| self.carry_out(&step.op));
        self.mapped |= matches!((&step.op, &outcome), (Op::MapWrite { .. }, Outcome::Bytes(_)));
        outcome
    }

    fn open_file(&self, slot: Slot) -> Option<&File> {
        self.file(slot)
    }
    fn has_mapped(&self) -> bool {
        self.mapped
    }
}

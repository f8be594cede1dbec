//! `replfs roll-back`: which replica, what came of it, and why not.

use super::back;
use super::log::Unread;
use crate::error::{TargetError, text};
use crate::image;
use crate::root::{OWN, Target, TargetConfig};
use protocol::Name;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsFd;

/// What was taken back, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollBack {
    /// Version of this document's format.
    pub version: u32,
    /// The directory below ROOT.
    pub name: String,
    /// The replica is as it was when everything up to this number, and nothing else, was applied.
    pub number: u64,
    /// Its run of numbers, in hexadecimal.
    pub incarnation: String,
    /// When repair began, in UTC: when the replica was last coherent.
    pub taken: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Names that are, or would be, looked after.
    pub names: u64,
    /// Nodes, likewise.
    pub nodes: u64,
    /// Bytes of data written back; for a dry run those in the log.
    pub bytes: u64,
    /// Where what had come since is, relative to ROOT; `None` where there is nothing.
    pub aside: Option<String>,
}

/// The version of [`RollBack`] that this build writes.
pub(super) const VERSION: u32 = 1;

/// Why a replica was not taken back.
#[derive(Debug, thiserror::Error)]
pub enum RollBackError {
    /// ROOT cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// ROOT has no such replica.
    #[error("there is no replica '{name}' in {root}; 'replfs status' on the target lists them")]
    NoReplica {
        /// What was asked for.
        name: String,
        /// ROOT.
        root: String,
    },
    /// It is coherent, or there is nothing that takes it back. Nothing was changed.
    #[error("{0}")]
    NotKept(String),
    /// The undo log cannot be believed. Where that is seen while it is read, nothing was changed.
    #[error("the undo log is damaged ({0})")]
    Damaged(String),
    /// Something that was kept is gone. Nothing was changed.
    #[error(
        "{count} things that belong into the last coherent state are gone, the first is '{first}': nothing was changed; was something removed from what is set aside?"
    )]
    Missing {
        /// How many.
        count: u64,
        /// Where the first one belongs.
        first: String,
    },
    /// The system failed. What was begun is ended by the next try.
    #[error("the replica is not taken back yet: {}; try again", text(.0))]
    System(#[from] io::Error),
}

impl From<Unread> for RollBackError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Io(error) => Self::System(error),
            Unread::Damaged(what) => Self::Damaged(what),
        }
    }
}

pub(super) fn reason(unread: &Unread) -> String {
    match unread {
        Unread::Io(error) => text(error),
        Unread::Damaged(what) => format!("it is damaged, {what}"),
    }
}

/// Brings the replica NAME back to its last coherent state, in place, while no daemon has ROOT. A source that comes back then compares
/// everything. Done again after it was interrupted, it ends the same.
pub fn roll_back(config: TargetConfig, name: &Name, dry_run: bool) -> Result<RollBack, RollBackError> {
    // A ROOT that is none is not made.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(config.root.join(OWN), flags, Mode::empty())
        .map_err(|e| TargetError::NoRoot { path: config.root.clone(), source: e.into() })?;
    let target = Target::open(config)?;
    let replica = back::Replica::open(&target, name)?;
    if let Some(image) = image::find(replica.meta.as_fd())? {
        let at = format!("{}/{OWN}/{name}/image/{}", target.root().display(), image.name());
        return Err(RollBackError::NotKept(format!(
            "the last coherent state of '{name}' is kept whole in {at}: copy it from there; nothing was changed"
        )));
    }
    replica.take_back(dry_run)
}

//! The words of `replfs commit`, and the bounds of `near` that a mount takes too.

use super::{StateArgs, units};
use crate::control::millis;
use clap::Args;
use srm::status::{CommitMode, NearChange};
use std::ffi::OsString;
use std::time::Duration;

/// How far behind the target may be in commit mode `near`.
#[derive(Clone, Copy, Debug, Args)]
pub struct NearArgs {
    /// With commit=near: operations that the target may be behind before a call waits [default: 1000]
    #[arg(long = "near-operations", id = "near_operations", value_name = "N")]
    pub operations: Option<u64>,
    /// With commit=near: bytes that it may be behind [default: 16MiB]
    #[arg(long = "near-bytes", id = "near_bytes", value_name = "SIZE", value_parser = units::size)]
    pub bytes: Option<u64>,
    /// With commit=near: how old the oldest operation may be that it has not applied [default: 5s]
    #[arg(long = "near-time", id = "near_time", value_name = "TIME", value_parser = units::duration)]
    pub time: Option<Duration>,
}

impl NearArgs {
    /// As the mount takes them.
    pub fn change(&self) -> NearChange {
        NearChange { operations: self.operations, bytes: self.bytes, millis: self.time.map(millis) }
    }
}

/// `replfs commit`.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// Where the source is mounted, or its NAME
    pub mnt: OsString,
    /// sync: after source and target have it; near: once it is queued, unless the target is further behind than a bound; real:
    /// once it is queued; local: once it is durable on the source's own disk; remote: as sync, but the target is asked first, and what it
    /// cannot do, or is not there to do, fails [default: show the present one]
    pub mode: Option<CommitMode>,
    /// The bounds of near.
    #[command(flatten)]
    pub near: NearArgs,
    /// A call waits for a target that does not answer however long that takes; without it the mode degrades after the mount's
    /// degrade-after
    #[arg(long, requires = "mode")]
    pub strict: bool,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

//! Commit mode `remote` (S2, R13): the target is asked first; what one side cannot do neither does, and what was acknowledged is on both. Here: what the
//! tests share.
#![allow(clippy::unwrap_used)]

mod away;
mod both;
mod chaos;
mod killed;
mod points;
mod refused;

use replfs_tests::rig::status::Source;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::time::Duration;

/// How long a call waits in the tests in which nothing answers.
const TIMEOUT: &str = "2s";

/// What passes for "at the same time" on a loaded machine.
const TOGETHER: Duration = Duration::from_secs(8);

/// A rig in which operations can be made.
fn rig(setup: Setup) -> Rig {
    let rig = Rig::with(Commit::Remote, setup);
    rig.settle();
    rig
}

fn linked(timeout: &str) -> Rig {
    rig(Setup::default().linked().option(&["--remote-timeout", timeout]))
}

/// Starts the target again; the source has found it and nothing is left to be put back.
#[track_caller]
fn target_back(rig: &mut Rig, reconnects: u64) {
    rig.start_target();
    let back = |status: &Source| status.target().reconnects > reconnects && status.target().coherent;
    rig.wait_status("the target to be back", back);
}

/// Waits until the next daemon can go on with the journal if this one is killed.
fn resumable(rig: &Rig) {
    let stand = rig.source_state().join("run/journal/tree/stand");
    until("the journal to be of use", PATIENCE, || (fs::read(&stand).ok()?.get(28) == Some(&1)).then_some(()));
}

#[track_caller]
fn refused<T>(result: io::Result<T>, with: Errno) {
    match result {
        Ok(_) => panic!("it was done, and not refused with {with}"),
        Err(error) => assert_eq!(Errno::from_io_error(&error), Some(with), "{error}"),
    }
}

fn mode(rig: &Rig, mode: &str) {
    rig.replfs("commit", &[rig.mnt().to_str().unwrap(), mode]).ok();
}

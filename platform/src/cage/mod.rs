//! A cage for a process that serves others: once it is closed, even code that an attacker runs in it reaches a few directories and nothing else. The
//! mechanism only: which directories, and what to do where the kernel cannot, is the caller's.
//!
//! Two steps, both before there is any second thread, because most of this holds for the calling thread and those it starts. First
//! [`separate`]: the process sees a root with those directories and /proc in it, in a mount namespace of its own. What is opened
//! of them is opened after that, because a descriptor of before leads out. Then [`close`]: capabilities, Landlock, system calls.
//! docs/decisions/0022 says what each is for.

mod capabilities;
mod landlock;
mod namespace;
mod syscalls;

pub use capabilities::KEPT as KEPT_CAPABILITIES;
pub use namespace::separate;

use std::io;
use std::path::Path;

/// What a process is to keep.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Directories below which everything that a replica needs can be done, device nodes included.
    pub trees: &'a [&'a Path],
    /// Directories below which files and directories can be made, read, changed and removed.
    pub places: &'a [&'a Path],
}

/// What a closed cage consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Version of Landlock's interface that is in force.
    pub landlock: Option<u32>,
    /// System calls that are not on the list are refused.
    pub syscalls: bool,
    /// Names of the capabilities that the process still has, as `capabilities(7)` has them, in lower case.
    pub capabilities: Vec<String>,
    /// All other capabilities are gone for good, also for programs that it would run.
    pub bounded: bool,
    /// What could not be done, and why.
    pub missing: Vec<String>,
}

/// Closes the cage: from here on there is no way back. What the kernel cannot do is left out, and said.
/// Errors: there is another thread, or something failed half-way; the process should end then.
pub fn close(plan: &Plan<'_>) -> io::Result<Closed> {
    alone()?;
    let mut closed = Closed::default();
    rustix::thread::set_no_new_privs(true)?;
    match landlock::restrict(plan) {
        Ok(version) => closed.landlock = Some(version),
        Err(why) => closed.missing.push(format!("landlock: {why}")),
    }
    // After Landlock, so that nothing which that needs is gone.
    closed.bounded = capabilities::drop_all_but_kept()?;
    if !closed.bounded {
        closed.missing.push("capabilities: those of programs that it runs stay, it may not take them away".to_owned());
    }
    closed.capabilities = capabilities::held()?;
    // The last step: it refuses what the others need.
    match syscalls::restrict() {
        Ok(()) => closed.syscalls = true,
        Err(why) => closed.missing.push(format!("system calls: {why}")),
    }
    Ok(closed)
}

/// An error where there is another thread: it would stay outside.
fn alone() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        count => Err(io::Error::other(format!("{count} threads run; the cage would hold one of them"))),
    }
}

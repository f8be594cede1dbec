//! `-N` of mount(8): another mount namespace.

use crate::exit::{Code, Failure};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Moves this process, which must have one thread only, into a mount namespace: that of a process id, or a file. Done once:
/// a daemon is started within.
pub fn enter(namespace: Option<&Path>) -> Result<(), Failure> {
    let Some(given) = namespace.filter(|_| !crate::daemon::is_daemon()) else { return Ok(()) };
    let path = match given.to_str().and_then(|text| text.parse::<u32>().ok()) {
        Some(pid) => PathBuf::from(format!("/proc/{pid}/ns/mnt")),
        None => given.to_owned(),
    };
    let fail = |e: rustix::io::Errno| {
        Failure::io(Code::System, format!("cannot enter the mount namespace {}", path.display()), &e.into())
    };
    let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(fail)
}

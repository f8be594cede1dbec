//! SRC as it is before anything is mounted on it: the directory that the source works on.

use crate::exit::{Code, Failure};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};

/// From a descriptor of SRC one that reaches SRC's own file system only: as root a private copy of its mount without what
/// is mounted below it. Where that is not allowed, SRC itself; what is on another device is then not entered. `noatime`:
/// reading moves no access times.
pub(super) fn open(src: &OwnedFd, noatime: bool) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if let Ok(root) = open_tree(src.as_fd(), c"", flags) {
        if noatime {
            platform::sys::mount::set_noatime(root.as_fd())
                .map_err(|e| Failure::io(Code::System, "cannot keep access times of the source (noatime)", &e))?;
        }
        return Ok(root);
    }
    rustix::fs::openat(src, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Failure::io(Code::Source, "cannot open the source directory", &e.into()))
}

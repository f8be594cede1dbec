//! Unix sockets by paths of any length. The kernel takes 107 bytes; a path through the directory's descriptor is shorter.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The directory of a socket, open, and a short path of the socket that leads through it.
fn short(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = platform::sys::proc_path(fd.as_fd()).join(name);
    Ok((fd, short))
}

pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let (_dir, short) = short(path)?;
    let listener = UnixListener::bind(&short)?;
    rustix::fs::chmod(&short, Mode::RUSR | Mode::WUSR)?;
    Ok(listener)
}

pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_dir, short) = short(path)?;
    UnixStream::connect(short)
}

//! Paths resolved beneath a directory and nowhere else: no `..`, no symbolic link followed, no mount crossed out of it.

use protocol::RelPath;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest piece of a path given to one system call, below the kernel's `PATH_MAX` of 4096.
const PIECE_BYTES: usize = 4000;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Opens `path` beneath `root` with `flags` (close-on-exec and no-follow are added; the last name may be a symbolic
/// link if `flags` has `O_PATH`). The empty path is `root` itself.
pub fn open_beneath(root: BorrowedFd<'_>, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut rest = path.as_bytes();
    if rest.is_empty() {
        return Ok(rustix::fs::openat2(root, c".", flags, Mode::empty(), BENEATH)?);
    }
    let mut dir: Option<OwnedFd> = None;
    while rest.len() > PIECE_BYTES {
        // Names are at most 255 bytes, so there is a slash in any 4000.
        let cut = rest[..PIECE_BYTES].iter().rposition(|b| *b == b'/').ok_or(io::ErrorKind::InvalidInput)?;
        let at = dir.as_ref().map_or(root, AsFd::as_fd);
        dir = Some(rustix::fs::openat2(
            at,
            &rest[..cut],
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            BENEATH,
        )?);
        rest = &rest[cut + 1..];
    }
    let at = dir.as_ref().map_or(root, AsFd::as_fd);
    open_last(at, rest, flags)
}

fn open_last(at: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    match rustix::fs::openat2(at, path, flags, Mode::empty(), BENEATH) {
        // RESOLVE_NO_SYMLINKS answers ELOOP for a link in last place too, unless O_PATH and O_NOFOLLOW ask for the link.
        Err(e) => Err(e.into()),
        Ok(fd) => Ok(fd),
    }
}

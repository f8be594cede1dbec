//! Files that are not whole yet: under a name of their own beside the one that they will get, the same each time, so that
//! an interrupted restore finds them again.

use super::directory::stat_name;
use super::fault::Fault;
use protocol::{Entry, Name};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

const PREFIX: &[u8] = b".replfs-restore-";

/// The name of the partial file of `name`.
pub(super) fn name(name: &Name) -> Name {
    let mut bytes = PREFIX.to_vec();
    bytes.extend_from_slice(&blake3::hash(name.as_bytes()).to_hex().as_bytes()[..16]);
    Name::new(&bytes).unwrap_or_else(|_| unreachable!("a prefix and sixteen digits are a name"))
}

/// Whether a name is one of ours. Such names are never restored: a replica has them when a restore into its own mount was
/// interrupted.
pub(super) fn is_ours(name: &Name) -> bool {
    let hex = name.as_bytes().strip_prefix(PREFIX);
    hex.is_some_and(|hex| hex.len() == 16 && hex.iter().all(u8::is_ascii_hexdigit))
}

/// Opens the partial file for `entry`, as far as it is, or makes it.
pub(super) fn open(at: &OwnedFd, entry: &Entry) -> Result<OwnedFd, Fault> {
    let partial = name(&entry.name);
    let open = |flags| {
        let flags = flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(at, partial.as_bytes(), flags, Mode::RUSR | Mode::WUSR)
    };
    if stat_name(at, &partial)?.is_some() {
        if let Ok(fd) = open(OFlags::empty()) {
            let stat = rustix::fs::fstat(&fd)?;
            let ours = [rustix::process::geteuid().as_raw(), entry.attrs.owner.uid].contains(&stat.st_uid);
            // With a second name it would be somebody else's file that is written.
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 && ours {
                return Ok(fd);
            }
        }
        rustix::fs::unlinkat(at, partial.as_bytes(), AtFlags::empty())?;
    }
    Ok(open(OFlags::CREATE | OFlags::EXCL)?)
}

/// Removes the partial file of a name, if there is one.
pub(super) fn forget(at: &OwnedFd, of: &Name) {
    // One that stays is found the next time.
    let _ = rustix::fs::unlinkat(at, name(of).as_bytes(), AtFlags::empty());
}

/// Gives a whole file its name. `over`: in place of what has it; otherwise nothing may have it.
pub(super) fn finish(at: &OwnedFd, to: &Name, over: bool) -> Result<(), Fault> {
    let from = name(to);
    let rename = |flags| rustix::fs::renameat_with(at.as_fd(), from.as_bytes(), at.as_fd(), to.as_bytes(), flags);
    if over {
        return Ok(rename(rustix::fs::RenameFlags::empty())?);
    }
    match rename(rustix::fs::RenameFlags::NOREPLACE) {
        // A file system that cannot do that by itself.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if stat_name(at, to)?.is_none() => {
            Ok(rename(rustix::fs::RenameFlags::empty())?)
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_file_has_a_name_that_is_found_again() {
        let long = Name::new(&[b'x'; 255]).unwrap();
        let ours = name(&long);
        assert!(is_ours(&ours) && ours == name(&long) && ours != name(&Name::new(b"x").unwrap()));
        for other in
            [&b"x"[..], b".replfs-restore-", b".replfs-restore-0123456789abcdeg", b".replfs-restore-0123456789abcdef0"]
        {
            assert!(!is_ours(&Name::new(other).unwrap()));
        }
    }
}

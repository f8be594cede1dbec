//! Owner, permissions, extended attributes, times: whether they are what they should be, and making them so.

use super::engine::Engine;
use super::fault::Fault;
use super::remote;
use crate::exit::reason;
use platform::sys::{attr, xattr};
use protocol::{Entry, RelPath};
use rustix::fs::{FileType, Stat, XattrFlags};
use srm::said::words;
use std::io;
use std::os::fd::BorrowedFd;

const NO_OWNERS: &str = "owners and groups that this user cannot give are not set: run as root to restore them";
const NO_LABELS: &str = "trusted and security attributes are not set: run as root to restore them";
/// Labels that a machine may insist on.
const SECURITY: &[u8] = b"security.";
const TRUSTED: &[u8] = b"trusted.";
const SETID: u32 = 0o6000;

impl Engine {
    /// Whether anything but the content is not as `entry` says, as far as this user could change it.
    pub fn differs(&self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<bool, Fault> {
        let stat = attr::stat(fd)?;
        let owned = is_owned(&stat, entry);
        Ok(self.privileged && !owned
            || attr::mtime(&stat) != entry.attrs.mtime
            || !is_link(&stat) && attr::perm(&stat) != self.mode(&stat, entry)
            || xattr::digest(&xattr::all(fd)?) != entry.xattrs)
    }

    /// Makes everything but the content what `entry` says, in the order in which they do not undo each other.
    pub fn settle(&self, fd: BorrowedFd<'_>, entry: &Entry, path: &RelPath) -> Result<(), Fault> {
        let stat = attr::stat(fd)?;
        let owner = entry.attrs.owner;
        if (stat.st_uid, stat.st_gid) != (owner.uid, owner.gid) {
            self.chown(fd, owner.uid, owner.gid).map_err(|e| Fault::node("its owner cannot be set", &e))?;
        }
        self.settle_xattrs(fd, entry, path)?;
        // Looked at only now: setting an owner takes setuid and setgid away, setting an ACL changes permissions.
        let stat = attr::stat(fd)?;
        let mode = self.mode(&stat, entry);
        if !is_link(&stat) && attr::perm(&stat) != mode {
            attr::chmod(fd, mode).map_err(|e| Fault::node("its permissions cannot be set", &e))?;
        }
        if attr::mtime(&stat) != entry.attrs.mtime {
            let set = attr::set_times(fd, None, Some(entry.attrs.mtime));
            set.map_err(|e| Fault::node("its times cannot be set", &e))?;
        }
        Ok(())
    }

    /// The permissions that a node is to have: setuid and setgid are for the right owner only.
    fn mode(&self, stat: &Stat, entry: &Entry) -> u32 {
        let owned = is_owned(stat, entry);
        let mode = entry.attrs.mode & 0o7777;
        if self.privileged || owned || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            mode
        } else {
            mode & !SETID
        }
    }

    fn chown(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
        let denied = |e: &io::Error| matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL));
        match attr::chown(fd, Some(uid), Some(gid)) {
            Err(e) if !self.privileged && denied(&e) => {
                self.tally.once(NO_OWNERS);
                // He may give his files to groups of his.
                match attr::chown(fd, None, Some(gid)) {
                    Err(e) if denied(&e) => Ok(()),
                    result => result,
                }
            }
            result => result,
        }
    }

    fn settle_xattrs(&self, fd: BorrowedFd<'_>, entry: &Entry, path: &RelPath) -> Result<(), Fault> {
        let present = xattr::all(fd)?;
        if xattr::digest(&present) == entry.xattrs {
            return Ok(());
        }
        let wanted = match entry.xattrs {
            none if none == [0; 16] => Vec::new(),
            _ => remote::xattrs(self.remote.ask_xattrs(path))?,
        };
        let for_root = |name: &[u8]| name.starts_with(SECURITY) || name.starts_with(TRUSTED);
        for (name, _) in present.iter().filter(|(name, _)| !wanted.iter().any(|(w, _)| w == name)) {
            match xattr::remove(fd, name) {
                Err(_) if for_root(name) && !self.privileged || name.starts_with(SECURITY) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => {}
                result => result.map_err(|e| xattr_fault(name, &e))?,
            }
        }
        for (name, value) in wanted.iter().filter(|pair| !present.contains(pair)) {
            match xattr::set(fd, name, value, XattrFlags::empty()) {
                Err(_) if for_root(name) && !self.privileged => self.tally.once(NO_LABELS),
                result => result.map_err(|e| xattr_fault(name, &e))?,
            }
        }
        Ok(())
    }
}

/// Of this one, whatever it is: an error that says "no space" is about the room that a file system has for the attributes of one file.
fn xattr_fault(name: &[u8], error: &io::Error) -> Fault {
    let name = words(&String::from_utf8_lossy(name));
    Fault::Node(format!("its attribute {name} cannot be set: {}", reason(error)))
}

fn is_owned(stat: &Stat, entry: &Entry) -> bool {
    (stat.st_uid, stat.st_gid) == (entry.attrs.owner.uid, entry.attrs.owner.gid)
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

//! Extended attributes, ACLs included.

use crate::fs::{Caller, Done, Failed, Fs};
use platform::sys::{attr, xattr};
use protocol::Op;
use rustix::fs::{Stat, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// Resulting permission bits, where an ACL changed them.
fn changed(before: &Stat, after: &Stat) -> Option<u32> {
    (attr::perm(before) != attr::perm(after)).then_some(attr::perm(after))
}

/// ACLs: who removes one that is not there is not told so.
const ACLS: &[u8] = b"system.posix_acl_";

/// What `setxattr(2)` would answer by the flags alone.
fn check_flags(fd: BorrowedFd<'_>, name: &[u8], flags: XattrFlags) -> io::Result<()> {
    if flags.is_empty() {
        return Ok(());
    }
    let there = match xattr::get(fd, name) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(Errno::NODATA.raw_os_error()) => false,
        Err(error) => return Err(error),
    };
    match there {
        true if flags.contains(XattrFlags::CREATE) => Err(Errno::EXIST.into()),
        false if flags.contains(XattrFlags::REPLACE) => Err(Errno::NODATA.into()),
        _ => Ok(()),
    }
}

impl Fs {
    /// The value of one attribute.
    pub(crate) fn getxattr(&self, ino: u64, name: &OsStr) -> io::Result<Vec<u8>> {
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        xattr::get(self.path_fd(&names, &node)?.as_fd(), name.as_bytes())
    }

    /// The names, each with a NUL behind it. Those in `trusted` are not shown to ordinary users.
    pub(crate) fn listxattr(&self, caller: Caller, ino: u64) -> io::Result<Vec<u8>> {
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        let mut list = Vec::new();
        for name in xattr::names(self.path_fd(&names, &node)?.as_fd())? {
            if caller.uid == 0 || !name.starts_with(b"trusted.") {
                list.extend_from_slice(&name);
                list.push(0);
            }
        }
        Ok(list)
    }

    /// Sets an attribute; `flags` as `setxattr(2)` has them.
    pub(crate) fn setxattr(
        &self,
        caller: Caller,
        ino: u64,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<Done<()>, Failed> {
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        let fd = self.path_fd(&names, &node)?;
        let _lock = node.lock.lock();
        let before = attr::stat(&fd)?;
        let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
        if self.srm.proposes() {
            check_flags(fd.as_fd(), name.as_bytes(), flags)?;
        }
        let bytes = name.as_bytes().to_vec();
        let proposed = self.propose(&names, &node, value, |place| Op::SetXattr { place, name: bytes, mode: None })?;
        let set = xattr::set(fd.as_fd(), name.as_bytes(), value, flags);
        let ((), _proposed) = self.decided(&names, proposed, set)?;
        let mut stat = attr::stat(&fd)?;
        let setgid = attr::perm(&stat) & libc::S_ISGID != 0;
        // An access ACL set by who is not in the group takes setgid away, which the kernel leaves to this process.
        if name == "system.posix_acl_access" && setgid && caller.uid != 0 && !caller.in_group(stat.st_gid) {
            attr::chmod(fd.as_fd(), attr::perm(&stat) & !libc::S_ISGID)?;
            stat = attr::stat(&fd)?;
        }
        let mode = changed(&before, &stat);
        let name = name.as_bytes().to_vec();
        let ticket = self.record(&names, &node, &stat, value, |place| Op::SetXattr { place, name, mode });
        Ok(Done { value: (), ticket })
    }

    /// Removes an attribute.
    pub(crate) fn removexattr(&self, ino: u64, name: &OsStr) -> Result<Done<()>, Failed> {
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        let fd = self.path_fd(&names, &node)?;
        let _lock = node.lock.lock();
        let before = attr::stat(&fd)?;
        if self.srm.proposes() && !name.as_bytes().starts_with(ACLS) {
            // The target would take it for done.
            check_flags(fd.as_fd(), name.as_bytes(), XattrFlags::REPLACE)?;
        }
        let bytes = name.as_bytes().to_vec();
        let proposed = self.propose(&names, &node, &[], |place| Op::RemoveXattr { place, name: bytes, mode: None })?;
        let ((), _proposed) = self.decided(&names, proposed, xattr::remove(fd.as_fd(), name.as_bytes()))?;
        let stat = attr::stat(&fd)?;
        let mode = changed(&before, &stat);
        let name = name.as_bytes().to_vec();
        let ticket = self.record(&names, &node, &stat, &[], |place| Op::RemoveXattr { place, name, mode });
        Ok(Done { value: (), ticket })
    }
}

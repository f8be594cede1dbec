//! Extended attributes, ACLs included, which are attributes that change permissions.

use super::attrs::chmod;
use super::{Applier, Fault};
use platform::sys::{attr, xattr};
use protocol::Place;
use rustix::fs::{FileType, XattrFlags};
use std::os::fd::{AsFd, BorrowedFd};

/// Namespace of labels that belong to the machine as much as to the file.
const SECURITY: &[u8] = b"security.";

impl Applier {
    /// Sets (`Some`) or removes one attribute; then permissions where it changed them.
    pub(super) fn set_xattr(
        &mut self,
        place: &Place,
        name: &[u8],
        value: Option<&[u8]>,
        mode: Option<u32>,
    ) -> Result<(), Fault> {
        let fd = self.node(place)?;
        let result = match value {
            Some(value) => xattr::set(fd.as_fd(), name, value, XattrFlags::empty()).map_err(Fault::from),
            None => remove(fd.as_fd(), name),
        };
        if result.is_err() && name.starts_with(b"user.") && !takes_user_attributes(fd.as_fd())? {
            // The source did it, so there it is another kind of node.
            return Err(Fault::damage("not a file or directory"));
        }
        result?;
        mode.map_or(Ok(()), |mode| chmod(fd.as_fd(), mode))
    }

    /// Permissions where an attribute that is set already changed them.
    pub(super) fn settle_xattr(&mut self, place: &Place, mode: Option<u32>) -> Result<(), Fault> {
        let fd = self.node(place)?;
        mode.map_or(Ok(()), |mode| chmod(fd.as_fd(), mode))
    }
}

/// Makes a node's attributes exactly these.
pub(crate) fn settle_xattrs(fd: BorrowedFd<'_>, wanted: &[(&[u8], &[u8])]) -> Result<(), Fault> {
    let present = xattr::all(fd)?;
    for (name, _) in &present {
        if !wanted.iter().any(|(w, _)| *w == &name[..]) {
            match remove(fd, name) {
                // A label that the target's machine insists on.
                Err(_) if name.starts_with(SECURITY) => {}
                result => result?,
            }
        }
    }
    for (name, value) in wanted {
        if !present.iter().any(|(n, v)| n == name && v == value) {
            xattr::set(fd, name, value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn takes_user_attributes(fd: BorrowedFd<'_>) -> Result<bool, Fault> {
    let kind = FileType::from_raw_mode(attr::stat(fd)?.st_mode);
    Ok(matches!(kind, FileType::RegularFile | FileType::Directory))
}

/// Removes an attribute; one that is not there, or cannot be, is fine.
fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> Result<(), Fault> {
    match xattr::remove(fd, name) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(()),
        result => Ok(result?),
    }
}

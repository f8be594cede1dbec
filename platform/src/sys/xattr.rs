//! Extended attributes by descriptor, `O_PATH` descriptors and symbolic links included.

use super::content::{HASH_BYTES, hash};
use super::proc_path;
use protocol::{Entry, Name};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Names of most nodes take no more than this, in bytes.
const SHORT_LIST: usize = 256;

/// The kernel has no `listxattrat(2)`.
static NO_LISTXATTRAT: AtomicBool = AtomicBool::new(false);

/// XFS shows ACLs to root a second time under names of its own, which begin so. They are the same: whoever removes one removes the ACL.
const XFS_ACL: &[u8] = b"trusted.SGI_ACL_";

/// A name with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The value of one attribute, at most 64 KiB.
pub fn get(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let path = proc_path(fd);
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::getxattr(&path, name, value.as_mut_slice()) {
            Ok(len) => {
                value.truncate(len);
                return Ok(value);
            }
            Err(Errno::RANGE) if value.len() < 64 << 10 => value.resize(64 << 10, 0),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The names, in the kernel's order.
pub fn names(fd: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let path = proc_path(fd);
    names_by(|buffer| rustix::fs::listxattr(&path, buffer))
}

fn names_by(mut list: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<Vec<u8>>> {
    let mut short = [0; SHORT_LIST];
    let mut long = Vec::new();
    loop {
        let buffer = if long.is_empty() { short.as_mut_slice() } else { long.as_mut_slice() };
        match list(buffer) {
            Ok(len) => {
                let names = buffer[..len].split(|b| *b == 0);
                return Ok(names.filter(|n| !n.is_empty() && !n.starts_with(XFS_ACL)).map(<[u8]>::to_vec).collect());
            }
            Err(Errno::RANGE) if long.is_empty() => long = vec![0; 64 << 10],
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// All names with their values. One that vanishes meanwhile, or may not be read, is left out.
pub fn all(fd: BorrowedFd<'_>) -> io::Result<Vec<Pair>> {
    all_by(names(fd)?, |name| get(fd, name))
}

/// As [`all`], of what is under a name in a directory, symbolic links included.
pub fn all_at(dir: BorrowedFd<'_>, name: &Name) -> io::Result<Vec<Pair>> {
    let names = names_at(dir, name)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name.as_os_str(), flags, Mode::empty())?;
    all_by(names, |name| get(fd.as_fd(), name))
}

fn all_by(names: Vec<Vec<u8>>, value: impl Fn(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Vec<Pair>> {
    let mut out = Vec::new();
    for name in names {
        match value(&name) {
            Ok(value) => out.push((name, value)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EPERM | libc::ENOTSUP)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

/// The names of what is under a name in a directory. Where the kernel has `listxattrat(2)` (6.13) that is one short way; else it goes
/// through /proc, which takes five times as long.
fn names_at(dir: BorrowedFd<'_>, name: &Name) -> io::Result<Vec<Vec<u8>>> {
    let short = CString::new(name.as_bytes())?;
    if !NO_LISTXATTRAT.load(Ordering::Relaxed) {
        match names_by(|buffer| list_at(dir, &short, buffer)) {
            // A filter of system calls that does not know it answers EPERM.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                NO_LISTXATTRAT.store(true, Ordering::Relaxed);
            }
            result => return result,
        }
    }
    names_by_path(dir, name)
}

fn names_by_path(dir: BorrowedFd<'_>, name: &Name) -> io::Result<Vec<Vec<u8>>> {
    let path = proc_path(dir).join(name.as_os_str());
    names_by(|buffer| rustix::fs::llistxattr(&path, buffer))
}

/// `listxattrat(2)`; libc has no name for it yet.
fn list_at(dir: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    const LISTXATTRAT: libc::c_long = 465;
    // SAFETY: the name ends with a zero, and the kernel writes at most the buffer's length into the buffer.
    let got = unsafe {
        let (fd, flags) = (dir.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
        libc::syscall(LISTXATTRAT, fd, name.as_ptr(), flags, buffer.as_mut_ptr(), buffer.len())
    };
    usize::try_from(got).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// The digest of attributes that an [`Entry`] has: zeros where there are none.
pub fn digest(pairs: &[Pair]) -> [u8; HASH_BYTES] {
    if pairs.is_empty() { [0; HASH_BYTES] } else { hash(&Entry::xattr_digest_input(&mut pairs.to_vec())) }
}

/// Sets one attribute; `flags` as `setxattr(2)` has them.
pub fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8], flags: XattrFlags) -> io::Result<()> {
    Ok(rustix::fs::setxattr(proc_path(fd), name, value, flags)?)
}

/// Removes one attribute.
pub fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::removexattr(proc_path(fd), name)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn by_name_and_by_descriptor_the_attributes_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (with, without) = (Name::new(b"with").unwrap(), Name::new(b"without").unwrap());
        let file = File::create(dir.path().join("with")).unwrap();
        File::create(dir.path().join("without")).unwrap();
        for n in 0..40 {
            set(file.as_fd(), format!("user.attribute{n:04}").as_bytes(), &[n], XattrFlags::empty()).unwrap();
        }
        let at = File::open(dir.path()).unwrap();
        assert_eq!(all_at(at.as_fd(), &with).unwrap(), all(file.as_fd()).unwrap());
        assert_eq!(all_at(at.as_fd(), &with).unwrap().len(), 40);
        assert_eq!(names_by_path(at.as_fd(), &with).unwrap(), names_at(at.as_fd(), &with).unwrap());
        assert_eq!(all_at(at.as_fd(), &without).unwrap(), []);
        let missing = names_at(at.as_fd(), &Name::new(b"missing").unwrap()).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}

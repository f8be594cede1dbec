//! Extended attributes by descriptor, `O_PATH` descriptors and symbolic links included.

use super::proc_path;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;

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
    let mut buffer = vec![0u8; 1024];
    loop {
        match rustix::fs::listxattr(&path, buffer.as_mut_slice()) {
            Ok(len) => {
                return Ok(buffer[..len].split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect());
            }
            Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// All names with their values. One that vanishes meanwhile, or may not be read, is left out.
pub fn all(fd: BorrowedFd<'_>) -> io::Result<Vec<Pair>> {
    let mut out = Vec::new();
    for name in names(fd)? {
        match get(fd, &name) {
            Ok(value) => out.push((name, value)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EPERM | libc::ENOTSUP)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

/// Sets one attribute; `flags` as `setxattr(2)` has them.
pub fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8], flags: XattrFlags) -> io::Result<()> {
    Ok(rustix::fs::setxattr(proc_path(fd), name, value, flags)?)
}

/// Removes one attribute.
pub fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::removexattr(proc_path(fd), name)?)
}

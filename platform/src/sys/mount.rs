//! Attributes of a mount that belongs to this process alone.

use super::check_long;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reading through this mount moves no access time (`mount_setattr(2)`). `mount` is the root of a mount that nobody else sees.
pub fn set_noatime(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NOATIME,
        attr_clr: libc::MOUNT_ATTR__ATIME,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: `attributes` lives through the call and its size is given; the path is NUL-terminated; the kernel only reads.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}

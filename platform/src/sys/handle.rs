//! File handles: a node named by its file system, whatever its path (`name_to_handle_at(2)`).

use super::check;
use rustix::fs::OFlags;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Largest handle in bytes that is kept; ext4 and xfs need 8 to 24, btrfs up to 40.
const BYTES: usize = 48;
const BYTES_U32: libc::c_uint = 48;

/// A node's handle. Equal handles are the same node; an inode number that was used again makes another handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Handle {
    kind: i32,
    len: u8,
    bytes: [u8; BYTES],
}

#[repr(C)]
struct Raw {
    len: libc::c_uint,
    kind: libc::c_int,
    bytes: [u8; BYTES],
}

impl Handle {
    /// The handle of what `fd` stands for.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Self::read(fd, c"", libc::AT_EMPTY_PATH)
    }

    /// The handle of a name in a directory, symbolic links not followed.
    pub fn at(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<Self> {
        Self::read(dir, name, 0)
    }

    fn read(fd: BorrowedFd<'_>, name: &std::ffi::CStr, flags: libc::c_int) -> io::Result<Self> {
        let mut raw = Raw { len: BYTES_U32, kind: 0, bytes: [0; BYTES] };
        let mut mount_id: libc::c_int = 0;
        // SAFETY: `raw` begins with the layout of `struct file_handle` and has room for `len` bytes behind it;
        // `name` is NUL-terminated; the kernel writes only within those bounds and to `mount_id`.
        check(unsafe {
            libc::name_to_handle_at(
                fd.as_raw_fd(),
                name.as_ptr(),
                (&raw mut raw).cast::<libc::file_handle>(),
                &raw mut mount_id,
                flags,
            )
        })?;
        let len = u8::try_from(raw.len).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self { kind: raw.kind, len, bytes: raw.bytes })
    }

    /// Opens the node on the file system that `mount` is on; needs `CAP_DAC_READ_SEARCH`. `ESTALE`: it is gone.
    pub fn open(&self, mount: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
        let mut raw = Raw { len: self.len.into(), kind: self.kind, bytes: self.bytes };
        let flags = i32::try_from((flags | OFlags::CLOEXEC).bits()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: `raw` has the layout of `struct file_handle` with `len` bytes behind it; the kernel reads it only.
        let fd = check(unsafe {
            libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut raw).cast::<libc::file_handle>(), flags)
        })?;
        // SAFETY: the call succeeded, so `fd` is an open descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// A number that differs, in all likelihood, when an inode number is used again.
    pub fn generation(&self) -> u64 {
        let digest = blake3::hash(&self.bytes[..usize::from(self.len)]);
        u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default()) & 0xffff_ffff
    }
}

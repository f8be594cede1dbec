//! File handles: a node named by its file system, whatever its path (`name_to_handle_at(2)`).

use super::check;
use rustix::fs::OFlags;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Largest handle in bytes that is kept; ext4 and xfs need 8 to 24, btrfs up to 40.
const BYTES: usize = 48;
const BYTES_U32: libc::c_uint = 48;

/// Handles up to this size are kept in place: there is one for each known node.
const SHORT: usize = 16;

/// A node's handle. Equal handles are the same node; an inode number that was used again makes another handle.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Handle {
    kind: i32,
    bytes: Bytes,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Bytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= SHORT => {
                let mut short = [0; SHORT];
                short[..bytes.len()].copy_from_slice(bytes);
                Self::Short(len, short)
            }
            _ => Self::Long(bytes.into()),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
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
        let len = usize::try_from(raw.len).map_err(|_| io::ErrorKind::InvalidData)?;
        let bytes = raw.bytes.get(..len).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { kind: raw.kind, bytes: Bytes::new(bytes) })
    }

    /// Opens the node on the file system that `mount` is on; needs `CAP_DAC_READ_SEARCH`. `ESTALE`: it is gone.
    pub fn open(&self, mount: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
        let bytes = self.bytes.as_slice();
        let len = libc::c_uint::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut raw = Raw { len, kind: self.kind, bytes: [0; BYTES] };
        raw.bytes[..bytes.len()].copy_from_slice(bytes);
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
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() & 0xffff_ffff
    }
}

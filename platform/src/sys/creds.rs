//! Acting as somebody else for one system call: file-system user, group, umask and capabilities of the calling thread
//! alone.

use super::{check, check_long};
use std::cell::Cell;
use std::io;

thread_local! {
    /// What this thread had before it first acted as somebody else. `None`: it never did.
    static OWN: Cell<Option<Own>> = const { Cell::new(None) };
}

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_FOWNER: u32 = 3;
const CAP_FSETID: u32 = 4;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_MKNOD: u32 = 27;
const CAP_MAC_OVERRIDE: u32 = 32;
const CAP_LINUX_IMMUTABLE: u32 = 9;
const CAP_VERSION_3: u32 = 0x2008_0522;

/// The capabilities that `setfsuid(2)` takes away and gives back: 0 to 4, 9, 27 and 32.
const FILE_SYSTEM: u64 = 0b1_1111 | 1 << CAP_LINUX_IMMUTABLE | 1 << CAP_MKNOD | 1 << CAP_MAC_OVERRIDE;

#[derive(Clone, Copy)]
struct Own {
    root: bool,
    capabilities: [CapData; 2],
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Runs `f` with the file-system ids and the umask of a caller, so that what it creates belongs to that caller, takes the
/// group of a setgid directory, meets default ACLs and counts against that caller's quota as it would without replfs. The
/// kernel has checked permission already, so the right to pass it is kept. `keep_setgid`: the caller may make setgid files
/// in this directory, being in its group or privileged. Where this process is not root, only the umask is taken.
pub fn creating_as<T>(
    (uid, gid): (u32, u32),
    umask: u32,
    keep_setgid: bool,
    f: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let own = own()?;
    // SAFETY: umask cannot fail and, after the unshare in `own`, affects this thread only.
    unsafe { libc::umask(umask as libc::mode_t) };
    if !own.root || (uid == 0 && gid == 0) {
        return f();
    }
    if uid == 0 {
        set_fs_ids(uid, gid);
        let result = f();
        set_fs_ids(0, 0);
        return result;
    }
    let setgid = u64::from(keep_setgid) << CAP_FSETID;
    let kept = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH | 1 << CAP_FOWNER | 1 << CAP_MKNOD | setgid;
    acting_as(&own, (uid, gid), kept, f)?
}

/// Runs `f`, which changes the content of a file that is open already, as a caller: reserved blocks and quotas bind it as
/// they bind that caller. Clearing setuid and setgid is left to whoever knows all of the caller's groups.
pub fn writing_as<T>((uid, gid): (u32, u32), f: impl FnOnce() -> T) -> io::Result<T> {
    let own = own()?;
    if !own.root || uid == 0 { Ok(f()) } else { acting_as(&own, (uid, gid), 1 << CAP_FSETID, f) }
}

/// `kept`: of the file-system capabilities those that stay.
fn acting_as<T>(own: &Own, (uid, gid): (u32, u32), kept: u64, f: impl FnOnce() -> T) -> io::Result<T> {
    set_fs_ids(uid, gid);
    // `setfsuid` took the file-system capabilities away; the right to go beyond quotas is not one of them.
    let result = set_effective(own, !FILE_SYSTEM & !(1 << CAP_SYS_RESOURCE) | kept).map(|()| f());
    set_fs_ids(0, 0);
    set_effective(own, u64::MAX)?;
    result
}

/// What this thread has of its own; on first use its umask becomes its own too.
fn own() -> io::Result<Own> {
    if let Some(own) = OWN.get() {
        return Ok(own);
    }
    // SAFETY: a plain system call without pointers; it affects this thread only.
    check(unsafe { libc::unshare(libc::CLONE_FS) })?;
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut capabilities = [CapData::default(); 2];
    // SAFETY: both pointers are to live values of the layout that version 3 of the call prescribes (two data elements).
    check_long(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, capabilities.as_mut_ptr()) })?;
    // SAFETY: geteuid cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let own = Own { root, capabilities };
    OWN.set(Some(own));
    Ok(own)
}

fn set_fs_ids(uid: u32, gid: u32) {
    // SAFETY: plain system calls without pointers; made raw, they affect this thread only. They cannot fail for root.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

/// Makes those of this thread's own effective capabilities effective that are in `mask`.
#[allow(clippy::cast_possible_truncation)] // the mask is cut into its two halves
fn set_effective(own: &Own, mask: u64) -> io::Result<()> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = own.capabilities;
    data[0].effective &= mask as u32;
    data[1].effective &= (mask >> 32) as u32;
    // SAFETY: as above; the kernel only reads.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })
}

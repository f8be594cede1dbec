//! Acting as somebody else for one system call: file-system user, group and umask of the calling thread alone.

use super::check;
use std::cell::Cell;
use std::io;

thread_local! {
    /// Whether this thread has its own umask (`unshare(CLONE_FS)`).
    static OWN_UMASK: Cell<bool> = const { Cell::new(false) };
}

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_MKNOD: u32 = 27;
const CAP_VERSION_3: u32 = 0x2008_0522;

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
/// group of a setgid directory and meets default ACLs as it would without replfs. The kernel has checked permission
/// already, so the right to pass it is kept. Where this process is not root, only the umask is taken.
pub fn creating_as<T>(uid: u32, gid: u32, umask: u32, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if !OWN_UMASK.get() {
        // SAFETY: a plain system call without pointers; it affects this thread only.
        check(unsafe { libc::unshare(libc::CLONE_FS) })?;
        OWN_UMASK.set(true);
    }
    // SAFETY: umask cannot fail and, after the unshare above, affects this thread only.
    unsafe { libc::umask(umask as libc::mode_t) };
    // SAFETY: geteuid cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root || (uid == 0 && gid == 0) {
        return f();
    }
    set_fs_ids(uid, gid);
    let result = if uid == 0 { Ok(()) } else { raise_capabilities() }.and_then(|()| f());
    // Back to fsuid 0, with which the kernel raises the file-system capabilities again by itself.
    set_fs_ids(0, 0);
    result
}

fn set_fs_ids(uid: u32, gid: u32) {
    // SAFETY: plain system calls without pointers; made raw, they affect this thread only. They cannot fail for root.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

/// `setfsuid` to another user took the file-system capabilities away; the right to pass permission checks, which the
/// kernel has made already, and to make device nodes comes back. `CAP_FSETID` stays away: setgid is then cleared for
/// callers outside the group, as it should be.
fn raise_capabilities() -> io::Result<()> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: both pointers are to live values of the layout that version 3 of the call prescribes (two data elements).
    check_long(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let wanted = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH | 1 << CAP_MKNOD;
    data[0].effective |= wanted & data[0].permitted;
    // SAFETY: as above; the kernel only reads.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })
}

fn check_long(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

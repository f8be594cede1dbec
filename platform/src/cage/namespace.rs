//! A root of its own: a mount namespace with nothing in it but some directories, where they are, and /proc, read-only. Landlock
//! does not stop who changes permissions or owners of a path, or connects to a socket by its path; where there is no such path
//! there is nothing to stop. And devices below those directories cannot be opened, whoever makes them.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, mount_remount,
    move_mount, open_tree, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where system calls that take a path only are told of descriptors.
const PROC: &str = "/proc";

/// The way back.
const BEFORE: &str = "/proc/self/ns/mnt";

/// No program, no setuid, no device.
const NOTHING_RUNS: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// A directory that is to be seen in the new root.
struct Kept {
    /// Absolute.
    at: PathBuf,
    mount: OwnedFd,
}

/// Leaves everything behind but these directories (absolute paths, which exist) and /proc. To be called before there is
/// another thread, and before any of them is opened: a descriptor of before leads out. File systems that are mounted below
/// them are there, and later ones appear where the system shares mounts (as systemd has it).
///
/// `Some`: why it cannot be; the process is where it was then, but for its working directory, which is `/`. An error: it is not, and
/// should end.
pub fn separate(dirs: &[&Path]) -> io::Result<Option<String>> {
    super::alone()?;
    if let Some(root) = dirs.iter().find(|dir| dir.parent().is_none()) {
        return Ok(Some(format!("'{}' is the root of the system itself", root.display())));
    }
    let before = match rustix::fs::open(BEFORE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(before) => before,
        Err(e) => return Ok(Some(format!("cannot open {BEFORE}: {e}"))),
    };
    // SAFETY: nothing is unshared that a thread could have in common with another, and there is no other.
    match unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) } {
        Ok(()) => {}
        Err(Errno::PERM) => return Ok(Some("this process may not have a mount namespace of its own".to_owned())),
        Err(Errno::NOSYS | Errno::INVAL) => return Ok(Some("this kernel has no mount namespaces".to_owned())),
        Err(e) => return Err(e.into()),
    }
    match enter(dirs) {
        Ok(()) => Ok(None),
        // A container may forbid any of it. Staying in a copy of all mounts would keep them from being unmounted.
        Err(why) => {
            move_into_link_name_space(before.as_fd(), Some(LinkNameSpaceType::Mount))?;
            Ok(Some(format!("the mounts for it cannot be made: {why}")))
        }
    }
}

/// Makes the new root and goes there, in a mount namespace that nobody else is in.
fn enter(dirs: &[&Path]) -> io::Result<()> {
    // What is mounted and unmounted outside is here too, and nothing of here outside.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let mut kept = Vec::new();
    for dir in dirs {
        kept.push(clone(dir, NOTHING_RUNS)?);
    }
    // With what is mounted below: a container hides parts of it so.
    kept.push(clone(Path::new(PROC), NOTHING_RUNS | libc::MOUNT_ATTR_RDONLY)?);
    // Those that others are in come first.
    kept.sort_by_key(|kept| kept.at.components().count());
    // Any directory will do to put the new root on: nobody sees it there.
    let base = dirs.first().copied().unwrap_or(Path::new(PROC));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("replfs", base, "tmpfs", flags, c"mode=0755,size=1m")?;
    let root = rustix::fs::open(base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for one in &kept {
        let at = make_below(root.as_fd(), &one.at)?;
        let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&one.mount, c"", &at, c"", by_descriptor)?;
    }
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(c".", c".")?;
    // The old root lies on the new one now; with it goes everything else.
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    mount_remount(c"/", MountFlags::BIND | MountFlags::RDONLY | flags, c"")?;
    Ok(())
}

/// A mount of a directory, with what is mounted below it, that is nowhere yet.
fn clone(dir: &Path, attributes: u64) -> io::Result<Kept> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(rustix::fs::CWD, dir, flags)?;
    set_attributes(mount.as_fd(), attributes)?;
    Ok(Kept { at: dir.to_owned(), mount })
}

/// `mount_setattr(2)`, which rustix does not have, for a mount and those below it.
fn set_attributes(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    let wanted = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path ends with a zero, and the kernel reads `wanted`, whose size it is told.
    crate::sys::check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    })
}

/// The directory of that path below another root, made where it is missing.
fn make_below(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = root.try_clone_to_owned()?;
    for part in path.components() {
        let std::path::Component::Normal(name) = part else { continue };
        match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

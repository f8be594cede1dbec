//! Ordinary users: work done as one of them on a thread of its own, and a `/dev/fuse` that they may open, as udev makes it,
//! whatever it is on this machine.
#![allow(clippy::unwrap_used)] // a helper that fails is a failed test

use crate::caller::{on_own_thread, take_ids};
use crate::command;
use crate::rig::{Commit, Rig, Setup};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::path::Path;

/// nobody: fusermount3 mounts only for those who have an entry in the password file.
pub const USER: u32 = 65534;

/// Runs `work` as the user and group `id` with these further groups, without any capability; threads and programs started
/// within are that user's too. Panics within go on here.
pub fn as_user<T: Send>(id: u32, groups: &[u32], work: impl FnOnce() -> T + Send) -> T {
    on_own_thread(|| {
        take_ids(id, id, groups).unwrap();
        work()
    })
}

/// Runs `work` in a mount namespace of its own, in which everybody may open `/dev/fuse`. Without udev it is often for root
/// alone, and then no ordinary user can mount anything. Nothing of this is left when `work` and its daemons have ended.
pub fn with_fuse_for_everybody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let dir = tempfile::tempdir().unwrap();
    on_own_thread(|| {
        // SAFETY: descriptors stay shared; only this thread's view of mounts and its working directory become its own.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        // A file system of its own, because the one below may forbid devices.
        mount("replfs-test", dir.path(), "tmpfs", MountFlags::NOSUID, c"size=64k,mode=755").unwrap();
        let device = dir.path().join("fuse");
        crate::tree::device(&device, 10, 229);
        command::tool(Path::new("/"), "chmod", ["666".as_ref(), device.as_os_str()]);
        mount_bind(&device, "/dev/fuse").unwrap();
        work()
    })
}

/// A rig of an ordinary user, target and all; `before` makes what SRC holds before it is mounted.
pub fn his_own(commit: Commit, before: impl FnOnce(&Path) + Send, work: impl FnOnce(Rig) + Send) {
    with_fuse_for_everybody(|| {
        let mut rig = Rig::prepare(commit, Setup::default().user(USER));
        let src = rig.src();
        as_user(USER, &[], || before(&src));
        rig.mount();
        work(rig);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_as_that_user_and_nobody_else_changes() {
        let said = as_user(4242, &[50], || command::shell(Path::new("/"), "id -u; id -g; id -G"));
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["4242", "4242", "4242", "50"]);
        assert!(rustix::process::geteuid().is_root());
    }

    #[test]
    fn everybody_may_open_fuse_within_only() {
        let mode = || std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata("/dev/fuse").unwrap().permissions());
        let before = mode();
        let opened = with_fuse_for_everybody(|| as_user(4242, &[], || std::fs::File::open("/dev/fuse").is_ok()));
        assert!(opened);
        assert_eq!(mode(), before);
    }
}

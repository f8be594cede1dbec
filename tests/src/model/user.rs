//! The users of a sequence, and acting as one of them: ids, groups and umask of the calling thread alone, so that the kernel
//! checks what it would check of a program of that user.

use std::cell::Cell;
use std::io;

/// A group that Alice has as her primary one, and Bob as a supplementary one.
pub const TEAM: u32 = 3100;

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Everything is allowed.
    Root,
    /// Ordinary, in [`TEAM`] by her primary group; an open umask.
    Alice,
    /// Ordinary, with a group of his own and [`TEAM`] as a supplementary one; a closed umask.
    Bob,
}

impl User {
    /// Its number.
    pub fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Alice => 3001,
            Self::Bob => 3002,
        }
    }

    /// Its primary group.
    pub fn gid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Alice => TEAM,
            Self::Bob => 3002,
        }
    }

    fn groups(self) -> &'static [u32] {
        match self {
            Self::Root | Self::Alice => &[],
            Self::Bob => &[3200, TEAM],
        }
    }

    fn umask(self) -> libc::mode_t {
        match self {
            Self::Root => 0o022,
            Self::Alice => 0o002,
            Self::Bob => 0o077,
        }
    }

    /// Runs `f` as this user. The thread has an umask and a working directory of its own from then on. Panics where this
    /// process is not root.
    pub fn act<T>(self, f: impl FnOnce() -> T) -> T {
        own_directory_and_umask();
        // SAFETY: umask cannot fail and, after the unshare above, affects this thread only.
        unsafe { libc::umask(self.umask()) };
        if self == Self::Root {
            return f();
        }
        set_groups(self.groups());
        // The saved ids stay those of root, which is the way back; they count in no check. Leaving uid 0 takes the effective
        // capabilities away.
        set_ids(libc::SYS_setresgid, self.gid());
        set_ids(libc::SYS_setresuid, self.uid());
        let result = f();
        set_ids(libc::SYS_setresuid, 0);
        set_ids(libc::SYS_setresgid, 0);
        set_groups(&[]);
        result
    }
}

fn own_directory_and_umask() {
    thread_local! {
        static OWN: Cell<bool> = const { Cell::new(false) };
    }
    if !OWN.replace(true) {
        // SAFETY: a plain system call without pointers; it affects this thread only.
        succeeded(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS) }, "unshare(CLONE_FS)");
    }
}

/// The raw system calls change one thread; those of the C library would change all.
fn set_ids(call: libc::c_long, id: u32) {
    let saved: u32 = 0;
    // SAFETY: setresuid and setresgid take three numbers and no pointers.
    succeeded(unsafe { libc::syscall(call, id, id, saved) }, "setresuid or setresgid");
}

fn set_groups(groups: &[u32]) {
    // SAFETY: the pointer is to as many numbers as the first argument says.
    succeeded(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }, "setgroups");
}

fn succeeded(result: libc::c_long, what: &str) {
    assert!(result == 0, "{what} failed ({}): the suites are run as root", io::Error::last_os_error());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn the_kernel_sees_the_user_and_then_root_again() {
        let home = tempfile::tempdir().unwrap();
        let closed = home.path().join("closed");
        std::fs::write(&closed, "x").unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let refused = User::Bob.act(|| std::fs::read(&closed).map_err(|e| e.kind()));
        assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
        let made = home.path().join("made");
        User::Alice.act(|| std::fs::write(&made, "x")).unwrap();
        let made = made.metadata().unwrap();
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (3001, TEAM, 0o664));
        assert_eq!(std::fs::read(&closed).unwrap(), b"x");
        let other = std::thread::spawn(move || std::fs::read(&closed).is_ok());
        assert!(User::Bob.act(|| other.join().unwrap()), "another thread is still root");
    }
}

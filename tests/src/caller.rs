//! Doing something as another user: a thread of its own with that user's ids, groups and umask. Linux keeps these per
//! thread (the C library's setuid(2) alone changes all of them), and so does FUSE, which names the thread to the
//! daemon.

use crate::child;
use rustix::process::{Gid, Uid, umask};
use rustix::thread::{UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe};

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub struct User {
    uid: u32,
    gid: u32,
    groups: &'static [u32],
    umask: u32,
}

/// Root, with root's group only.
pub const ROOT: User = User { uid: 0, gid: 0, groups: &[], umask: 0o022 };

/// An ordinary user who belongs to no other group.
pub const NOBODY: User = User::new(65534, 65534);

impl User {
    /// A user whose umask is 022.
    pub const fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid, groups: &[], umask: 0o022 }
    }

    /// The same who belongs to further groups.
    #[must_use]
    pub const fn of(mut self, groups: &'static [u32]) -> Self {
        self.groups = groups;
        self
    }

    /// The same with another umask.
    #[must_use]
    pub const fn masking(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// Does something as this user, in a thread of this process.
    #[track_caller]
    pub fn does<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        on_own_thread(move || {
            self.become_thread();
            work()
        })
    }

    /// Does something as this user in a process of its own (see [`child`]); its exit code.
    #[track_caller]
    pub fn alone(self, work: impl FnOnce() -> i32) -> i32 {
        child::run(|| {
            self.become_thread();
            work()
        })
    }

    /// Makes the calling thread this user's, for good.
    fn become_thread(self) {
        let become_user = || -> rustix::io::Result<()> {
            // SAFETY: the thread gets a working directory and umask of its own; nothing of it is shared memory.
            unsafe { unshare_unsafe(UnshareFlags::FS)? };
            umask(rustix::fs::Mode::from_raw_mode(self.umask));
            take_ids(self.uid, self.gid, self.groups)
        };
        become_user().unwrap_or_else(|error| panic!("cannot become {self:?}: {error}"));
    }
}

/// Gives the calling thread these ids for good. The system calls change one thread; those of the C library would change all.
pub(crate) fn take_ids(uid: u32, gid: u32, groups: &[u32]) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Runs `work` on a thread of its own; panics within go on here.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // With the name of the test, which messages of a panic show.
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, work);
        let thread = thread.unwrap_or_else(|error| panic!("cannot start a thread: {error}"));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn another_user_is_another_for_one_thread_only() {
        let status = || fs::read_to_string("/proc/thread-self/status").unwrap();
        let before = status();
        let member = User::new(1234, 4321).of(&[77, 88]).masking(0o077);
        let there = member.does(status);
        for line in ["Uid:\t1234\t1234\t1234\t1234", "Gid:\t4321", "Groups:\t77 88", "CapEff:\t0000000000000000"] {
            assert!(there.contains(line), "{line} in {there}");
        }
        assert!(there.contains("Umask:\t0077"));
        let of_whom = |text: &str| text.lines().filter(|l| l.starts_with("Uid") || l.starts_with("Cap")).count();
        assert_eq!(of_whom(&before), of_whom(&status()));
        assert!(rustix::process::geteuid().is_root());
        assert_eq!(member.alone(|| i32::from(rustix::process::geteuid().as_raw() == 1234)), 1);
    }
}

//! One daemon for a SRC, one for a NAME: locks that the kernel frees when the daemon ends, however it ends.

use super::mounts;
use super::resolve::mounted_already;
use crate::exit::{Code, Failure};
use protocol::Name;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a mount waits for the end of a daemon that has been unmounted already.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Both locks, and SRC opened.
#[derive(Debug)]
pub(super) struct Locks {
    src: OwnedFd,
    _name: OwnedFd,
}

impl Locks {
    /// Takes both. A daemon that is not mounted any more is waited for, a little: umount(8) returns before it has ended.
    pub fn take(src: &Path, state_dir: &Path, name: &Name) -> Result<Self, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let src_fd = open_src(src)?;
        lock_src(&src_fd, src, deadline)?;
        let path = state_dir.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name_fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| Failure::io(Code::State, format!("state: cannot open {}", path.display()), &e.into()))?;
        lock_name(&name_fd, name, deadline)?;
        Ok(Self { src: src_fd, _name: name_fd })
    }

    /// Whether both could be taken; makes nothing. Gives SRC opened.
    pub fn probe(src: &Path, state_dir: &Path, name: &Name) -> Result<OwnedFd, Failure> {
        let src_fd = open_src(src)?;
        let now = Instant::now();
        lock_src(&src_fd, src, now)?;
        if let Ok(file) = rustix::fs::open(state_dir.join("lock"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            lock_name(&file, name, now)?;
        }
        Ok(src_fd)
    }

    /// SRC, opened for reading.
    pub fn src(&self) -> &OwnedFd {
        &self.src
    }
}

fn open_src(src: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(src, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Failure::io(Code::Source, format!("source {}: cannot open it", src.display()), &e.into()))
}

fn lock_src(fd: &OwnedFd, src: &Path, deadline: Instant) -> Result<(), Failure> {
    let mounted = || mounts::all().into_iter().find(|mount| mount.is_replfs() && mount.source == src);
    match lock(fd, deadline, || mounted().is_some()) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(match mounted() {
            Some(mount) => mounted_already(src, &mount.at),
            None => Failure::new(
                Code::InUse,
                format!(
                    "source {} is in use by a daemon that is still ending, or mounted elsewhere; see 'replfs status'",
                    src.display()
                ),
            ),
        }),
        Err(e) => Err(Failure::io(Code::System, format!("cannot lock {}", src.display()), &e.into())),
    }
}

fn lock_name(fd: &OwnedFd, name: &Name, deadline: Instant) -> Result<(), Failure> {
    match lock(fd, deadline, || false) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(Failure::new(
            Code::InUse,
            format!("name '{name}' is in use by another source; give --name NAME, or see 'replfs status'"),
        )),
        Err(e) => Err(Failure::io(Code::System, format!("cannot lock the name '{name}'"), &e.into())),
    }
}

/// Locks, trying again until the deadline unless `hopeless`.
fn lock(fd: &OwnedFd, deadline: Instant, hopeless: impl Fn() -> bool) -> Result<(), Errno> {
    loop {
        match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline && !hopeless() => std::thread::sleep(PAUSE),
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_source_and_a_name_belong_to_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, state) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("state"));
        for path in [&one, &two, &state] {
            std::fs::create_dir(path).unwrap();
        }
        let name = Name::new(b"n").unwrap();
        let probe = |src: &Path| Locks::probe(src, &state, &name).map(drop).map_err(|f| f.code);
        probe(&one).unwrap();
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "a probe makes nothing");
        let held = Locks::take(&one, &state, &name).unwrap();
        assert_eq!(probe(&one), Err(Code::InUse), "the same source");
        assert_eq!(probe(&two), Err(Code::InUse), "another source of the same name");
        drop(held);
        probe(&one).unwrap();
    }
}

//! Operations on attributes, extended ones and ACLs included.

use super::Side;
use crate::model::op::{Acl, On, Op, Path, Time, pattern};
use crate::model::outcome::{Attributes, Outcome, When};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags, fgetxattr, flistxattr,
    fremovexattr, fsetxattr, getxattr, lgetxattr, listxattr, llistxattr, lremovexattr, lsetxattr, removexattr,
    setxattr,
};

/// Room for the names of a node's attributes.
const LIST: usize = 8 << 10;

impl Side {
    pub(super) fn attributes(&self, op: &Op) -> Outcome {
        match op {
            Op::Stat { on } => {
                self.on(on, |path| rustix::fs::stat(path), |path| rustix::fs::lstat(path), |fd| rustix::fs::fstat(fd))
            }
            Op::Access { path, how } => rustix::fs::accessat(CWD, path.0.as_str(), *how, AtFlags::empty()).into(),
            Op::Chmod { on, mode } => {
                let mode: Mode = (*mode).into();
                let chmod = |path: &str| rustix::fs::chmod(path, mode);
                self.on(on, chmod, chmod, |fd| rustix::fs::fchmod(fd, mode))
            }
            Op::Chown { on, uid, gid } => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                let chown = |path: &str, flags| rustix::fs::chownat(CWD, path, uid, gid, flags);
                let link = |path: &str| chown(path, AtFlags::SYMLINK_NOFOLLOW);
                self.on(on, |path| chown(path, AtFlags::empty()), link, |fd| rustix::fs::fchown(fd, uid, gid))
            }
            Op::Utimens { on, atime, mtime } => self.set_times(on, *atime, *mtime),
            Op::SetXattr { on, name, len, start, flags } => self.set_xattr(on, name, &pattern(*start, *len), *flags),
            Op::SetAcl { on, default, acl } => self.set_acl(on, *default, acl),
            Op::GetXattr { on, name, room } => self.on(
                on,
                |path| read(*room, |buffer| getxattr(path, *name, buffer)),
                |path| read(*room, |buffer| lgetxattr(path, *name, buffer)),
                |fd| read(*room, |buffer| fgetxattr(fd, *name, buffer)),
            ),
            Op::ListXattr { on } => self.on(
                on,
                |path| read(LIST, |buffer| listxattr(path, buffer)).map(names),
                |path| read(LIST, |buffer| llistxattr(path, buffer)).map(names),
                |fd| read(LIST, |buffer| flistxattr(fd, buffer)).map(names),
            ),
            Op::RemoveXattr { on, name } => self.on(
                on,
                |path| removexattr(path, *name),
                |path| lremovexattr(path, *name),
                |fd| fremovexattr(fd, *name),
            ),
            _ => unreachable!("{op:?} is about no attribute"),
        }
    }

    fn set_xattr(&self, on: &On, name: &str, value: &[u8], flags: XattrFlags) -> Outcome {
        self.on(
            on,
            |path| setxattr(path, name, value, flags),
            |path| lsetxattr(path, name, value, flags),
            |fd| fsetxattr(fd, name, value, flags),
        )
    }

    fn set_acl(&self, on: &On, default: bool, acl: &Acl) -> Outcome {
        let name = if default { "system.posix_acl_default" } else { "system.posix_acl_access" };
        self.set_xattr(on, name, &acl.encoded(), XattrFlags::empty())
    }

    /// Both times as they are afterwards; a time of access only where it was set, and where looking does not change it again, as
    /// going through a symbolic link does.
    fn set_times(&self, on: &On, atime: Time, mtime: Time) -> Outcome {
        let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
        let set = |path: &str, flags| rustix::fs::utimensat(CWD, path, &times, flags);
        let seen = |stat: Stat| {
            let safe = !matches!(on, On::Link(Path(path)) if path.contains('/'));
            let atime = (safe && atime != Time::Omit).then(|| When::new(stat.st_atime, stat.st_atime_nsec));
            Outcome::Attributes(Attributes { atime, ..stat.into() })
        };
        self.on(
            on,
            |path| set(path, AtFlags::empty()).and_then(|()| rustix::fs::stat(path)).map(seen),
            |path| set(path, AtFlags::SYMLINK_NOFOLLOW).and_then(|()| rustix::fs::lstat(path)).map(seen),
            |fd| rustix::fs::futimens(fd, &times).and_then(|()| rustix::fs::fstat(fd)).map(seen),
        )
    }
}

fn timespec(time: Time) -> Timespec {
    match time {
        Time::Omit => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Time::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Time::At(seconds, nanoseconds) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

/// What a call puts into a buffer of that size. With no room the kernel tells the size alone.
fn read(room: usize, call: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Outcome> {
    let mut buffer = vec![0; room];
    let len = call(&mut buffer)?;
    Ok(if room == 0 { Outcome::Number(len as u64) } else { Outcome::Bytes(buffer[..len].to_vec()) })
}

/// A list of names, sorted.
fn names(list: Outcome) -> Outcome {
    let Outcome::Bytes(list) = list else { return list };
    let names = list.split(|b| *b == 0).filter(|name| !name.is_empty());
    let mut names: Vec<String> = names.map(|name| name.escape_ascii().to_string()).collect();
    names.sort();
    Outcome::Names(names)
}

//! Attributes: getattr, setattr, statfs, readlink.

use crate::data::without_privilege;
use crate::fs::{Caller, Done, Failed, Fs};
use platform::sys::{attr, proc_path};
use platform::tree::Node;
use protocol::{Op, Owner, Time};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatVfs, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetTime {
    /// The clock of the backing file system.
    Now,
    At(Time),
}

/// What one SETATTR asks for; with nothing at all, setuid and setgid go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

impl Wanted {
    fn owner(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }

    /// The modification time, where nothing else is wanted and it is not the clock's.
    pub(crate) fn time_alone(&self) -> Option<Time> {
        match self.mtime {
            Some(SetTime::At(time)) if *self == (Self { mtime: self.mtime, ..Self::default() }) => Some(time),
            _ => None,
        }
    }

    /// FUSE's own flag for this does not reach us: a request without any attribute, and a change of size or owner by an
    /// ordinary user, mean it. The backing file system sees root change the owner, and leaves setgid without execution for
    /// the group.
    fn kills(&self, caller: Caller) -> bool {
        *self == Self::default() || ((self.size.is_some() || self.owner()) && caller.uid != 0)
    }

    /// What is to be proposed; `None` where nothing changes.
    fn operation(&self, before: &Stat, kill: Option<Caller>) -> Option<impl FnOnce(protocol::Place) -> Op + use<>> {
        let owner = Owner { uid: self.uid.unwrap_or(before.st_uid), gid: self.gid.unwrap_or(before.st_gid) };
        let owner = self.owner().then_some(owner);
        let safe = kill.map(|caller| safe_mode(caller, before)).filter(|safe| *safe != attr::perm(before));
        let (size, mode) = (self.size, self.mode.or(safe));
        let time = |time: Option<SetTime>| match time? {
            SetTime::Now => Some(srm::now()),
            SetTime::At(time) => Some(time),
        };
        let (atime, mtime) = (time(self.atime), time(self.mtime.or(size.map(|_| SetTime::Now))));
        if (size, owner, mode, atime, mtime) == (None, None, None, None, None) {
            return None;
        }
        Some(move |place| Op::SetAttr { place, size, owner, mode, atime, mtime })
    }
}

/// The descriptor a SETATTR works on.
enum Target<'a> {
    /// An open file: a change of size is `ftruncate(2)`.
    File(BorrowedFd<'a>),
    /// `O_PATH`: a change of size is `truncate(2)`.
    Path(BorrowedFd<'a>),
}

impl Target<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(fd) | Self::Path(fd) => *fd,
        }
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        match self {
            Self::File(fd) => Ok(rustix::fs::ftruncate(fd, size)?),
            Self::Path(fd) => {
                let path = CString::new(proc_path(*fd).as_os_str().as_bytes())?;
                let size = libc::off_t::try_from(size).map_err(|_| Errno::FBIG)?;
                // SAFETY: `path` is NUL-terminated and lives through the call.
                if unsafe { libc::truncate(path.as_ptr(), size) } < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            }
        }
    }
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(time)) => Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() },
    }
}

fn set_times(fd: BorrowedFd<'_>, wanted: &Wanted) -> io::Result<()> {
    let times = Timestamps { last_access: timespec(wanted.atime), last_modification: timespec(wanted.mtime) };
    Ok(rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH)?)
}

/// Permission bits after a change by this caller that takes setuid and setgid away.
fn safe_mode(caller: Caller, before: &Stat) -> u32 {
    let perm = attr::perm(before);
    if FileType::from_raw_mode(before.st_mode) == FileType::Directory {
        return perm;
    }
    without_privilege(perm, || caller.uid == 0 || caller.in_group(before.st_gid))
}

/// Carries out what is wanted, in an order in which nothing undoes what came before.
fn apply(target: &Target<'_>, wanted: &Wanted, kill: Option<Caller>, before: &Stat) -> io::Result<()> {
    let fd = target.fd();
    if let Some(size) = wanted.size {
        target.truncate(size)?;
    }
    if wanted.owner() {
        attr::chown(fd, wanted.uid, wanted.gid)?;
    }
    if let Some(mode) = wanted.mode {
        attr::chmod(fd, mode)?;
    } else if let Some(caller) = kill {
        let safe = safe_mode(caller, before);
        if safe != attr::perm(before) {
            rustix::fs::chmod(proc_path(fd), Mode::from_raw_mode(safe))?;
        } else if *wanted == Wanted::default() {
            // A chown that names nobody moves the change time.
            attr::chown(fd, None, None)?;
        }
    }
    if wanted.atime.is_some() || wanted.mtime.is_some() {
        set_times(fd, wanted)?;
    }
    Ok(())
}

/// The record of a change, with the values that resulted; `None` where nothing changed.
fn record_of(wanted: &Wanted, before: &Stat, after: &Stat) -> Option<impl FnOnce(protocol::Place) -> Op + use<>> {
    let size = wanted.size.map(|_| after.st_size.cast_unsigned());
    let owner = wanted.owner().then_some(Owner { uid: after.st_uid, gid: after.st_gid });
    let changed = attr::perm(before) != attr::perm(after);
    let mode = (wanted.mode.is_some() || changed).then_some(attr::perm(after));
    let atime = wanted.atime.map(|_| attr::atime(after));
    let mtime = (wanted.mtime.is_some() || size.is_some()).then_some(attr::mtime(after));
    if (size, owner, mode, atime, mtime) == (None, None, None, None, None) {
        return None;
    }
    Some(move |place| Op::SetAttr { place, size, owner, mode, atime, mtime })
}

impl Fs {
    /// `fstat(2)` of a node, through an open file where there is one.
    pub(crate) fn getattr(&self, ino: u64, file: Option<u64>) -> io::Result<Stat> {
        if let Some(file) = file.and_then(|number| self.files.get(number).ok()) {
            return attr::stat(&file.fd);
        }
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        self.stat(&names, &node)
    }

    /// Changes attributes; all of them as they are afterwards.
    pub(crate) fn setattr(
        &self,
        caller: Caller,
        ino: u64,
        file: Option<u64>,
        wanted: &Wanted,
    ) -> Result<Done<Stat>, Failed> {
        let node = self.node(ino)?;
        if wanted.size.is_some() && node.kind() != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        let file = file.map(|number| self.files.get(number)).transpose()?;
        if let (Some(_), Some(file)) = (wanted.size, &file) {
            self.preheat(file);
        }
        let names = self.tree.names().read();
        let path = if file.is_none() { Some(self.path_fd(&names, &node)?) } else { None };
        let target = match (&file, &path) {
            (Some(file), _) => Target::File(file.fd.as_fd()),
            (None, Some(path)) => Target::Path(path.as_fd()),
            (None, None) => return Err(Errno::BADF.into()),
        };
        let _lock = node.lock.lock();
        self.change(&names, &node, &target, wanted, caller)
    }

    /// A request without any attribute comes from the kernel when somebody has changed a file's content, and from who calls
    /// chown without naming anybody: then only the owner may take setuid and setgid away (`EPERM`). Whoever changes
    /// content has the file open for writing.
    fn check_kill(&self, node: &Arc<Node>, caller: Caller, before: &Stat) -> io::Result<()> {
        let takes = safe_mode(caller, before) != attr::perm(before);
        if !takes || caller.uid == 0 || caller.uid == before.st_uid {
            return Ok(());
        }
        let writes = |flags: OFlags| flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let open = self
            .files
            .find(|file| Arc::ptr_eq(&file.node, node) && rustix::fs::fcntl_getfl(&file.fd).is_ok_and(writes));
        if open.is_some() { Ok(()) } else { Err(Errno::PERM.into()) }
    }

    fn change(
        &self,
        names: &platform::tree::Names,
        node: &Arc<Node>,
        target: &Target<'_>,
        wanted: &Wanted,
        caller: Caller,
    ) -> Result<Done<Stat>, Failed> {
        let kill = wanted.kills(caller).then_some(caller);
        let before = attr::stat(target.fd())?;
        let wanted = &self.with_time(wanted, &before);
        if *wanted == Wanted::default() {
            self.check_kill(node, caller, &before)?;
        }
        if wanted.size.is_some() {
            self.srm.heat_content(names, node);
        }
        let proposed = match wanted.operation(&before, kill) {
            Some(make) => self.propose(names, node, &[], make)?,
            None => None,
        };
        let asked = proposed.is_some();
        let result = self.decided(names, proposed, apply(target, wanted, kill, &before));
        let stat = attr::stat(target.fd())?;
        // Of several changes the first ones may have been made before one failed; ctime tells whether any was.
        let unchanged = result.is_err()
            && attr::ctime(&before) == attr::ctime(&stat)
            && attr::mtime(&before) == attr::mtime(&stat)
            && before.st_size == stat.st_size;
        // What the target did first is put back with all that is different.
        let is_put_back = asked && result.is_err();
        let record = if unchanged || is_put_back { None } else { record_of(wanted, &before, &stat) };
        let ticket = match record {
            Some(make) => self.record(names, node, &stat, &[], make),
            None => srm::Ticket::NONE,
        };
        match result {
            Ok(((), _proposed)) => Ok(Done { value: stat, ticket }),
            Err(error) => {
                if !unchanged {
                    self.attributes_changed(node);
                }
                Err(Failed { error, ticket })
            }
        }
    }

    /// What a symbolic link points to.
    pub(crate) fn readlink(&self, ino: u64) -> io::Result<Vec<u8>> {
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        let fd = self.path_fd(&names, &node)?;
        Ok(rustix::fs::readlinkat(fd, c"", Vec::new())?.into_bytes())
    }

    /// Figures of the backing file system.
    pub(crate) fn statfs(&self) -> io::Result<StatVfs> {
        Ok(rustix::fs::fstatvfs(self.tree.root_fd())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_alone_is_told_from_one_beside_others() {
        let time = Time { secs: 5, nanos: 6 };
        let alone = Wanted { mtime: Some(SetTime::At(time)), ..Wanted::default() };
        assert_eq!(alone.time_alone(), Some(time));
        assert_eq!(Wanted { size: Some(0), ..alone }.time_alone(), None);
        assert_eq!(Wanted { mtime: Some(SetTime::Now), ..alone }.time_alone(), None);
        assert_eq!(Wanted::default().time_alone(), None);
    }

    #[test]
    fn a_request_without_attributes_means_that_privilege_goes() {
        let user = Caller { uid: 1000, gid: 1000, pid: 0 };
        let root = Caller { uid: 0, gid: 0, pid: 0 };
        let nothing = Wanted::default();
        let size = Wanted { size: Some(0), ..nothing };
        let mode = Wanted { mode: Some(0o4755), ..nothing };
        assert!(nothing.kills(root) && nothing.kills(user));
        let group = Wanted { gid: Some(7), ..nothing };
        assert!(size.kills(user) && !size.kills(root));
        assert!(group.kills(user) && !group.kills(root));
        assert!(!mode.kills(user));
    }
}

//! Directories: made or opened, gone through page by page, and given their attributes when everything in them is done.

use super::engine::{Engine, Job};
use super::fault::Fault;
use super::partial;
use super::tally::What;
use platform::sys::{attr, dir};
use protocol::{Entry, Name, NodeKind, RelPath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of names that may wait. A page of each directory above waits: only trees that somebody made for this get there.
const MOST_WAITING_BYTES: usize = 256 << 20;

/// A directory of DIR that is worked on. Whoever works in it holds it; with the last of them it is finished.
#[derive(Debug)]
pub(super) struct Directory {
    pub path: RelPath,
    /// `O_PATH`; `None` in a dry run where it does not exist.
    pub fd: Option<OwnedFd>,
    /// What it is to be in the end; `None` leaves it as it is.
    pub settle: Option<Entry>,
    pub parent: Option<Arc<Self>>,
}

impl Drop for Directory {
    /// One by one: a path may have more parts than the stack has room for.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut dir) = next.and_then(Arc::into_inner) {
            next = dir.parent.take();
        }
    }
}

/// How far a directory is gone through.
#[derive(Debug)]
pub(super) struct Listing {
    after: Option<Name>,
    /// What is in DIR, in order; what was compared is taken away.
    local: Vec<Name>,
    /// Partial files of an earlier restore that nobody has asked for yet.
    partials: BTreeSet<Name>,
}

impl Listing {
    /// What a directory has before anything is done in it.
    pub fn of(fd: Option<&OwnedFd>) -> Result<Self, Fault> {
        let mut local = fd.map_or(Ok(Vec::new()), |fd| dir::names(fd.as_fd()))?;
        let partials = local.iter().filter(|name| partial::is_ours(name)).cloned().collect();
        local.retain(|name| !partial::is_ours(name));
        Ok(Self { after: None, local, partials })
    }
}

/// `fstatat(2)`; `None` where the name does not exist.
pub(super) fn stat_name(dir: impl AsFd, name: &Name) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        result => result.map(Some),
    }
}

impl Engine {
    /// Makes or opens the directory `entry` in `parent`, and says whether it was made.
    pub fn enter(&self, parent: &Arc<Directory>, entry: &Entry) -> Result<(Directory, bool), Fault> {
        let path = parent.path.join(&entry.name).map_err(|e| Fault::Node(e.to_string()))?;
        let (fd, made) = match &parent.fd {
            None => (None, true),
            Some(at) => self.open_or_make(at, &path, entry)?,
        };
        if made {
            self.tally.note(What::New, &path, None);
        }
        Ok((Directory { path, fd, settle: Some(entry.clone()), parent: Some(Arc::clone(parent)) }, made))
    }

    fn open_or_make(&self, at: &OwnedFd, path: &RelPath, entry: &Entry) -> Result<(Option<OwnedFd>, bool), Fault> {
        let name = &entry.name;
        let there = stat_name(at, name)?;
        let is_dir = there.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if is_dir {
            let fd = open_dir(at, name)?;
            if self.differs(fd.as_fd(), entry)? {
                self.tally.note(What::Attributes, path, None);
            }
            self.make_usable(&fd)?;
            return Ok((Some(fd), false));
        }
        if there.is_some() {
            self.set_aside(at, name, path)?;
        }
        if self.manner.dry_run {
            return Ok((None, true));
        }
        // For nobody else to look into before it is what it is to be.
        rustix::fs::mkdirat(at, name.as_bytes(), Mode::RWXU)?;
        Ok((Some(open_dir(at, name)?), true))
    }

    /// Who is not root can do nothing in a directory of his own that denies it even to him. It gets its permissions back in
    /// the end.
    fn make_usable(&self, fd: &OwnedFd) -> Result<(), Fault> {
        let stat = attr::stat(fd)?;
        let own = stat.st_uid == rustix::process::geteuid().as_raw();
        if !self.manner.dry_run && !self.privileged && own && stat.st_mode & 0o700 != 0o700 {
            attr::chmod(fd.as_fd(), attr::perm(&stat) | 0o700)?;
        }
        Ok(())
    }

    /// Queues what is in a directory.
    pub fn list(&self, dir: &Arc<Directory>) -> Result<(), Fault> {
        let listing = Listing::of(dir.fd.as_ref())?;
        self.tally.listing.fetch_add(1, Ordering::Relaxed);
        self.queue.push([Job::Page { dir: Arc::clone(dir), listing }]);
        Ok(())
    }

    /// Goes through a page, queues its names and then the next page.
    pub fn page(&self, dir: &Arc<Directory>, mut listing: Listing) -> Result<(), Fault> {
        let page = self.remote.list(&dir.path, listing.after.as_ref())?;
        let page = page.ok_or_else(|| Fault::Node("it is gone from the target meanwhile".to_owned()))?;
        if self.queue.weight() > MOST_WAITING_BYTES {
            let text =
                "more waits to be restored than can be remembered: too many names in directories within one another";
            return Err(Fault::Node(text.to_owned()));
        }
        let mut jobs = Vec::with_capacity(page.entries.len() + 1);
        let last = page.entries.last().map(|entry| entry.name.clone());
        let here = match &last {
            Some(last) if !page.complete => listing.local.partition_point(|name| name <= last),
            _ => listing.local.len(),
        };
        let rest = listing.local.split_off(here);
        let mut local = std::mem::replace(&mut listing.local, rest);
        local.retain(|name| page.entries.binary_search_by(|entry| entry.name.cmp(name)).is_err());
        for entry in page.entries.into_iter().filter(|entry| !partial::is_ours(&entry.name)) {
            if !listing.partials.is_empty() {
                listing.partials.remove(&partial::name(&entry.name));
            }
            if entry.kind != NodeKind::Directory {
                self.tally.files[1].fetch_add(1, Ordering::Relaxed);
                self.tally.bytes[1].fetch_add(entry.size, Ordering::Relaxed);
            }
            jobs.push(Job::Entry { parent: Arc::clone(dir), entry });
        }
        if page.complete {
            self.forget_partials(dir, &listing.partials);
        } else {
            self.tally.listing.fetch_add(1, Ordering::Relaxed);
            jobs.push(Job::Page { dir: Arc::clone(dir), listing: Listing { after: last, ..listing } });
        }
        for name in local {
            let path = dir.path.join(&name).map_err(|e| Fault::Node(e.to_string()))?;
            if let Err(fault) = self.extra(dir, &name, &path) {
                self.failed(&path, fault);
            }
        }
        self.queue.push(jobs);
        Ok(())
    }

    /// A name that only DIR has.
    fn extra(&self, dir: &Directory, name: &Name, path: &RelPath) -> Result<(), Fault> {
        match &dir.fd {
            Some(fd) if self.manner.exact => self.set_aside(fd, name, path),
            _ => {
                self.tally.note(What::Extra, path, None);
                Ok(())
            }
        }
    }

    /// Partial files of which the replica has no whole one any more.
    fn forget_partials(&self, dir: &Directory, partials: &BTreeSet<Name>) {
        let Some(fd) = dir.fd.as_ref().filter(|_| !self.manner.dry_run) else { return };
        for name in partials {
            // One that stays harms nobody.
            let _ = rustix::fs::unlinkat(fd, name.as_bytes(), AtFlags::empty());
        }
    }

    /// Somebody is done with a directory. The last one finishes it, and is then done with the one above.
    pub fn leave(&self, dir: Arc<Directory>) {
        let mut next = Some(dir);
        while let Some(mut dir) = next.and_then(Arc::into_inner) {
            if let (Some(fd), Some(entry), false) = (&dir.fd, &dir.settle, self.manner.dry_run)
                && let Err(fault) = self.settle(fd.as_fd(), entry, &dir.path)
            {
                self.failed(&dir.path, fault);
            }
            next = dir.parent.take();
        }
    }

    /// Sets aside what a name stands for, or says that it would be.
    pub fn set_aside(&self, at: &OwnedFd, name: &Name, path: &RelPath) -> Result<(), Fault> {
        let to = if self.manner.dry_run { None } else { Some(self.aside.take(at, name, path)?) };
        self.tally.note(What::Aside, path, to);
        Ok(())
    }
}

pub(super) fn open_dir(at: impl AsFd, name: &Name) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name.as_bytes(), flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_any_length_is_let_go_of() {
        let mut dir = None;
        for _ in 0..200_000 {
            dir = Some(Arc::new(Directory { path: RelPath::root(), fd: None, settle: None, parent: dir }));
        }
        drop(dir);
    }
}

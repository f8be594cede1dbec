//! Hard links: names of the replica that are one file become names of one file. The first name is restored, the others are
//! linked to it.

use super::directory::{Directory, stat_name};
use super::engine::{Engine, Job, weight_of};
use super::fault::Fault;
use super::partial;
use super::tally::{Counted, What};
use parking_lot::Mutex;
use platform::sys::attr;
use platform::sys::resolve::open_beneath;
use protocol::{Entry, NodeKind, RelPath, Time};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What is known of files with several names.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: Mutex<Groups>,
    /// Which file of the replica a file of DIR with several names is taken for.
    claims: Mutex<HashMap<(u64, u64), u64>>,
}

/// Files with several names that are not all restored.
#[derive(Debug, Default)]
struct Groups {
    /// By inode of the replica.
    all: HashMap<u64, Group>,
    /// What they take, in bytes.
    weight: usize,
}

/// Bytes that what is known of files with several names may take: a replica that is a lie may have no end of them. Room for some millions of files.
const MOST_BYTES: usize = 1 << 30;

/// What a group takes beside its names, in bytes.
const GROUP_BYTES: usize = 256;

/// Names of one file of the replica.
#[derive(Debug)]
struct Group {
    /// An inode number that is used again while a living replica is read is another file.
    like: (NodeKind, u64, Time),
    /// Names that are still to come.
    left: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The first name is being restored; these wait for it.
    Busy(Vec<(Arc<Directory>, Entry)>),
    /// It is restored.
    Done(RelPath),
}

/// What to do with a name.
#[derive(Debug)]
pub(super) enum Turn {
    /// Restore it.
    First,
    /// It is kept until the first one is restored.
    Later,
    /// Link it to this one.
    Link(RelPath),
    /// No more can be remembered.
    Full,
}

impl Groups {
    fn forget(&mut self, inode: u64) {
        if self.all.remove(&inode).is_some() {
            self.weight = self.weight.saturating_sub(GROUP_BYTES);
        }
    }
}

impl Links {
    /// What to do with a name of a node that may have several.
    pub fn turn(&self, parent: &Arc<Directory>, entry: &Entry) -> Turn {
        if entry.links < 2 {
            return Turn::First;
        }
        let like = (entry.kind.clone(), entry.size, entry.attrs.mtime);
        let mut groups = self.groups.lock();
        let full = groups.weight > MOST_BYTES;
        let Some(group) = groups.all.get_mut(&entry.inode) else {
            if full {
                return Turn::Full;
            }
            groups.weight += GROUP_BYTES;
            groups.all.insert(entry.inode, Group { like, left: entry.links - 1, state: State::Busy(Vec::new()) });
            return Turn::First;
        };
        if group.like != like {
            return Turn::First;
        }
        let turn = match &mut group.state {
            State::Busy(_) if full => return Turn::Full,
            State::Busy(waiting) => {
                waiting.push((Arc::clone(parent), entry.clone()));
                Turn::Later
            }
            State::Done(leader) => {
                group.left = group.left.saturating_sub(1);
                Turn::Link(leader.clone())
            }
        };
        let over = group.left == 0;
        if matches!(turn, Turn::Later) {
            groups.weight += weight_of(entry);
        }
        if over {
            groups.forget(entry.inode);
        }
        turn
    }

    /// A name was restored (`Some`) or could not be: what to do with those that waited for it.
    pub fn led(&self, entry: &Entry, path: Option<&RelPath>) -> Vec<Job> {
        let like = (entry.kind.clone(), entry.size, entry.attrs.mtime);
        let mut groups = self.groups.lock();
        let Some(group) = groups.all.get_mut(&entry.inode).filter(|group| entry.links > 1 && group.like == like) else {
            return Vec::new();
        };
        let waiting = match &mut group.state {
            State::Done(_) => return Vec::new(),
            State::Busy(waiting) => std::mem::take(waiting),
        };
        let weight: usize = waiting.iter().map(|(_, entry)| weight_of(entry)).sum();
        let Some(leader) = path else {
            // The next one is the first now.
            groups.weight = groups.weight.saturating_sub(weight);
            groups.forget(entry.inode);
            return waiting.into_iter().map(|(parent, entry)| Job::Entry { parent, entry }).collect();
        };
        group.left = group.left.saturating_sub(waiting.len() as u64);
        group.state = State::Done(leader.clone());
        let over = group.left == 0;
        groups.weight = groups.weight.saturating_sub(weight);
        if over {
            groups.forget(entry.inode);
        }
        let link = |(parent, entry)| Job::Link { parent, entry, leader: leader.clone() };
        waiting.into_iter().map(link).collect()
    }

    /// Takes a file of DIR that has several names for a file of the replica. `false`: it is taken for another one already.
    pub fn claim(&self, stat: &Stat, entry: &Entry) -> bool {
        *self.claims.lock().entry((stat.st_dev, stat.st_ino)).or_insert(entry.inode) == entry.inode
    }
}

impl Engine {
    /// Makes a name one of the file that `leader` names.
    pub fn link(&self, parent: &Directory, entry: &Entry, leader: &RelPath) {
        let counted = Counted::new(&self.tally, entry.size);
        let path = match parent.path.join(&entry.name) {
            Ok(path) => path,
            Err(e) => return self.failed(&parent.path, Fault::Node(e.to_string())),
        };
        if let Err(fault) = self.link_to(parent, entry, &path, leader) {
            self.failed(&path, fault);
        }
        drop(counted);
    }

    fn link_to(&self, parent: &Directory, entry: &Entry, path: &RelPath, leader: &RelPath) -> Result<(), Fault> {
        let (Some(at), Some(root)) = (&parent.fd, &self.root) else {
            self.tally.note(What::New, path, None);
            return Ok(());
        };
        let there = stat_name(at, &entry.name)?;
        let first = first_name(root, leader)?;
        if let (Some(there), Some((_, stat))) = (&there, &first)
            && (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(());
        }
        if self.manner.dry_run {
            self.tally.note(if there.is_some() { What::Changed } else { What::New }, path, None);
            return Ok(());
        }
        let (dir, _) = first.ok_or_else(|| Fault::Node(format!("its other name {leader} is gone")))?;
        let name = leader.split_last().map(|(_, name)| name).unwrap_or(entry.name.clone());
        let link = |to: &[u8]| rustix::fs::linkat(&dir, name.as_bytes(), at, to, AtFlags::empty());
        let same = there.as_ref().is_some_and(|there| {
            FileType::from_raw_mode(there.st_mode) == FileType::RegularFile
                && entry.kind == NodeKind::File
                && u64::try_from(there.st_size).ok() == Some(entry.size)
                && attr::mtime(there) == entry.attrs.mtime
        });
        if same {
            // Its content is kept by the other name.
            self.tally.note(What::Changed, path, None);
            let partial = partial::name(&entry.name);
            if stat_name(at, &partial)?.is_some() {
                rustix::fs::unlinkat(at, partial.as_bytes(), AtFlags::empty())?;
            }
            link(partial.as_bytes())?;
            return partial::finish(at, &entry.name, true);
        }
        if there.is_some() {
            self.set_aside(at, &entry.name, path)?;
        }
        self.tally.note(What::New, path, None);
        Ok(link(entry.name.as_bytes())?)
    }
}

/// The directory that has the first name, and what that stands for; `None` in a dry run where it does not exist.
fn first_name(root: &OwnedFd, leader: &RelPath) -> Result<Option<(OwnedFd, Stat)>, Fault> {
    let Some((dir, name)) = leader.split_last() else { return Ok(None) };
    let dir = match open_beneath(root.as_fd(), &dir, OFlags::PATH | OFlags::DIRECTORY) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        result => result?,
    };
    Ok(stat_name(&dir, &name)?.map(|stat| (dir, stat)))
}

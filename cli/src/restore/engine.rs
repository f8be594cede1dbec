//! The engine: who works on what, and when it ends. Which name gets which treatment is in `directory` and `node`.

use super::aside::Aside;
use super::directory::{Directory, Listing};
use super::fault::Fault;
use super::links::Links;
use super::queue::{Queue, Weighs};
use super::remote::Remote;
use super::tally::Tally;
use parking_lot::Mutex;
use protocol::{Entry, NodeKind, RelPath};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Change nothing.
    pub dry_run: bool,
    /// Set aside what only DIR has.
    pub exact: bool,
    /// Compare content whatever the attributes say.
    pub checksum: bool,
    /// Block in which content is compared, in bytes.
    pub block_bytes: u32,
}

/// Everything that those who work share.
#[derive(Debug)]
pub(super) struct Engine {
    pub remote: Remote,
    pub manner: Manner,
    pub aside: Aside,
    pub tally: Tally,
    pub links: Links,
    /// DIR; `None` in a dry run where it does not exist.
    pub root: Option<OwnedFd>,
    /// Owners can be set.
    pub privileged: bool,
    pub queue: Queue<Job>,
    fatal: Mutex<Option<Fault>>,
}

/// Something to do.
#[derive(Debug)]
pub(super) enum Job {
    /// A name of a directory.
    Entry { parent: Arc<Directory>, entry: Entry },
    /// A page of a directory.
    Page { dir: Arc<Directory>, listing: Listing },
    /// A further name of a node whose first name is restored.
    Link { parent: Arc<Directory>, entry: Entry, leader: RelPath },
}

/// Bytes that an entry takes.
pub(super) fn weight_of(entry: &Entry) -> usize {
    let target = if let NodeKind::Symlink(to) = &entry.kind { to.len() } else { 0 };
    size_of::<Job>() + entry.name.as_bytes().len() + target
}

impl Weighs for Job {
    fn weight(&self) -> usize {
        match self {
            Self::Entry { entry, .. } | Self::Link { entry, .. } => weight_of(entry),
            // What is in DIR is not counted.
            Self::Page { .. } => size_of::<Self>(),
        }
    }
}

impl Engine {
    pub fn new(remote: Remote, manner: Manner, aside: Aside, root: Option<OwnedFd>) -> Self {
        Self {
            remote,
            manner,
            aside,
            tally: Tally::new(manner.dry_run),
            links: Links::default(),
            root,
            privileged: rustix::process::geteuid().is_root(),
            queue: Queue::default(),
            fatal: Mutex::new(None),
        }
    }

    /// Works until nothing is left to do or nothing more can be done; by several threads.
    pub fn work(&self) {
        while let Some(job) = self.queue.next() {
            let _done = Done(&self.queue);
            self.one(job);
        }
    }

    fn one(&self, job: Job) {
        match job {
            Job::Entry { parent, entry } => {
                self.entry(&parent, &entry);
                self.leave(parent);
            }
            Job::Page { dir, listing } => {
                let path = dir.path.clone();
                if let Err(fault) = self.page(&dir, listing) {
                    self.failed(&path, fault);
                }
                self.tally.listing.fetch_sub(1, Ordering::Relaxed);
                self.leave(dir);
            }
            Job::Link { parent, entry, leader } => {
                self.link(&parent, &entry, &leader);
                self.leave(parent);
            }
        }
    }

    /// Notes what went wrong with a path, and stops where nothing more can be done.
    pub fn failed(&self, path: &RelPath, fault: Fault) {
        match fault {
            Fault::Node(why) => self.tally.failed(path, why),
            Fault::Moved => {
                self.tally.failed(path, "it changes on the target while it is read; try it again".to_owned());
            }
            fault @ (Fault::Full(_) | Fault::Fatal(_)) => {
                self.fatal.lock().get_or_insert(fault);
                self.queue.stop();
            }
        }
    }

    /// Why it was stopped, if it was.
    pub fn fatal(&self) -> Option<Fault> {
        self.fatal.lock().take()
    }
}

/// Says that a job is done, however it ended: nobody waits for one that panicked.
struct Done<'a>(&'a Queue<Job>);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.done();
    }
}

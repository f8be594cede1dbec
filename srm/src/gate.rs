//! Clean and dirty: which live operations are sent and which are absorbed (design: "one rule for everything that is not
//! the plain stream"). Pure bookkeeping; reading and sending are the pass's.
//!
//! During a pass a node is *done* from the moment that a record which makes it exist on the target is numbered; all
//! later operations on it are sent, because whatever content is still to be copied is read later, under its lock, and
//! travels in the same order. What is not done is absorbed, and the pass comes to it: every node that is not done has its
//! names in the work list, or in a directory that the work list leads to.

use platform::tree::Node;
use protocol::Name;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Something for a pass to do.
#[derive(Clone, Debug)]
pub enum Work {
    /// Compare the names of a directory that is done.
    List(Arc<Node>),
    /// See to one name, whatever is there now on either side.
    Name(Arc<Node>, Name),
    /// Bring a done file's content over.
    Copy(Arc<Node>, Source),
}

/// What is known of a file's content on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was just made there: everything is a hole.
    Fresh,
    /// It has content, which may or may not be right.
    Unknown,
}

/// What a pass knows. Sized by the number of nodes below SRC while it lasts: 8 to 16 bytes each.
#[derive(Debug)]
pub struct Pass {
    /// Tells this pass from others.
    pub number: u64,
    /// The target began empty: it need not be asked.
    pub target_empty: bool,
    /// Compare content, whatever the attributes say.
    pub by_content: bool,
    /// Nodes that changed on the source at or after this time (seconds) are compared by content all the same.
    pub source_clean_secs: i64,
    done: HashSet<u64>,
    /// Names that are right on the target, of done nodes with several links.
    shared: HashMap<u64, Vec<(Arc<Node>, Name)>>,
    /// Names that wait in the work list as [`Work::Name`], by node id: an inode number may be used again meanwhile.
    pending: HashSet<(u64, Name)>,
    /// Which node on the source uses an inode with several links on the target.
    claimed: HashMap<u64, u64>,
    work: Vec<Work>,
    active: usize,
    /// What could not be read, and when it is tried again.
    later: Vec<(Instant, Work)>,
}

/// The gate of one target.
#[derive(Debug)]
pub enum Gate {
    /// Everything is dirty: all is absorbed, nothing is remembered one by one.
    Due,
    /// A pass runs.
    Pass(Box<Pass>),
    /// Everything is clean: all is sent.
    Clean,
}

impl Gate {
    /// Whether what happens to this node is to be sent.
    pub fn sends(&self, ino: u64) -> bool {
        match self {
            Self::Due => false,
            Self::Pass(pass) => pass.is_done(ino),
            Self::Clean => true,
        }
    }

    /// The pass, if this one runs.
    pub fn pass(&mut self, number: u64) -> Option<&mut Pass> {
        match self {
            Self::Pass(pass) if pass.number == number => Some(pass),
            _ => None,
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// This.
    Work(Work),
    /// Nothing until something changes, or until then.
    Wait(Option<Instant>),
    /// Everything is done.
    Finished,
}

impl Pass {
    /// A pass that begins: the root is done by decree and its names are to be compared.
    pub fn new(number: u64, target_empty: bool, by_content: bool, source_clean_secs: i64) -> Self {
        Self {
            number,
            target_empty,
            by_content,
            source_clean_secs,
            done: HashSet::new(),
            shared: HashMap::new(),
            pending: HashSet::new(),
            claimed: HashMap::new(),
            work: Vec::new(),
            active: 0,
            later: Vec::new(),
        }
    }

    /// Whether a node exists on the target, as far as what is numbered goes.
    pub fn is_done(&self, ino: u64) -> bool {
        self.done.contains(&ino)
    }

    /// A record that makes the node exist on the target is numbered. `link` is the name, where the node has several.
    pub fn set_done(&mut self, ino: u64, link: Option<(&Arc<Node>, &Name)>) {
        self.done.insert(ino);
        if let Some(link) = link {
            self.add_shared(ino, link);
        }
    }

    /// The node does not exist on the target any more, or not under a known name.
    pub fn set_undone(&mut self, ino: u64) {
        self.done.remove(&ino);
        self.shared.remove(&ino);
    }

    /// A name of a done node with several links is right on the target.
    pub fn add_shared(&mut self, ino: u64, (dir, name): (&Arc<Node>, &Name)) {
        let names = self.shared.entry(ino).or_default();
        if !names.iter().any(|(d, n)| d.ino() == dir.ino() && n == name) {
            names.push((Arc::clone(dir), name.clone()));
        }
    }

    /// A name is gone. `Some(rest)`: the node's names were watched, and so many are left.
    pub fn remove_shared(&mut self, ino: u64, dir: u64, name: &Name) -> Option<usize> {
        let names = self.shared.get_mut(&ino)?;
        names.retain(|(d, n)| !(d.ino() == dir && n == name));
        Some(names.len())
    }

    /// Names of a done node with several links that are right on the target; `None`: it has, or had when it became done, one.
    pub fn shared(&self, ino: u64) -> Option<&[(Arc<Node>, Name)]> {
        self.shared.get(&ino).map(Vec::as_slice)
    }

    /// Whether this name is right on the target, of a node whose names are watched.
    pub fn is_shared(&self, ino: u64, dir: u64, name: &Name) -> bool {
        self.shared(ino).is_some_and(|names| names.iter().any(|(d, n)| d.ino() == dir && n == name))
    }

    /// Takes an inode with several links on the target for a node; `false` where another has it.
    pub fn claim(&mut self, target_inode: u64, ino: u64) -> bool {
        *self.claimed.entry(target_inode).or_insert(ino) == ino
    }

    /// Adds something to do.
    pub fn add(&mut self, work: Work) {
        if let Work::Name(dir, name) = &work
            && !self.pending.insert((dir.id().get(), name.clone()))
        {
            return;
        }
        self.work.push(work);
    }

    /// Whether a name waits for a look of its own.
    pub fn is_pending(&self, dir: u64, name: &Name) -> bool {
        self.pending.contains(&(dir, name.clone()))
    }

    /// A look at a name begins: what happens to it from now on is its own affair.
    pub fn not_pending(&mut self, dir: u64, name: &Name) {
        self.pending.remove(&(dir, name.clone()));
    }

    /// Takes the next thing to do; each that is taken is given back with [`Pass::finished`] or [`Pass::failed`].
    pub fn next(&mut self, now: Instant) -> Next {
        if self.work.is_empty() {
            let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
            self.later = later;
            self.work = due.into_iter().map(|(_, work)| work).collect();
        }
        match self.work.pop() {
            Some(work) => {
                self.active += 1;
                Next::Work(work)
            }
            None if self.active == 0 && self.later.is_empty() => Next::Finished,
            None => Next::Wait(self.later.iter().map(|(at, _)| *at).min()),
        }
    }

    /// Something that was taken is done.
    pub fn finished(&mut self) {
        assert!(self.active > 0, "only what was taken is given back");
        self.active -= 1;
    }

    /// Something that was taken could not be done and is tried again.
    pub fn failed(&mut self, work: Work, again: Instant) {
        self.finished();
        self.postpone(work, again);
    }

    /// Something that could not be read is left for later.
    pub fn postpone(&mut self, work: Work, again: Instant) {
        self.later.push((again, work));
    }

    /// Things known and not done.
    pub fn waiting(&self) -> u64 {
        (self.work.len() + self.active + self.later.len()) as u64
    }
}

//! The hot set (R3): what was changed since the last moment at which source and target were durable, noted on disk before it is changed. After a
//! power cut, of either side or both, this and the change times tell what has to be compared by content.
//!
//! What change times tell is not noted: whatever came to be, or was changed, has one after the checkpoint, if that change is there at all. They do not tell
//! of content that reached the disk while its inode did not (`Content`), of a name that means its old inode again while the other side has the new one
//! (`Names`), and of a directory that is under its old name again (`Below`).
//!
//! Each is one wait for the disk, once between two checkpoints, shared by those who come at the same time; where many come from below one directory, all below it is
//! noted, and nobody there waits any more.

pub(crate) mod checkpoint;
pub(crate) mod file;
#[cfg(test)]
mod tests;

pub use file::{Checkpoint, Kind, remove as forget};

use file::{Entry, HotFile};
use parking_lot::{Condvar, Mutex, MutexGuard};
use platform::killpoint::{self, KillPoint};
use platform::tree::{Names, Node};
use protocol::Incarnation;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many changes below a directory, and all of it is hot.
const WIDEN: u32 = 256;
/// The same for SRC itself: that is everything.
const WIDEN_ROOT: u32 = 4096;
/// The most entries; beyond them everything is hot.
const MOST: usize = 1 << 16;

/// What a node's mark says of it, in an epoch.
const NOTED: u32 = 1;
const BELOW: u32 = 2;
/// It came to be in this epoch: its change time tells.
const BORN: u32 = 3;

fn mark(epoch: u32, level: u32) -> u32 {
    epoch << 2 | level
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    /// Counts what was begun between two checkpoints; 0: everything is hot, and nothing is noted.
    epoch: AtomicU32,
    state: Mutex<State>,
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    path: Option<PathBuf>,
    /// With a checkpoint only.
    file: Option<Arc<HotFile>>,
    checkpoint: Option<Checkpoint>,
    /// Where the next entry goes.
    end: u64,
    /// The last epoch, whether or not anything is noted now.
    epochs: u32,
    /// What is hot, by inode, and since which epoch at the latest.
    inodes: HashMap<u64, (Kind, u32)>,
    /// Runs of numbers since the checkpoint.
    runs: Vec<(Incarnation, u32)>,
    /// Changes below a directory in this epoch.
    counts: HashMap<u64, u32>,
    pending: Vec<Entry>,
    /// Entries ever made, and how many of them are durable.
    made: u64,
    durable: u64,
    /// Somebody writes.
    writing: bool,
}

/// What is to be compared by content after a power cut.
#[derive(Clone, Debug, Default)]
pub struct HotSet {
    content: HashSet<u64>,
    names: HashSet<u64>,
    below: HashSet<u64>,
}

impl HotSet {
    /// Only what lies in directories that were moved, or of which too much changed.
    pub(crate) fn moved(self) -> Self {
        Self { below: self.below, ..Self::default() }
    }

    /// Whether names in this directory may mean other files than they seem to.
    pub(crate) fn has_directory(&self, dir: &Arc<Node>) -> bool {
        self.names.contains(&dir.ino()) || self.is_below(dir)
    }

    /// Whether the content of a file of this directory may be another than it seems to be.
    pub(crate) fn has(&self, dir: &Arc<Node>, node: &Node) -> bool {
        self.content.contains(&node.ino()) || self.has_directory(dir)
    }

    fn is_below(&self, dir: &Arc<Node>) -> bool {
        !self.below.is_empty()
            && (self.below.contains(&dir.ino()) || above(dir).any(|dir| self.below.contains(&dir.ino())))
    }
}

/// The directories above a node, by the first name it has in each.
fn above(node: &Node) -> impl Iterator<Item = Arc<Node>> {
    let parent = |node: &Node| node.all_links().into_iter().next().map(|(dir, _)| dir);
    std::iter::successors(parent(node), move |dir| parent(dir))
}

impl Hot {
    /// What an earlier daemon noted at `path` goes on, if it is of this replica: its checkpoint, and the runs of numbers since.
    pub fn open(&self, path: &Path, of: impl FnOnce(&Checkpoint) -> bool) -> io::Result<Option<Checkpoint>> {
        let mut state = self.state.lock();
        state.path = Some(path.to_owned());
        let Some((checkpoint, entries)) = file::read(path).filter(|(checkpoint, _)| of(checkpoint)) else {
            file::remove(path)?;
            return Ok(None);
        };
        // What was not durable yet may be there, and may be gone later: written anew.
        let (file, end) = HotFile::create(path, &checkpoint, &entries)?;
        (state.file, state.end, state.checkpoint) = (Some(Arc::new(file)), end, Some(checkpoint));
        for entry in entries {
            match entry {
                Entry::Hot(kind, ino) => state.note(kind, ino, 0),
                Entry::Run(incarnation) => state.runs.push((incarnation, 0)),
            }
        }
        state.epochs = 1;
        self.epoch.store(1, Ordering::Release);
        Ok(Some(checkpoint))
    }

    /// The last checkpoint; `None`: there was none, everything is hot.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.state.lock().checkpoint
    }

    /// Runs of numbers that began since the checkpoint.
    pub fn runs(&self) -> Vec<Incarnation> {
        self.state.lock().runs.iter().map(|(run, _)| *run).collect()
    }

    /// What is hot now.
    pub fn set(&self) -> HotSet {
        let state = self.state.lock();
        let mut set = HotSet::default();
        for (ino, (kind, _)) in &state.inodes {
            // An inode number may have been a file's before.
            set.content.insert(*ino);
            match kind {
                Kind::Content => {}
                Kind::Names => _ = set.names.insert(*ino),
                Kind::Below => _ = set.below.insert(*ino),
            }
        }
        set
    }

    /// How much is noted.
    pub fn len(&self) -> usize {
        self.state.lock().inodes.len()
    }

    /// A node came to be. The caller holds the names exclusively.
    pub fn born(&self, node: &Node) {
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch != 0 {
            node.set_heat(mark(epoch, BORN));
        }
    }

    /// Notes what is about to change, and waits until that is durable. The caller holds the namespace lock, so that no epoch ends
    /// before the change is made. `several`: the file has more than one name.
    pub fn heat(&self, _names: &Names, node: &Arc<Node>, kind: Kind, several: impl FnOnce() -> bool) {
        self.preheat(node, kind, several);
    }

    /// The same before any lock is taken, so that nobody waits behind this. An epoch may end before the change is made: then [`Self::heat`] notes it
    /// again.
    pub fn preheat(&self, node: &Arc<Node>, kind: Kind, several: impl FnOnce() -> bool) {
        let epoch = self.epoch.load(Ordering::Acquire);
        let level = if kind == Kind::Below { BELOW } else { NOTED };
        if epoch == 0 || (node.heat() >> 2 == epoch && node.heat() & 3 >= level) {
            return;
        }
        let within = |dir: &Arc<Node>| dir.heat() == mark(epoch, BELOW);
        // Its other names may lie elsewhere; and what is moved may leave the directory of which all is noted.
        let alone = kind == Kind::Below || kind == Kind::Content && several();
        if !alone && above(node).any(|dir| within(&dir)) {
            return node.set_heat(mark(epoch, NOTED));
        }
        let mut state = self.state.lock();
        let widened = if alone { None } else { state.count(node) };
        let (hot, kind, level) = match &widened {
            Some(dir) => (dir, Kind::Below, BELOW),
            None => (node, kind, level),
        };
        if state.inodes.len() >= MOST {
            // A checkpoint may be about to put its file there: behind it.
            drop(state);
            return self.forget("too much has changed since the last checkpoint");
        }
        state.note(kind, hot.ino(), epoch);
        state.pending.push(Entry::Hot(kind, hot.ino()));
        state.made += 1;
        let made = state.made;
        self.wait_until_durable(state, made);
        killpoint::pass(KillPoint::Heated);
        hot.set_heat(mark(epoch, level));
        if widened.is_some() {
            node.set_heat(mark(epoch, NOTED));
        }
    }

    /// A run of numbers begins; what a target applies of it is known. Not waited for: a run that nobody knows has everything compared.
    pub fn run(&self, incarnation: Incarnation) {
        let mut state = self.state.lock();
        let epochs = state.epochs;
        if state.file.is_some() {
            state.runs.push((incarnation, epochs));
            state.pending.push(Entry::Run(incarnation));
            state.made += 1;
        }
    }

    /// Writes what is still to be written.
    pub fn flush(&self) {
        let state = self.state.lock();
        let made = state.made;
        self.wait_until_durable(state, made);
    }

    fn wait_until_durable(&self, mut state: MutexGuard<'_, State>, made: u64) {
        loop {
            // Before the first checkpoint everything is hot anyway.
            let Some(file) = state.file.clone() else { return };
            if state.durable >= made {
                return;
            }
            if state.writing {
                self.written.wait(&mut state);
                continue;
            }
            state.writing = true;
            let (entries, upto, at) = (std::mem::take(&mut state.pending), state.made, state.end);
            let result = MutexGuard::unlocked(&mut state, || file.append(at, &entries));
            state.writing = false;
            match result {
                Ok(end) => (state.durable, state.end) = (upto, end),
                Err(error) => self.give_up(&mut state, &error.to_string()),
            }
            self.written.notify_all();
        }
    }

    /// Everything is hot from now on, until the next checkpoint; durably, before anything else happens.
    pub fn forget(&self, why: &str) {
        let mut state = self.state.lock();
        while state.writing {
            self.written.wait(&mut state);
        }
        self.give_up(&mut state, why);
    }

    fn give_up(&self, state: &mut State, why: &str) {
        self.epoch.store(0, Ordering::Release);
        state.inodes = HashMap::new();
        state.counts = HashMap::new();
        state.runs.clear();
        state.pending.clear();
        state.durable = state.made;
        state.checkpoint = None;
        let (Some(file), Some(path)) = (state.file.take(), &state.path) else { return };
        tracing::info!(event = "all-hot", why, "after a power cut everything would be compared by content");
        if let Err(error) = file::remove(path).or_else(|_| file.void()) {
            tracing::error!(event = "hot-stays", path = %path.display(), %error, "what may be half-written after a power cut could not be noted: mount with a new --state after one");
        }
    }

    /// A new epoch begins. The caller holds the names exclusively: what was begun before is done.
    fn begin_epoch(&self) -> u32 {
        let mut state = self.state.lock();
        state.epochs += 1;
        state.counts.clear();
        self.epoch.store(state.epochs, Ordering::Release);
        state.epochs
    }

    /// What was changed before this epoch is durable on both sides.
    fn complete(&self, checkpoint: Checkpoint, epoch: u32) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.writing {
            self.written.wait(&mut state);
        }
        // Given up meanwhile.
        if self.epoch.load(Ordering::Acquire) != epoch {
            return Ok(());
        }
        let Some(path) = state.path.clone() else { return Ok(()) };
        state.inodes.retain(|_, (_, since)| *since >= epoch);
        state.runs.retain(|(_, since)| *since >= epoch);
        let hot = state.inodes.iter().map(|(ino, (kind, _))| Entry::Hot(*kind, *ino));
        let entries: Vec<Entry> = hot.chain(state.runs.iter().map(|(run, _)| Entry::Run(*run))).collect();
        state.pending.clear();
        let upto = state.made;
        state.writing = true;
        let result = MutexGuard::unlocked(&mut state, || HotFile::create(&path, &checkpoint, &entries));
        state.writing = false;
        self.written.notify_all();
        let (file, end) = result.inspect_err(|error| self.give_up(&mut state, &error.to_string()))?;
        (state.file, state.end, state.durable, state.checkpoint) = (Some(Arc::new(file)), end, upto, Some(checkpoint));
        Ok(())
    }
}

impl State {
    fn note(&mut self, kind: Kind, ino: u64, epoch: u32) {
        let entry = self.inodes.entry(ino).or_insert((kind, epoch));
        *entry = (entry.0.max(kind), entry.1.max(epoch));
    }

    /// Counts a change for all that it lies below; the nearest directory of which there are enough, if there is one.
    fn count(&mut self, node: &Node) -> Option<Arc<Node>> {
        let mut widened = None;
        for dir in above(node) {
            let count = self.counts.entry(dir.ino()).or_default();
            *count += 1;
            let most = if dir.is_root() { WIDEN_ROOT } else { WIDEN };
            if *count >= most && widened.is_none() {
                widened = Some(dir);
            }
        }
        widened
    }
}

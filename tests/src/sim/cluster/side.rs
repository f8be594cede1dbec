//! The two daemons and what their machines keep of them: how they are started, and what is there after one was killed or its machine lost power.

use super::action::CLIENTS;
use super::bug::Bug;
use super::schedule::{Loss, Plan};
use super::snapshot::Snapshot;
use fsi::stepped::Files;
use platform::tree::Tree;
use protocol::{Name, ReplicaId};
use rustix::fs::{Mode, OFlags};
use scm::packing::Packing;
use srm::set::Set;
use srm::status::{CommitMode, NearBounds};
use srm::{AreaConfig, AreaKind, Commit, Compare, Config, JournalConfig, Srm};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use target::{Limits, Target, TargetConfig};

/// The replica's NAME.
const NAME: &str = "tree";
/// Bytes of the journal.
pub(super) const JOURNAL_BYTES: u64 = 5 << 20;
/// A reply waits so long.
const DEGRADE_AFTER: Duration = Duration::from_secs(2);
const REMOTE_TIMEOUT: Duration = Duration::from_secs(3);

/// The source's daemon.
pub(super) struct Daemon {
    pub srm: Arc<Srm>,
    pub files: Files,
    /// Of a program that knows of it.
    pub packing: Option<Arc<Packing>>,
    pub open: [Cell<Option<u64>>; CLIENTS],
}

/// Directories of one run.
pub(super) struct Places {
    pub top: PathBuf,
}

/// Small files of a directory.
pub(super) type Kept = BTreeMap<PathBuf, Vec<u8>>;

fn read_all(dir: &Path) -> Kept {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), std::fs::read(entry.path()).ok()?))).collect()
}

fn put_back(dir: &Path, kept: &Kept) -> io::Result<()> {
    for path in read_all(dir).into_keys().filter(|path| !kept.contains_key(path)) {
        std::fs::remove_file(path)?;
    }
    kept.iter().try_for_each(|(path, bytes)| std::fs::write(path, bytes))
}

impl Places {
    pub fn src(&self) -> PathBuf {
        self.top.join("src")
    }

    pub fn replica(&self) -> PathBuf {
        self.top.join("root").join(NAME)
    }

    pub fn meta(&self) -> PathBuf {
        self.top.join("root/.replfs").join(NAME)
    }

    fn small(&self) -> PathBuf {
        self.top.join("small")
    }

    pub fn journal(&self) -> PathBuf {
        self.top.join("journal")
    }

    fn config(
        &self,
        plan: &Plan,
        set: &Set,
        boot: u8,
        replica: Option<ReplicaId>,
        bug: Option<Bug>,
    ) -> io::Result<Config> {
        let kind = if plan.mode == CommitMode::Real { AreaKind::Disk } else { AreaKind::Memory };
        let areas = vec![AreaConfig::new(kind, self.journal(), JOURNAL_BYTES)];
        let hot = self.top.join("hot");
        let journal = JournalConfig { dir: self.small(), areas, boot: [boot; 16], may_resume: true, hot };
        let loose = u64::from(bug == Some(Bug::LooseOperations));
        let near = NearBounds { operations: plan.bounds.operations + loose, ..plan.bounds };
        Ok(Config {
            name: Name::new(NAME.as_bytes()).map_err(io::Error::other)?,
            source: String::new(),
            mountpoint: String::new(),
            target: String::new(),
            commit: Commit { near, ..Commit::new(plan.mode) },
            degrade_after: DEGRADE_AFTER,
            retry_after: plan.retry_ms.map(Duration::from_millis),
            remote_timeout: REMOTE_TIMEOUT,
            backlog_bytes: srm::MIN_BACKLOG_BYTES,
            journal: Some(journal).filter(|_| plan.journal),
            adopt: false,
            replica,
            clean_end_secs: None,
            submounts: Vec::new(),
            software: String::new(),
            set: set.clone(),
            sweep: Some(self.top.join("sweep")),
            bypassed: false,
            // Small enough that content is compared, and not sent whole.
            compare: Compare { block_bytes: 512, min_size: 1024 },
        })
    }

    pub fn start_source(
        &self,
        plan: &Plan,
        set: &Set,
        boot: u8,
        replica: Option<ReplicaId>,
        bug: Option<Bug>,
        is_new: bool,
    ) -> io::Result<Daemon> {
        let root = rustix::fs::open(self.src(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let tree = Arc::new(Tree::new(root.as_fd())?);
        let srm = Srm::stepped(tree, self.config(plan, set, boot, replica, bug)?)?;
        let packing = is_new.then(|| Packing::new(plan.wire.pack, None));
        Ok(Daemon { files: Files::new(Arc::clone(&srm)), srm, packing, open: Default::default() })
    }

    pub fn start_target(&self) -> io::Result<Arc<Target>> {
        let (root, software) = (self.top.join("root"), String::new());
        Target::open(TargetConfig { root, software, limits: Limits::default() }).map_err(io::Error::other)
    }

    /// What the source has in small files and in its journal: a daemon that unwinds still writes to them, and one that is killed does not.
    pub fn keep(&self) -> [Kept; 2] {
        [read_all(&self.small()), read_all(&self.journal())]
    }

    /// After a kill.
    pub fn put_back(&self, [small, journal]: &[Kept; 2]) -> io::Result<()> {
        put_back(&self.small(), small)?;
        put_back(&self.journal(), journal)
    }

    /// After a power cut; the journal is lost where it was in memory.
    pub fn lose_memory(&self, mode: CommitMode) {
        // One that was never made is lost already.
        let _none = std::fs::remove_dir_all(self.small());
        if mode != CommitMode::Real {
            let _none = std::fs::remove_dir_all(self.journal());
        }
    }
}

/// What is left of a directory that is `now` and of which `durable` had been made durable.
pub(super) fn left(now: &Snapshot, durable: &Snapshot, loss: Loss) -> Snapshot {
    match loss {
        Loss::All => durable.clone(),
        Loss::None => now.clone(),
        Loss::Torn => durable.torn(now),
    }
}

//! Source Replication Manager: order, backlog, commit modes, clean and dirty, the mirror pass. Policy: no FUSE, no QUIC.
//!
//! `backlog`, `commit`, `incoherent`, `replies` and `map` are pure; `core` holds them together under one lock; `away` gives a queue up for what it changed; `live` and `names` take what the FUSE
//! layer did; `feed` is what a connection to the target pulls from and reports to, `lanes` what those beside it do; `pass`
//! repairs; `remote` asks the target first; `said` is what a target may say; `sending` holds what is queued until a rule lets go of it; `verify` compares; `clock` watches time; `stand`, `held_file` and `restart` let the next daemon go on where this one was killed,
//! and `hot` where the machine lost power. `stepped` is for the simulator: all of it without its threads.
//!
//! Lock order: namespace, nodes (`platform::tree`), then the core, then the lanes. The core is held for moments and never while anything
//! is read or waited for.

mod away;
mod backlog;
mod border;
mod clock;
mod commit;
mod core;
mod damage;
#[doc(hidden)]
pub mod edge;
mod ensure;
mod feed;
mod flags;
mod held_file;
mod hot;
mod incoherent;
pub mod lanes;
mod live;
mod local;
pub mod map;
mod member;
mod names;
mod pass;
mod passed;
mod remote;
mod replies;
mod restart;
mod room;
pub mod said;
pub mod sending;
pub mod set;
mod spare;
mod stand;
pub mod status;
mod stepped;
mod straddling;
mod sweep;
pub mod verify;
mod watch;

pub use crate::commit::Commit;
pub use crate::core::Ticket;
pub use feed::{Rejected, Restart};
pub use hot::{HotSet, forget as forget_hot};
pub use journal::{AreaConfig, AreaKind};
pub use live::NotClean;
pub use names::{Gone, Renamed};
pub use pass::{Again, Readiness};
pub use remote::{Asked, BEGIN_ANEW, Proposed, now};
pub use room::Admission;
pub use set::OnRemove;
pub use stepped::PassWork;
pub use watch::Left;

use crate::core::Core;
use crate::hot::Kind;
use crate::lanes::Lanes;
use parking_lot::{Condvar, Mutex, RwLock};
use platform::awake::Awake;
use platform::tree::{Names, Node, Tree};
use protocol::{Name, ReplicaId};
use status::CommitMode;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// The smallest bound of a backlog: room for what the threads of a pass have in hand beside live operations.
pub const MIN_BACKLOG_BYTES: u64 = 8 << 20;

/// What a source is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// NAME.
    pub name: Name,
    /// SRC, absolute, for the status.
    pub source: String,
    /// MNT, absolute, for the status.
    pub mountpoint: String,
    /// The target as the user named it, for the status.
    pub target: String,
    /// The commit mode asked for.
    pub commit: Commit,
    /// How long a reply waits for a target that does not answer.
    pub degrade_after: Duration,
    /// How long the target tries an operation that it cannot carry out, before it goes on without it; `None`: for ever.
    pub retry_after: Option<Duration>,
    /// In `remote`, how long an operation waits for the target's verdict.
    pub remote_timeout: Duration,
    /// Bound in bytes of a backlog that is in memory only, because there is no journal; at least [`MIN_BACKLOG_BYTES`].
    pub backlog_bytes: u64,
    /// Where what is queued survives this process.
    pub journal: Option<JournalConfig>,
    /// Take over a directory on the target that is not empty and belongs to nobody.
    pub adopt: bool,
    /// The replica known from before.
    pub replica: Option<ReplicaId>,
    /// When this source last ended clean with everything on the target: seconds since 1970 on its clock.
    pub clean_end_secs: Option<i64>,
    /// Submounts below SRC, for the status.
    pub submounts: Vec<String>,
    /// The software's version, for the target's log.
    pub software: String,
    /// What is replicated (S1).
    pub set: set::Set,
    /// A file, beside others of this source's state, that says to the next daemon what is still to be set aside on the target because the set leaves it
    /// out; `None`: it hears nothing of it.
    pub sweep: Option<PathBuf>,
    /// There is no target: nothing is described, numbered or kept (S16).
    pub bypassed: bool,
    /// How files that exist on both sides are compared (S7).
    pub compare: Compare,
}

/// Where what is queued is kept (S5).
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// A private directory for what the next daemon is to know; in memory, where the system has such a place.
    pub dir: PathBuf,
    /// Areas, in the order in which they are used.
    pub areas: Vec<AreaConfig>,
    /// The boot id of this machine, as 16 bytes.
    pub boot: [u8; 16],
    /// SRC is the directory that it was: what is there may be gone on with.
    pub may_resume: bool,
    /// A file on disk that says what may be half-written after a power cut.
    pub hot: PathBuf,
}

/// How files that exist on both sides are compared (S7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Bytes per block: 512 to 1 MiB, a power of two.
    pub block_bytes: u32,
    /// Smaller files are sent whole, in bytes.
    pub min_size: u64,
}

impl Default for Compare {
    fn default() -> Self {
        Self { block_bytes: protocol::COMPARE_BLOCK_BYTES, min_size: 64 << 10 }
    }
}

/// The replication of one source.
pub struct Srm {
    tree: Arc<Tree>,
    config: Config,
    /// What is replicated now.
    set: RwLock<Arc<set::Set>>,
    core: Mutex<Core>,
    /// Something changed that a thread of the SRM or a caller may wait for.
    changed: Condvar,
    /// Replies were released, or the daemon ends: the clock thread has something to do at once.
    released: Condvar,
    /// The daemon ends: the journal's thread has nothing to wait for.
    stopping: Condvar,
    journal_thread: Mutex<Option<JoinHandle<()>>>,
    /// Wakes the connection: there is something to send.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Told of calls that wait for the target.
    awake: OnceLock<Arc<Awake>>,
    room: room::Room,
    local: local::Local,
    /// Content that travels beside the ordered stream.
    lanes: Arc<Lanes>,
    /// What may be half-written after a power cut.
    hot: Arc<hot::Hot>,
    /// The set leaves something out.
    filtered: AtomicBool,
    /// What the set leaves out is removed from the target by the pass that follows.
    dropping: AtomicBool,
    /// What the set leaves out is set aside on the target by the pass that follows.
    sweep: sweep::Sweep,
    straddling: straddling::Straddling,
    verifier: verify::Verifier,
    /// Operations are proposed to the target first.
    proposing: AtomicBool,
    /// Proposals that are not settled.
    proposals: AtomicUsize,
    /// Somebody else does what its threads do.
    stepped: bool,
    /// There: passes whose beginning waits until no name is held.
    begins: parking_lot::Mutex<Vec<pass::Begin>>,
    /// What is held of names, for the next daemon; with a journal only.
    held_file: parking_lot::Mutex<Option<held_file::HeldFile>>,
}

impl std::fmt::Debug for Srm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srm").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Srm {
    /// Starts the replication of `tree` with its clock thread. Nothing is sent until a connection feeds from it.
    pub fn start(tree: Arc<Tree>, config: Config) -> std::io::Result<Arc<Self>> {
        let srm = Self::assemble(tree, config, false)?;
        clock::start(&srm)?;
        room::start(&srm)?;
        local::start(&srm)?;
        restart::maintain(&srm)?;
        hot::checkpoint::start(&srm)?;
        Ok(srm)
    }

    fn assemble(tree: Arc<Tree>, config: Config, stepped: bool) -> std::io::Result<Arc<Self>> {
        let sweep = sweep::Sweep::new(config.sweep.clone());
        let lanes = Arc::new(Lanes::default());
        let mut core = Core::new(&config, Arc::clone(&lanes))?;
        let resumed = restart::open(&mut core, &config);
        let held_file = restart::held_file(&config);
        if let Some(resumed) = &resumed {
            tree.number_from(resumed.first_node);
        }
        let hot = Arc::clone(&core.hot);
        let set = Arc::new(config.set.clone());
        let filtered = !set.is_everything();
        tree.set_filter(&mut tree.names().write(), member::filter(&set));
        let set = RwLock::new(set);
        let srm = Arc::new(Self {
            tree,
            config,
            set,
            core: Mutex::new(core),
            changed: Condvar::new(),
            released: Condvar::new(),
            stopping: Condvar::new(),
            journal_thread: Mutex::default(),
            wake: OnceLock::new(),
            awake: OnceLock::new(),
            room: room::Room::default(),
            local: local::Local::default(),
            filtered: AtomicBool::new(filtered),
            dropping: AtomicBool::new(false),
            sweep,
            straddling: straddling::Straddling::default(),
            lanes,
            hot,
            verifier: verify::Verifier::default(),
            proposing: AtomicBool::new(false),
            proposals: AtomicUsize::new(0),
            stepped,
            begins: parking_lot::Mutex::default(),
            held_file: parking_lot::Mutex::new(held_file),
        });
        srm.note_mode(srm.config.commit.mode);
        if let Some(resumed) = resumed {
            srm.go_on(&resumed);
        }
        Ok(srm)
    }

    /// A source without any target, for tests of the layers around this one: nothing is kept, every reply goes out at once.
    pub fn detached(tree: Arc<Tree>) -> Arc<Self> {
        let config = Config {
            name: Name::new(b"detached").expect("a valid name"),
            source: String::new(),
            mountpoint: String::new(),
            target: String::new(),
            commit: Commit::new(CommitMode::Real),
            degrade_after: Duration::from_secs(5),
            retry_after: None,
            remote_timeout: Duration::from_secs(10),
            backlog_bytes: MIN_BACKLOG_BYTES,
            journal: None,
            adopt: false,
            replica: None,
            clean_end_secs: None,
            submounts: Vec::new(),
            software: String::new(),
            set: set::Set::everything(),
            sweep: None,
            bypassed: false,
            compare: Compare::default(),
        };
        Self::start(tree, config).expect("threads can be started in tests")
    }

    /// The backing directory.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// The content of a file is about to change: noted for the time after a power cut. The caller holds the namespace lock.
    pub fn heat_content(&self, names: &Names, node: &Arc<Node>) {
        self.hot
            .heat(names, node, Kind::Content, || self.tree.stat(names, node).map_or(true, |stat| stat.st_nlink > 1));
    }

    /// [`Self::heat_content`], before any lock is taken. `several`: the file has more than one name.
    pub fn preheat_content(&self, node: &Arc<Node>, several: impl FnOnce() -> bool) {
        self.hot.preheat(node, Kind::Content, several);
    }

    /// [`Self::heat_names`], before any lock is taken.
    pub fn preheat_names(&self, dir: &Arc<Node>) {
        self.hot.preheat(dir, Kind::Names, || false);
    }

    /// Names of a directory are about to change: noted for the time after a power cut. The caller holds the namespace lock.
    pub fn heat_names(&self, names: &Names, dir: &Arc<Node>) {
        self.hot.heat(names, dir, Kind::Names, || false);
    }

    /// This is about to have another name: noted for the time after a power cut, if it is a directory. The caller holds the namespace lock.
    pub fn heat_moved(&self, names: &Names, node: &Arc<Node>) {
        if node.is_dir() {
            self.hot.heat(names, node, Kind::Below, || false);
        }
    }

    /// This came to be just now. The caller holds the names exclusively.
    pub fn born(&self, node: &Node) {
        self.hot.born(node);
    }

    /// Makes everything durable that was changed on SRC.
    pub fn sync_source(&self) -> std::io::Result<()> {
        Ok(rustix::fs::syncfs(self.tree.root_fd())?)
    }

    /// The lanes beside the ordered stream.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// NAME.
    pub fn name(&self) -> &Name {
        &self.config.name
    }

    /// What is replicated now.
    pub fn set(&self) -> Arc<set::Set> {
        Arc::clone(&self.set.read())
    }

    /// Whether there is no target, and nothing need be described.
    pub fn is_bypassed(&self) -> bool {
        self.config.bypassed
    }

    /// Says how to wake the connection when there is something to send. Once.
    pub fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let first = self.wake.set(Box::new(wake)).is_ok();
        assert!(first, "the connection is attached once");
    }

    /// What calls that wait for the target tell so, from now on. Once.
    pub fn stay_awake(&self, awake: Arc<Awake>) {
        let first = self.awake.set(awake).is_ok();
        assert!(first, "it is told once");
    }

    /// A call begins to wait for the target.
    fn waits_for_target(&self) {
        if let Some(awake) = self.awake.get() {
            awake.waits();
        }
    }

    /// Something more is queued. Who sends looks at it again at once, or when it is his time.
    fn wake_for(&self, core: &Core) {
        if !core.gathers() || core.backlog.unsent() <= 1 {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

//! The source: the real SRM without its threads, over a real directory and a real journal; and what the FUSE layer does with it for an operation.

use super::bug::Bug;
use super::line::Line;
use super::moments::Moments;
use platform::killpoint::{self, KillPoint};
use platform::sys::attr;
use platform::tree::Tree;
use protocol::{Name, NodeKind, Op, Owner, Place, ReplicaId};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use srm::status::{CommitMode, NearBounds};
use srm::{AreaConfig, AreaKind, BEGIN_ANEW, Commit, Compare, Config, Gone, JournalConfig, Proposed, Srm, Ticket};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the journal: little, and enough.
const JOURNAL_BYTES: u64 = 5 << 20;
/// An operation that nobody answers would wait so long; nobody waits here.
const LONG: Duration = Duration::from_secs(600);
/// Nothing is silent here but by mistake.
const SHORT: Duration = Duration::from_millis(200);

/// What an application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Writes the operation's number into one of the files that are always there.
    Write,
    /// Makes a file.
    Create,
    /// Removes one that was there.
    Remove,
}

/// Who cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody.
    None,
    /// The source.
    Source,
    /// The target, where it is asked.
    Target,
}

/// See [`What`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    pub what: What,
    /// Which file.
    pub file: u64,
    pub refusal: Refusal,
}

impl Action {
    /// The file's name.
    pub fn name(&self) -> String {
        let kind = match self.what {
            What::Write => "written",
            What::Create => "made",
            What::Remove => "removed",
        };
        format!("{kind}{}", self.file)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.what, self.name())
    }
}

/// Where a source's directories are, and what its machine is.
pub struct Host {
    pub top: PathBuf,
    pub boot: u8,
    pub replica: Option<ReplicaId>,
    pub mode: CommitMode,
    pub bounds: NearBounds,
    pub bug: Option<Bug>,
}

impl Host {
    pub fn src(&self) -> PathBuf {
        self.top.join("src")
    }

    /// What is in memory of what the next daemon is to know.
    pub fn small(&self) -> PathBuf {
        self.top.join("small")
    }

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.top.join("journal")
    }

    /// On a disk in one mode, so that its waits for the disk are moments too. They cost time.
    pub fn area(&self) -> AreaKind {
        if self.mode == CommitMode::Real { AreaKind::Disk } else { AreaKind::Memory }
    }

    fn commit(&self) -> Commit {
        let near = match self.bug {
            Some(Bug::LooseOperations) => NearBounds { operations: self.bounds.operations + 1, ..self.bounds },
            Some(Bug::LooseBytes) => NearBounds { bytes: self.bounds.bytes + 300, ..self.bounds },
            _ => self.bounds,
        };
        Commit { near, strict: true, ..Commit::new(self.mode) }
    }

    fn config(&self) -> io::Result<Config> {
        let areas = vec![AreaConfig::new(self.area(), self.journal(), JOURNAL_BYTES)];
        let (dir, hot) = (self.small(), self.top.join("hot"));
        let journal = JournalConfig { dir, areas, boot: [self.boot; 16], may_resume: true, hot };
        Ok(Config {
            name: Name::new(b"simulated").map_err(io::Error::other)?,
            source: String::new(),
            mountpoint: String::new(),
            target: String::new(),
            commit: self.commit(),
            degrade_after: LONG,
            retry_after: None,
            remote_timeout: SHORT,
            backlog_bytes: srm::MIN_BACKLOG_BYTES,
            journal: Some(journal),
            adopt: false,
            replica: self.replica,
            clean_end_secs: None,
            submounts: Vec::new(),
            software: String::new(),
            set: srm::set::Set::everything(),
            sweep: None,
            bypassed: false,
            compare: Compare::default(),
        })
    }

    /// Starts a daemon.
    pub fn start(&self, moments: Rc<Moments>) -> io::Result<Source> {
        let root = rustix::fs::open(self.src(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let tree = Arc::new(Tree::new(root.as_fd())?);
        let srm = Srm::stepped(Arc::clone(&tree), self.config()?)?;
        srm.on_wake(Line::wake);
        Ok(Source { srm, tree, src: self.src(), moments, bug: self.bug })
    }
}

/// A daemon.
pub struct Source {
    pub srm: Arc<Srm>,
    tree: Arc<Tree>,
    src: PathBuf,
    moments: Rc<Moments>,
    bug: Option<Bug>,
}

fn eperm() -> io::Error {
    Errno::PERM.into()
}

impl Source {
    /// Carries an operation out as the FUSE layer does; what is to be committed. An error: what the application is told.
    pub fn act(&self, action: Action, number: u64) -> io::Result<Ticket> {
        self.srm.wait_until_proposable()?;
        match action.what {
            What::Write => self.write(action, number),
            What::Create => self.create(action),
            What::Remove => self.remove(action),
        }
    }

    /// The system call, where it is not refused; what was proposed is put back then.
    fn decided(
        &self,
        names: &platform::tree::Names,
        action: Action,
        proposed: Option<Proposed>,
        call: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Option<Proposed>> {
        self.moments.step("the system call is about to be made");
        if action.refusal == Refusal::Source {
            if self.bug == Some(Bug::ForgetPutBack) {
                std::mem::forget(proposed);
            } else {
                self.srm.put_back(names, proposed);
            }
            return Err(eperm());
        }
        call(&self.src.join(action.name()))?;
        Ok(proposed)
    }

    fn write(&self, action: Action, number: u64) -> io::Result<Ticket> {
        let name = Name::new(action.name().as_bytes()).map_err(io::Error::other)?;
        let payload = number.to_le_bytes();
        let names = self.tree.names().read();
        let (node, _) = self.tree.lookup(&names, self.tree.root(), &name, 0)?;
        let lock = node.lock.lock();
        self.srm.heat_content(&names, &node);
        let op = |place: Place, mtime| Op::Write { place, offset: 0, mtime, mode: None, durable: false };
        let asks = self.bug != Some(Bug::Unasked);
        let first = |place| op(place, srm::now());
        let proposed = if asks { self.srm.propose_node(&names, &node, &payload, first)? } else { None };
        let proposed = self.decided(&names, action, proposed, |path| {
            let file = std::fs::File::options().write(true).open(path)?;
            std::os::unix::fs::FileExt::write_all_at(&file, &payload, 0)
        })?;
        self.moments.disk(|disk| disk.now.insert(action.name(), number));
        killpoint::pass(KillPoint::Changed);
        let mtime = attr::mtime(&self.tree.stat(&names, &node)?);
        let ticket = self.srm.on_node(&names, &node, &payload, |place| op(place, mtime));
        killpoint::pass(KillPoint::Numbered);
        drop((proposed, lock, names));
        Ok(ticket)
    }

    fn create(&self, action: Action) -> io::Result<Ticket> {
        let name = Name::new(action.name().as_bytes()).map_err(io::Error::other)?;
        let mut names = self.tree.names().write();
        let root = self.tree.root();
        self.srm.heat_names(&names, root);
        let owner = Owner { uid: 0, gid: 0 };
        let asks = self.bug != Some(Bug::Unasked);
        let propose = || self.srm.propose_create(&names, root, &name, &NodeKind::File, (owner, 0o644));
        let proposed = if asks { propose()? } else { None };
        let proposed = self.decided(&names, action, proposed, |path| std::fs::File::create_new(path).map(drop))?;
        self.moments.disk(|disk| disk.now.insert(action.name(), 0));
        let (node, stat) = self.tree.lookup(&names, root, &name, 1)?;
        self.srm.born(&node);
        let mtime = attr::mtime(&attr::stat(self.tree.root_fd())?);
        killpoint::pass(KillPoint::Changed);
        let ticket = self.srm.created(&mut names, root, &name, &node, NodeKind::File, attr::attrs(&stat), mtime);
        killpoint::pass(KillPoint::Numbered);
        drop((proposed, names));
        Ok(ticket)
    }

    fn remove(&self, action: Action) -> io::Result<Ticket> {
        let name = Name::new(action.name().as_bytes()).map_err(io::Error::other)?;
        let mut names = self.tree.names().write();
        let root = self.tree.root();
        self.srm.heat_names(&names, root);
        let (node, _, _) = self.tree.find_at(&names, self.tree.root_fd(), root, &name)?;
        let gone = Gone { node: node.id(), ino: node.ino(), links_left: 0, orphan: false, directory: false };
        let asks = self.bug != Some(Bug::Unasked);
        let proposed = if asks { self.srm.propose_unlink(&names, root, &name, &gone)? } else { None };
        let unlink = |_: &Path| Ok(rustix::fs::unlinkat(self.tree.root_fd(), name.as_os_str(), AtFlags::empty())?);
        let proposed = self.decided(&names, action, proposed, unlink)?;
        self.moments.disk(|disk| disk.now.remove(&action.name()));
        let mtime = attr::mtime(&attr::stat(self.tree.root_fd())?);
        node.remove_link(&mut names, root, &name);
        killpoint::pass(KillPoint::Changed);
        let ticket = self.srm.unlinked(&mut names, root, &name, gone, mtime);
        killpoint::pass(KillPoint::Numbered);
        drop((proposed, names));
        self.tree.settle(node);
        Ok(ticket)
    }
}

/// Whether an operation is to be begun anew: nothing was changed, and nobody is told.
pub fn is_to_begin_anew(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(BEGIN_ANEW)
}

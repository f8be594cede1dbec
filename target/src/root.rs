//! ROOT: opening it, its lock and marker, and the replicas that are known there.

use crate::error::{TargetError, means_unwritable};
use crate::home::Home;
use crate::lane::Lanes;
use crate::limits::Limits;
use crate::owner::Owner;
use crate::queue::Queue;
use crate::reading::Reading;
use crate::session::finished;
use crate::status::{Facts, STATUS_VERSION, TargetStatus};
use parking_lot::Mutex;
use platform::awake::Awake;
use protocol::{Incarnation, Name};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// The directory below ROOT that holds what is replfs's own.
pub(crate) const OWN: &str = ".replfs";

/// How long a session that is to end may take to stop applying.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where replicas are kept.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// ROOT. Its last part is made when it is missing.
    pub root: PathBuf,
    /// The replfs version of this program, for people.
    pub software: String,
    /// What every source may do to the disk.
    pub limits: Limits,
}

/// One ROOT, open and locked.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    pub(crate) software: String,
    pub(crate) limits: Limits,
    /// ROOT.
    pub(crate) root: OwnedFd,
    /// ROOT/.replfs.
    pub(crate) own: OwnedFd,
    /// Reads for the owners of replicas, beside their sessions.
    pub(crate) reading: Arc<Reading>,
    /// Held as long as this lives.
    _lock: OwnedFd,
    slots: Mutex<BTreeMap<Name, Arc<Slot>>>,
    closing: AtomicBool,
    keeps_images: AtomicBool,
    /// Told of sources that wait.
    awake: OnceLock<Arc<Awake>>,
}

/// What is known of one NAME, whether or not its source is connected.
#[derive(Debug)]
pub(crate) struct Slot {
    pub facts: Arc<Facts>,
    /// One source is let in at a time.
    pub admission: tokio::sync::Mutex<()>,
    current: Mutex<Option<Current>>,
}

/// The session that has a replica, or had it last.
#[derive(Debug)]
pub(crate) struct Current {
    pub queue: Arc<Queue>,
    pub home: Arc<Home>,
    /// What its source is told by, whichever key it has: [`crate::Peer::identity`].
    pub peer: String,
    /// The source's run of numbers.
    pub incarnation: Incarnation,
    /// What comes beside it.
    pub lanes: Arc<Lanes>,
    /// Closed when nothing is applied any more.
    pub done: watch::Receiver<()>,
}

/// ROOT/.replfs/root: which directory ROOT was.
#[derive(Serialize, Deserialize)]
struct Marker {
    version: u32,
    inode: u64,
}

impl Target {
    /// Opens ROOT, makes what is missing in it, and locks it. Sets the umask of the process to zero: replicas have exact
    /// permissions, which a umask would take from.
    pub fn open(config: TargetConfig) -> Result<Arc<Self>, TargetError> {
        rustix::process::umask(Mode::empty());
        let TargetConfig { root: path, software, limits } = config;
        let fail = |at: &Path, source: io::Error| {
            if means_unwritable(&source) {
                TargetError::Unwritable { path: at.to_owned(), source }
            } else {
                TargetError::System { what: format!("cannot open {}", at.display()), source }
            }
        };
        // Where ROOT is, is for the user to say, with links as he likes.
        let root = open_or_make_as(rustix::fs::CWD, &path, 0o755, OFlags::empty()).map_err(|e| fail(&path, e))?;
        let path = path.canonicalize().map_err(|e| fail(&path, e))?;
        let own_path = path.join(OWN);
        let own = open_or_make(root.as_fd(), Path::new(OWN), 0o700).map_err(|e| fail(&own_path, e))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock_path = own_path.join("lock");
        let lock =
            rustix::fs::openat(&own, "lock", flags, Mode::RUSR | Mode::WUSR).map_err(|e| fail(&lock_path, e.into()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(TargetError::InUse { path }),
            Err(e) => return Err(fail(&lock_path, e.into())),
        }
        check_marker(&path, &root, &own).map_err(|error| match error {
            MarkerError::Io(e) => fail(&own_path.join("root"), e),
            MarkerError::Changed(why) => TargetError::Changed { path: path.clone(), why },
        })?;
        let reading = Reading::of(&root, &own, &software).map_err(|e| fail(&path, e))?;
        let (slots, closing, keeps_images) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
        let awake = OnceLock::new();
        let target =
            Self { path, software, limits, root, own, reading, _lock: lock, slots, closing, keeps_images, awake };
        target.find_replicas().map_err(|e| fail(&own_path, e))?;
        Ok(Arc::new(target))
    }

    /// Whether the last coherent state of a replica is kept while repair makes it another, where the file system can share its data. For sessions that
    /// begin from now on.
    pub fn keep_images(&self, keep: bool) {
        self.keeps_images.store(keep, Ordering::Relaxed);
    }

    /// What sessions of sources that wait tell so, from now on. Once.
    pub fn stay_awake(&self, awake: Arc<Awake>) {
        let first = self.awake.set(awake).is_ok();
        assert!(first, "it is told once");
    }

    pub(crate) fn awake(&self) -> Arc<Awake> {
        self.awake.get().map(Arc::clone).unwrap_or_default()
    }

    pub(crate) fn keeps_images(&self) -> bool {
        self.keeps_images.load(Ordering::Relaxed)
    }

    /// ROOT, without symbolic links.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// Everything that is known now.
    pub fn status(&self) -> TargetStatus {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let mut sources = Vec::with_capacity(slots.len());
        for slot in slots {
            let mut entry = slot.facts.snapshot();
            // Names of which nothing came (a refused source) are nobody's.
            if !entry.owner.is_empty() {
                entry.connected = slot.is_busy();
                entry.quota = slot.current.lock().as_ref().and_then(|current| current.home.quota.status());
                sources.push(entry);
            }
        }
        let root = self.path.display().to_string();
        TargetStatus { version: STATUS_VERSION, root, software: self.software.clone(), sources }
    }

    /// Ends all sessions, lets no new one in, and makes what was applied durable. Returns when that is done, or failed
    /// for a session that does not stop within ten seconds.
    pub async fn shutdown(&self) {
        self.closing.store(true, Ordering::Release);
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        for slot in &slots {
            slot.cancel();
        }
        for slot in slots {
            if !slot.stop().await {
                tracing::warn!(name = slot.facts.snapshot().name, "the session did not stop in time");
                continue;
            }
            let home = slot.current.lock().take().map(|current| current.home);
            if let Some(home) = home {
                let facts = slot.facts.clone();
                // The task ends by itself; that it could not be joined changes nothing.
                let _ = tokio::task::spawn_blocking(move || match home.make_durable() {
                    Ok(_) => facts.position(home.position(), home.state().is_some_and(|s| s.coherent)),
                    Err(e) => facts.error(format!("not durable: {}", e.text)),
                })
                .await;
            }
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn slot(&self, name: &Name) -> Arc<Slot> {
        self.slots.lock().entry(name.clone()).or_insert_with(|| Arc::new(Slot::new(name))).clone()
    }

    /// The lanes of the session that the source `peer` has with a replica in this run of numbers, if it has one.
    pub(crate) fn lanes(&self, name: &Name, peer: &str, incarnation: Incarnation) -> Option<Arc<Lanes>> {
        let slot = self.slots.lock().get(name).cloned()?;
        let current = slot.current.lock();
        let current = current.as_ref().filter(|c| c.peer == peer && c.incarnation == incarnation)?;
        Some(current.lanes.clone())
    }

    /// Forgets a name of which nothing came, so that names cannot be piled up by asking for them.
    pub(crate) fn forget(&self, name: &Name) {
        let mut slots = self.slots.lock();
        if slots.get(name).is_some_and(|slot| slot.facts.snapshot().owner.is_empty() && !slot.is_busy()) {
            slots.remove(name);
        }
    }

    /// Shows in the status what earlier daemons left here.
    fn find_replicas(&self) -> io::Result<()> {
        for name in platform::sys::dir::names(self.own.as_fd())? {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let Ok(meta) = rustix::fs::openat(&self.own, name.as_bytes(), flags, Mode::empty()) else { continue };
            let owner = match Owner::read(meta.as_fd()) {
                Ok(Some(owner)) => owner,
                Ok(None) => continue,
                Err(e) => {
                    // Its source is refused with the same words when it comes.
                    tracing::warn!(%name, error = %e, "cannot read the owner of a replica");
                    continue;
                }
            };
            let facts = self.slot(&name).facts.clone();
            let (_, position) = crate::position::SlotFile::open(meta.as_fd(), "position")?;
            let (_, durable) = crate::position::SlotFile::open(meta.as_fd(), "durable")?;
            let image = crate::image::find(meta.as_fd())?;
            let undo = crate::undo::find(meta.as_fd())?;
            facts.update(|s| {
                s.owner = owner.source;
                s.incarnation = position.map(|p| p.incarnation.to_string());
                s.applied = position.map_or(0, |p| p.applied);
                s.durable = durable.map_or(0, |d| d.applied);
                s.coherent = position.is_some_and(|p| p.coherent);
                s.aside_entries = crate::aside::count(meta.as_fd());
                s.image = image;
                s.undo = undo;
            });
        }
        Ok(())
    }
}

impl Slot {
    fn new(name: &Name) -> Self {
        let facts = Arc::new(Facts::new(&name.to_string()));
        Self { facts, admission: tokio::sync::Mutex::new(()), current: Mutex::new(None) }
    }

    /// A session has this replica.
    fn is_busy(&self) -> bool {
        self.current.lock().as_ref().is_some_and(|c| c.done.has_changed().is_ok() && !c.queue.is_ended())
    }

    pub fn occupy(&self, current: Current) {
        *self.current.lock() = Some(current);
    }

    pub fn cancel(&self) {
        if let Some(current) = &*self.current.lock() {
            current.queue.cancel();
            current.lanes.end();
        }
    }

    /// Ends the session that has this replica and its lanes, and waits until they touch nothing any more. `false`: one does
    /// not stop.
    pub async fn stop(&self) -> bool {
        self.cancel();
        let current = self.current.lock().as_ref().map(|c| (c.done.clone(), c.lanes.clone()));
        let Some((mut done, lanes)) = current else { return true };
        let ended = async {
            finished(&mut done).await;
            lanes.ended().await;
        };
        tokio::time::timeout(STOP_TIMEOUT, ended).await.is_ok()
    }
}

/// Opens a directory, making it where it is missing. One that a symbolic link leads to is none: what is replfs's own is where
/// ROOT is, whoever may write there.
pub(crate) fn open_or_make(at: impl AsFd, name: &Path, mode: u32) -> io::Result<OwnedFd> {
    open_or_make_as(at, name, mode, OFlags::NOFOLLOW)
}

fn open_or_make_as(at: impl AsFd, path: &Path, mode: u32, follow: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
    match rustix::fs::openat(&at, path, flags, Mode::empty()) {
        Ok(fd) => return Ok(fd),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    match rustix::fs::mkdirat(&at, path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(rustix::fs::openat(&at, path, flags, Mode::empty())?)
}

enum MarkerError {
    Io(io::Error),
    Changed(String),
}

/// Its file in ROOT/.replfs.
const MARKER: &str = "root";
const MARKER_NEW: &str = "root.new";
/// Larger than any that was written by us.
const MARKER_BYTES: u64 = 4096;

fn check_marker(path: &Path, root: &OwnedFd, own: &OwnedFd) -> Result<(), MarkerError> {
    let inode = platform::sys::attr::stat(root).map_err(MarkerError::Io)?.st_ino;
    match read_marker(own) {
        Ok(bytes) => match serde_json::from_slice::<Marker>(&bytes) {
            Ok(marker) if marker.inode == inode => Ok(()),
            Ok(marker) => Err(MarkerError::Changed(format!("inode {inode}, it was {}", marker.inode))),
            Err(e) => Err(MarkerError::Changed(format!("{}/{OWN}/{MARKER} does not parse: {e}", path.display()))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let bytes = serde_json::to_vec(&Marker { version: 1, inode }).map_err(|e| MarkerError::Io(e.into()))?;
            write_marker(own, &bytes).map_err(MarkerError::Io)?;
            tracing::info!(root = %path.display(), "this is a new root");
            Ok(())
        }
        Err(e) => Err(MarkerError::Io(e)),
    }
}

fn read_marker(own: &OwnedFd) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::openat(own, MARKER, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MARKER_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_marker(own: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    File::from(rustix::fs::openat(own, MARKER_NEW, flags, mode)?).write_all(bytes)?;
    Ok(rustix::fs::renameat(own, MARKER_NEW, own, MARKER)?)
}

//! `peers.json`: read whenever it has changed, written whole under a lock, by daemons and commands alike. It is versioned, and for nobody
//! else to read.

use super::Peers;
use crate::key::Fingerprint;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSION: u32 = 1;
/// More than anybody has peers for.
const MOST_BYTES: u64 = 16 << 20;

/// Why it cannot be known who is known.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read or write it.
    #[error("{} can be read by others (mode {mode:o}); run 'chmod 600' on it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not what it should be.
    #[error("{} does not parse: {reason}; restore it, or move it away and pair again", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    peers: &'a Peers,
}

#[derive(Deserialize)]
struct Recorded {
    version: u32,
    #[serde(flatten)]
    peers: Peers,
}

/// What tells one state of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u64, i64, i64, u64);

/// The peers of a node.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// As they were last read.
    read: Mutex<Option<(Mark, Arc<Peers>)>>,
}

impl Store {
    /// Those in a state directory.
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("peers.json"), read: Mutex::new(None) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As they are now.
    pub fn get(&self) -> Result<Arc<Peers>, PeersError> {
        let fail = |source| PeersError::Io { path: self.path.clone(), source };
        let file = match OpenOptions::new().read(true).open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(e) => return Err(fail(e)),
        };
        let meta = file.metadata().map_err(fail)?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(PeersError::Exposed { path: self.path.clone(), mode });
        }
        let mark = mark(&meta);
        let mut read = self.read.lock();
        if let Some((_, peers)) = read.as_ref().filter(|(then, _)| *then == mark) {
            return Ok(Arc::clone(peers));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(fail)?;
        let peers = Arc::new(self.parse(&bytes)?);
        *read = Some((mark, Arc::clone(&peers)));
        Ok(peers)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Peers, PeersError> {
        let bad = |reason: String| PeersError::Bad { path: self.path.clone(), reason };
        let recorded: Recorded = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if recorded.version != VERSION {
            return Err(bad(format!("version {}, this replfs reads {VERSION}", recorded.version)));
        }
        Ok(recorded.peers)
    }

    /// Changes them; what `change` leaves is durable when this returns. Where it changes nothing, nothing is written.
    pub fn change<T>(&self, change: impl FnOnce(&mut Peers) -> T) -> Result<T, PeersError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| PeersError::Io { path, source }
        };
        let lock_path = self.path.with_extension("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::open(&lock_path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(io::Error::from)
            .map_err(fail(&lock_path))?;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(io::Error::from).map_err(fail(&lock_path))?,
            }
        }
        let before = self.get()?;
        let mut peers = Peers::clone(&before);
        let outcome = change(&mut peers);
        if peers != *before {
            self.write(&peers).map_err(fail(&self.path))?;
        }
        Ok(outcome)
    }

    /// A crash at any moment leaves the old ones or the new ones.
    fn write(&self, peers: &Peers) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&Written { version: VERSION, peers })?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Whether every peer knows this node by this key.
    pub fn all_know(&self, ours: Fingerprint) -> Result<bool, PeersError> {
        Ok(self.get()?.peers.iter().all(|peer| peer.ours == ours))
    }
}

fn mark(meta: &Metadata) -> Mark {
    Mark(meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size())
}

//! What a target tells about itself: the status document, and the counters behind it.

use crate::quota::QuotaStatus;
use parking_lot::Mutex;
use protocol::{Position, RelPath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of [`TargetStatus`]; goes up when a field changes its meaning or goes.
pub const STATUS_VERSION: u32 = 1;

/// A target and the replicas it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// ROOT.
    pub root: String,
    /// The replfs version of this target.
    pub software: String,
    /// By name.
    pub sources: Vec<ReplicaStatus>,
}

/// What a record waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The path concerned; empty where there is none.
    pub path: String,
    /// Why it cannot be applied now.
    pub reason: String,
}

/// The tree as it was before repair began, in ROOT/.replfs/NAME/image/NUMBER-TAKEN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageStatus {
    /// Everything up to this number was applied.
    pub number: u64,
    /// When it was taken, in UTC.
    pub taken: String,
}

/// How often something was kept in extended attributes and not put in force, since this daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptStatus {
    /// Owners that this target cannot give.
    pub owners: u64,
    /// Permissions of what has its owner: setuid and setgid that are not to be in force, and what would lock the target out.
    pub permissions: u64,
    /// Devices, and what else was not made.
    pub devices: u64,
    /// Extended attributes: capabilities, and those that are for root.
    pub attributes: u64,
}

impl KeptStatus {
    /// Whether anything was kept.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// One replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// The directory below ROOT.
    pub name: String,
    /// Fingerprint of the source that owns it.
    pub owner: String,
    /// The source is connected now.
    pub connected: bool,
    /// Run of numbers that the positions belong to, in hexadecimal.
    pub incarnation: Option<String>,
    /// Operations up to this number are applied.
    pub applied: u64,
    /// Operations up to this number survive a power cut here.
    pub durable: u64,
    /// The replica is a state that the source had, not one under repair.
    pub coherent: bool,
    /// What the stream stands at, if it stands.
    pub blocked: Option<Blocked>,
    /// Operations applied since this daemon started, by kind.
    pub operations: BTreeMap<String, u64>,
    /// Payload bytes received since this daemon started.
    pub bytes_received: u64,
    /// Sessions since this daemon started.
    pub sessions: u64,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// Things that were set aside and are still listed in ROOT/.replfs/NAME/aside/index.
    pub aside_entries: u64,
    /// The last coherent state, kept while the replica is none.
    #[serde(default)]
    pub image: Option<ImageStatus>,
    /// What the undo log takes the replica back to, which is kept where the file system cannot clone.
    #[serde(default)]
    pub undo: Option<ImageStatus>,
    /// Lanes that are open, over which content comes beside the stream.
    #[serde(default)]
    pub lanes: u64,
    /// The first 16 bytes of BLAKE3 of the replication set that the source had in force when it connected, in hexadecimal; none where it replicates
    /// everything, or did not say.
    #[serde(default)]
    pub set: Option<String>,
    /// Operations that were looked at before their turn, since this daemon started, because reads of the disk were waited for.
    #[serde(default)]
    pub read_ahead: u64,
    /// Changes of owner that this target, not being root, could not make, nor keep in extended attributes.
    pub owners_not_set: u64,
    /// What was kept in extended attributes instead of being put in force.
    #[serde(default)]
    pub kept: KeptStatus,
    /// What it takes and may take of the disk, where that is bounded; of a source that was connected since this daemon started.
    #[serde(default)]
    pub quota: Option<QuotaStatus>,
}

/// The live counters of one replica.
#[derive(Debug, Default)]
pub(crate) struct Facts(Mutex<ReplicaStatus>);

impl Facts {
    pub fn new(name: &str) -> Self {
        Self(Mutex::new(ReplicaStatus { name: name.to_owned(), ..ReplicaStatus::default() }))
    }

    pub fn snapshot(&self) -> ReplicaStatus {
        self.0.lock().clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut ReplicaStatus)) {
        change(&mut self.0.lock());
    }

    pub fn position(&self, position: Option<Position>, coherent: bool) {
        self.update(|s| {
            s.incarnation = position.map(|p| p.incarnation.to_string());
            s.applied = position.map_or(0, |p| p.applied.get());
            s.durable = position.map_or(0, |p| p.durable.get());
            s.coherent = coherent;
        });
    }

    pub fn applied(&self, word: &str, seq: u64, coherent: bool) {
        self.update(|s| {
            match s.operations.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(s.operations.insert(word.to_owned(), 1)),
            }
            s.applied = seq;
            s.coherent = coherent;
        });
    }

    pub fn blocked(&self, path: Option<&RelPath>, reason: &str) {
        self.update(|s| {
            let path = path.map(ToString::to_string).unwrap_or_default();
            s.last_error = Some(format!("blocked: {path}, {reason}"));
            s.blocked = Some(Blocked { path, reason: reason.to_owned() });
        });
    }

    pub fn error(&self, text: String) {
        self.update(|s| s.last_error = Some(text));
    }
}

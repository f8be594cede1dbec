//! What `replfs status --json` says, as far as the suites look at it: a reader of its own, so that a change of the document
//! that would break other programs breaks here first.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The version of the document that this reader knows.
pub const VERSION: u32 = 1;

/// The whole document.
#[derive(Clone, Debug, Deserialize)]
pub struct Document {
    /// [`VERSION`].
    pub version: u32,
    /// Mounts.
    pub sources: Vec<Source>,
    /// Target daemons; only that they are listed matters here.
    pub targets: Vec<serde_json::Value>,
}

/// One mount.
#[derive(Clone, Debug, Deserialize)]
pub struct Source {
    /// NAME.
    pub name: String,
    /// SRC.
    pub source: String,
    /// MNT.
    pub mountpoint: String,
    /// The daemon.
    pub pid: u32,
    /// `sync` or `real`.
    pub commit: String,
    /// `through` or `writeback`.
    pub cache: String,
    /// Times that the source's disk was waited for, in `local`.
    #[serde(default)]
    pub local_syncs: u64,
    /// Applications that were answered after that.
    #[serde(default)]
    pub local_answered: u64,
    /// Operations by kind.
    pub operations: BTreeMap<String, u64>,
    /// Highest number given out.
    pub sequence: u64,
    /// Up to this everything is durable on both sides.
    #[serde(default)]
    pub checkpoint: Option<u64>,
    /// What would be compared by content after a power cut.
    #[serde(default)]
    pub hot: u64,
    /// Bytes kept.
    pub backlog_bytes: u64,
    /// Bound of those.
    pub backlog_limit: u64,
    /// Where that is.
    #[serde(default)]
    pub journal: Vec<JournalArea>,
    /// Other file systems below SRC.
    pub submounts: Vec<String>,
    /// What the file system layer holds.
    pub fsi: Fsi,
    /// One today.
    pub targets: Vec<Target>,
}

/// A place of the journal.
#[derive(Clone, Debug, Deserialize)]
pub struct JournalArea {
    /// `memory`, `disk` or `extension`.
    pub kind: String,
    /// Its bound in bytes.
    pub limit_bytes: u64,
}

/// What the daemon holds for the kernel.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Fsi {
    /// Inodes that the kernel knows, and the directories above them.
    pub nodes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// What is remembered while nothing is sent.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Held {
    /// Names and nodes.
    pub entries: u64,
    /// Bytes of changed ranges.
    pub bytes: u64,
}

/// One target of a mount.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// As the user named it.
    pub target: String,
    /// `setup`, `connected`, `accumulating`, `mirroring`, `blocked` or `refused`.
    pub state: String,
    /// Changes were not kept.
    pub mirror_due: bool,
    /// What is remembered while nothing is sent.
    pub held: Held,
    /// The replica is a state that the source had.
    pub coherent: bool,
    /// Where it is not and the end is known: the number with which it is again.
    pub incoherent_until: Option<u64>,
    /// Where it is not: the number from which on it is not a prefix.
    pub incoherent_from: Option<u64>,
    /// The mode in force is weaker than the one asked for.
    pub degraded: bool,
    /// In `remote`, paths of which it is not known what the target did.
    #[serde(default)]
    pub undecided: Vec<String>,
    /// Operations sent, by kind.
    pub operations: BTreeMap<String, u64>,
    /// What is not yet applied.
    pub lag: Lag,
    /// Highest number applied.
    pub applied: u64,
    /// Highest number durable.
    pub durable: u64,
    /// Path and reason.
    pub blocked: Option<String>,
    /// What the target is long at.
    pub slow: Option<Slow>,
    /// Of the connection or the target.
    pub last_error: Option<String>,
    /// Connections after the first.
    pub reconnects: u64,
    /// Bytes sent, frames included.
    pub sent_bytes: u64,
    /// What is held until a rule lets go of it.
    pub send: Send,
    /// Bytes that were to be sent to a target that takes them packed.
    pub packed_from_bytes: u64,
    /// What they were then.
    pub packed_bytes: u64,
    /// How each open stream is packed now.
    pub packing: BTreeMap<String, String>,
    /// Connections that are open beside the ordered one.
    pub lanes: u64,
    /// Network paths.
    pub paths: Vec<Path>,
    /// The mirror pass that runs, or the last one.
    pub pass: Pass,
    /// Mirror passes finished.
    pub passes: u64,
    /// What the pass cannot read.
    pub unreadable: Vec<String>,
    /// What the target could not carry out.
    pub flagged: Vec<Flagged>,
    /// How many places that are.
    pub flagged_count: u64,
}

/// What is held until a rule lets go of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Send {
    /// The rules.
    pub rules: Vec<serde_json::Value>,
    /// Something is held.
    pub holding: bool,
    /// Operations that are.
    pub operations: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Age of the oldest.
    pub millis: u64,
    /// When time alone lets go of them.
    pub opens_in_ms: Option<u64>,
}

/// A network path.
#[derive(Clone, Debug, Deserialize)]
pub struct Path {
    /// Where it begins.
    pub local: String,
    /// Where the target is over it.
    pub target: String,
    /// `untried`, `alive` or `dead`.
    pub state: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why it is dead.
    pub reason: Option<String>,
    /// The session is on it.
    pub session: bool,
    /// Lanes that are on it.
    pub lanes: u64,
    /// Bytes that left over it.
    pub sent_bytes: u64,
}

/// What the target is long at.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Slow {
    /// The number of the operation.
    pub sequence: u64,
    /// For so long.
    pub millis: u64,
}

/// A place that is not on the target as it should be.
#[derive(Clone, Debug, Deserialize)]
pub struct Flagged {
    /// Below SRC.
    pub path: String,
    /// The operation and the error.
    pub reason: String,
    /// Operations that were passed over here.
    pub operations: u64,
}

/// How far a mirror pass is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Pass {
    /// Names compared.
    pub entries: u64,
    /// Entries that differed.
    pub repaired: u64,
    /// Bytes of content sent.
    pub sent_bytes: u64,
    /// Bytes to be looked at, as far as is known.
    pub total_bytes: u64,
    /// Of those, looked at.
    pub done_bytes: u64,
    /// Directories are still being listed.
    pub scanning: bool,
    /// Names that cannot be read.
    pub unreadable: u64,
}

/// How far behind.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Lag {
    /// Operations not yet applied.
    pub operations: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Age of the oldest.
    pub millis: u64,
}

impl Source {
    /// The only target.
    pub fn target(&self) -> &Target {
        assert!(self.targets.len() == 1, "one target expected: {:?}", self.targets);
        &self.targets[0]
    }

    /// Everything so far has reached the target, and the mode asked for is in force.
    pub fn is_settled(&self) -> bool {
        let target = self.target();
        target.state == "connected"
            && target.coherent
            && !target.degraded
            && !target.mirror_due
            && target.lag.operations == 0
    }
}

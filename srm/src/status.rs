//! What the source shows of itself and its target (W2): numbers and states, for people and programs. Formatting is
//! the command line's.

use crate::sending::Rule;
use crate::verify::VerifyStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a change is acknowledged to the application (S2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitMode {
    /// After source and target have it.
    Sync,
    /// After it is queued, unless the target is further behind than a bound.
    Near,
    /// After it is queued.
    Real,
    /// After it is durable on the source.
    Local,
    /// After source and target have it; the target is asked first, and what one of them cannot do neither does.
    Remote,
}

impl CommitMode {
    /// Whether an application may have to wait for the target.
    pub fn waits(self) -> bool {
        matches!(self, Self::Sync | Self::Near | Self::Remote)
    }
}

impl std::str::FromStr for CommitMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sync" => Ok(Self::Sync),
            "near" => Ok(Self::Near),
            "real" => Ok(Self::Real),
            "local" => Ok(Self::Local),
            "remote" => Ok(Self::Remote),
            _ => Err(format!("unknown commit mode '{text}'; use sync, near, real, local or remote")),
        }
    }
}

impl std::fmt::Display for CommitMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Near => "near",
            Self::Real => "real",
            Self::Local => "local",
            Self::Remote => "remote",
        })
    }
}

/// Where what an application writes is when its call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// With the daemon: every call is an operation of its own.
    #[default]
    Through,
    /// In the kernel's cache, which gathers it until it is synced, closed, or the kernel likes.
    Writeback,
}

impl std::str::FromStr for CacheMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "through" => Ok(Self::Through),
            "writeback" => Ok(Self::Writeback),
            _ => Err(format!("unknown cache mode '{text}'; use through or writeback")),
        }
    }
}

impl std::fmt::Display for CacheMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Through => "through",
            Self::Writeback => "writeback",
        })
    }
}

/// How far behind the target may be in commit mode `near` before an application waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearBounds {
    /// Operations.
    pub operations: u64,
    /// Bytes of those, as they travel.
    pub bytes: u64,
    /// Age of the oldest of those, in milliseconds.
    pub millis: u64,
}

impl NearBounds {
    /// Age of the oldest operation that is not applied.
    pub fn age(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.millis)
    }
}

/// Bounds of which some may be left as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearChange {
    /// Operations.
    pub operations: Option<u64>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Milliseconds.
    pub millis: Option<u64>,
}

impl NearChange {
    /// The bounds after it.
    pub fn over(self, before: NearBounds) -> NearBounds {
        NearBounds {
            operations: self.operations.unwrap_or(before.operations),
            bytes: self.bytes.unwrap_or(before.bytes),
            millis: self.millis.unwrap_or(before.millis),
        }
    }
}

impl Default for NearBounds {
    fn default() -> Self {
        Self { operations: 1000, bytes: 16 << 20, millis: 5000 }
    }
}

/// What a target is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// The first connection is being made.
    Setup,
    /// Everything travels as it happens.
    Connected,
    /// The target is away, or a rule holds what is for it; changes are kept, or remembered as "mirror due".
    Accumulating,
    /// Source and target are being compared and what differs is sent, beside what happens.
    Mirroring,
    /// Replication is switched off by command; what changes is remembered.
    Bypass,
    /// The target cannot carry out a record and tries again.
    Blocked,
    /// The target refuses this source; the last error says why.
    Refused,
}

impl std::fmt::Display for TargetState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Setup => "setup",
            Self::Connected => "connected",
            Self::Accumulating => "accumulating",
            Self::Mirroring => "mirroring",
            Self::Bypass => "bypass",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
        })
    }
}

/// How far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// Operations not yet applied.
    pub operations: u64,
    /// Bytes of those, as they travel.
    pub bytes: u64,
    /// Age of the oldest of those in milliseconds, on the source's clock.
    pub millis: u64,
}

pub use crate::map::Progress as PassProgress;

/// What is remembered while nothing is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Names, and nodes whose data or attributes changed.
    pub entries: u64,
    /// Bytes of changed ranges.
    pub bytes: u64,
}

/// What is held until a rule lets go of it (S4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendStatus {
    /// The rules, of which each lets go; none: everything is sent at once.
    pub rules: Vec<Rule>,
    /// Something is held by them now.
    pub holding: bool,
    /// Operations that are, queued or remembered.
    pub operations: u64,
    /// Bytes of those, as they travel.
    pub bytes: u64,
    /// Age of the oldest of those in milliseconds.
    pub millis: u64,
    /// In so many milliseconds time alone lets go of them; none: it never does, or nothing is held for a time.
    pub opens_in_ms: Option<u64>,
}

/// What a target takes long over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// The number of the operation; zero: none, it makes something durable or closes files.
    pub sequence: u64,
    /// For so many milliseconds.
    pub millis: u64,
}

/// One target as the source sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Where it is, as the user named it.
    pub target: String,
    /// What it is doing.
    pub state: TargetState,
    /// Everything is to be compared at the next opportunity, because changes were not kept.
    pub mirror_due: bool,
    /// Changes that are remembered one by one while nothing is sent (bypass, or a backlog that was full).
    #[serde(default)]
    pub held: Held,
    /// The replica is a state that the source had.
    pub coherent: bool,
    /// Where `coherent` is false and the end is known: it is coherent again once this number is applied.
    pub incoherent_until: Option<u64>,
    /// The replica is not a prefix of what the source did from this number on: repair began with it and is not over, or the target passed it over.
    #[serde(default)]
    pub incoherent_from: Option<u64>,
    /// The mode in force is weaker than the one that was asked for, because the target does not answer or the replica
    /// is not coherent. In `remote`: changes are refused for that reason.
    pub degraded: bool,
    /// In `remote`, some of the paths of which it is not known what the target did; that is put back when it is connected again.
    #[serde(default)]
    pub undecided: Vec<String>,
    /// What is not yet applied.
    pub lag: Lag,
    /// Highest number applied.
    pub applied: u64,
    /// Highest number durable.
    pub durable: u64,
    /// What the target cannot carry out: path and reason.
    pub blocked: Option<String>,
    /// The target is alive, and has been at one operation for two seconds or more.
    #[serde(default)]
    pub slow: Option<Slow>,
    /// Last error of the connection or the target.
    pub last_error: Option<String>,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Operations sent, by kind.
    pub operations: BTreeMap<String, u64>,
    /// Bytes sent, frames included.
    pub sent_bytes: u64,
    /// What is held until a rule lets go of it.
    #[serde(default)]
    pub send: SendStatus,
    /// Bytes per second that may be sent to it now; none: as many as there are.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Bytes that were to be sent to a target that takes them packed, frames included.
    #[serde(default)]
    pub packed_from_bytes: u64,
    /// What they were when they were sent, packed or plain.
    #[serde(default)]
    pub packed_bytes: u64,
    /// How what is sent is packed now, by stream (`session`, `lane N`): `plain`, `lz4` or `zstd:LEVEL`.
    #[serde(default)]
    pub packing: BTreeMap<String, String>,
    /// Lanes that are open now, over which content travels beside the ordered operations.
    #[serde(default)]
    pub lanes: u64,
    /// The network paths that the mount was given, in their order.
    #[serde(default)]
    pub paths: Vec<PathStatus>,
    /// The pass that runs, or the last one.
    pub pass: PassProgress,
    /// Passes finished.
    pub passes: u64,
    /// Paths below SRC that the pass cannot read and tries again; the first of them.
    #[serde(default)]
    pub unreadable: Vec<String>,
    /// What the target could not carry out within the retry bound and went on without; the first of them by path. It is tried
    /// again by itself.
    #[serde(default)]
    pub flagged: Vec<Flagged>,
    /// How many there are.
    #[serde(default)]
    pub flagged_count: u64,
}

/// Whether the target answers over a network path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathState {
    /// Not known yet.
    Untried,
    /// It does, with the right key.
    Alive,
    /// It does not.
    Dead,
}

/// A network path to a target (C6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStatus {
    /// Where it begins: an address of this machine, or an interface.
    pub local: String,
    /// Where the target is over it, `HOST:PORT`.
    pub target: String,
    /// Whether the target answers.
    pub state: PathState,
    /// Since when that is so, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why it is dead.
    #[serde(default)]
    pub reason: Option<String>,
    /// The ordered operations travel over it.
    pub session: bool,
    /// So many lanes are on it.
    pub lanes: u64,
    /// Bytes sent over it, encryption and repetitions included.
    pub sent_bytes: u64,
}

/// A place that is not on the target as it should be, because the target could not carry something out there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flagged {
    /// Where it is on the source now, below SRC; a directory where there are too many to be known one by one; `.` where the
    /// target can carry out nothing at all.
    pub path: String,
    /// What the first operation that was passed over here was, and why it failed.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The first operation that was passed over here.
    pub seq: u64,
    /// How many were; where the target can carry out nothing at all, how many wait.
    pub operations: u64,
}

/// What the file system layer holds for the kernel and for open files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsiStatus {
    /// Known inodes: those that the kernel refers to, and the directories above them.
    pub nodes: u64,
    /// Open descriptors of the daemon; 0 where they cannot be counted.
    pub descriptors: u64,
}

/// A place of the journal (S5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalArea {
    /// Its directory.
    pub dir: String,
    /// `memory`: survives the daemon, not the machine; `disk`; `extension`: used when those before it are nearly full.
    pub kind: String,
    /// What is in it, in bytes.
    pub used_bytes: u64,
    /// Its bound in bytes.
    pub limit_bytes: u64,
    /// Why it could not be used lately.
    pub trouble: Option<String>,
}

/// A source: one mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// NAME.
    pub name: String,
    /// SRC, absolute.
    pub source: String,
    /// MNT, absolute.
    pub mountpoint: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// The mode asked for.
    pub commit: CommitMode,
    /// The bounds of `near`, where that is the mode.
    #[serde(default)]
    pub near: Option<NearBounds>,
    /// An application waits for a target that does not answer, however long.
    #[serde(default)]
    pub strict: bool,
    /// Who gathers writes.
    #[serde(default)]
    pub cache: CacheMode,
    /// Times that the source's disk was waited for in `local`.
    #[serde(default)]
    pub local_syncs: u64,
    /// Applications that were answered after that.
    #[serde(default)]
    pub local_answered: u64,
    /// Operations by kind since the mount.
    pub operations: BTreeMap<String, u64>,
    /// Bytes written by applications since the mount.
    pub written_bytes: u64,
    /// Highest number given out.
    pub sequence: u64,
    /// Everything up to this number is durable on source and target; `None`: after a power cut everything would be compared by content.
    #[serde(default)]
    pub checkpoint: Option<u64>,
    /// Files and directories that would be compared by content after a power cut, besides those whose change times tell.
    #[serde(default)]
    pub hot: u64,
    /// Bytes in the backlog and its bound.
    pub backlog_bytes: u64,
    /// The bound of the backlog in bytes.
    pub backlog_limit: u64,
    /// Where what is queued is kept, in the order in which it is used; none where it is in memory only.
    #[serde(default)]
    pub journal: Vec<JournalArea>,
    /// The file system layer.
    #[serde(default)]
    pub fsi: FsiStatus,
    /// Paths below SRC on which another file system is mounted; what is in them is not replicated.
    pub submounts: Vec<String>,
    /// The verification that runs, or the last one.
    #[serde(default)]
    pub verify: Option<Box<VerifyStatus>>,
    /// The targets; none where the mount is bypassed.
    pub targets: Vec<TargetStatus>,
}

//! How commands talk to daemons: one line of JSON with a request, one line of JSON with the response, over a socket that
//! only its owner can reach. A daemon that ends says so, unasked, to whoever is connected. Here is what is said; `server` and
//! `client` say it.

pub mod client;
pub mod server;
mod socket;

use crate::args::limit::Limit;
use crate::cage::Confined;
use crate::exit::Failure;
use serde::{Deserialize, Serialize};
use srm::OnRemove;
use srm::sending::Rule;
use srm::status::{CommitMode, NearChange, SendStatus, SourceStatus};
use srm::verify::VerifyOptions;
use std::time::Duration;
use target::TargetStatus;

/// What a command asks of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// Who is there, and how is it doing?
    Status,
    /// Answer when everything that was changed before this is durable on the target.
    Sync {
        /// Or after this time.
        timeout_ms: u64,
    },
    /// Switch replication off (`on`) or on again.
    Bypass {
        /// Nothing is sent from now on.
        on: bool,
    },
    /// Answer applications in another way from now on.
    Commit(CommitRequest),
    /// How fast may it send, from now on where that is given?
    Limit {
        /// Instead of all that held before.
        wanted: Option<Vec<Limit>>,
    },
    /// When does it send, from now on where that is given?
    Send {
        /// Instead of all rules that held before.
        wanted: Option<Vec<Rule>>,
    },
    /// Compare by content and send what differs; answered when that has begun.
    Mirror {
        /// The bytes of paths below SRC, with all below them; none for everything.
        paths: Vec<Vec<u8>>,
        /// Lanes at most from now on; as before where it is not given.
        lanes: Option<u8>,
        /// What runs and cannot be joined is waited for, up to this time.
        timeout_ms: u64,
    },
    /// Which rules are in force?
    SetShow,
    /// Read the file of the replication set again.
    SetReload {
        /// What becomes of the replicas of what it takes out.
        on_remove: OnRemove,
    },
    /// Begin to compare source and target.
    Verify {
        /// The bytes of a path below SRC; empty for all.
        path: Vec<u8>,
        /// Mend what differs.
        repair: bool,
        /// Percent of the files whose content is compared.
        sample: u8,
        /// Bytes of content in a second.
        rate: Option<u64>,
    },
    /// End the verification that runs.
    VerifyStop,
    /// Who is known, or this node's key, has changed: it is written down, look again.
    PeersChanged,
    /// Which files does somebody have open for writing?
    Writers {
        /// With inode numbers beyond this.
        after: u64,
    },
    /// The source has been unmounted: answer when everything is on the target.
    Drain {
        /// Or after this time.
        timeout_ms: u64,
    },
}

/// Another commit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRequest {
    /// The mode.
    pub mode: CommitMode,
    /// Bounds of `near`.
    pub near: NearChange,
    /// The mode does not degrade for a target that does not answer.
    pub strict: bool,
}

/// What a daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "lowercase")]
pub enum Response {
    /// To [`Request::Status`].
    Status {
        /// Of whom.
        #[serde(flatten)]
        status: Box<Status>,
    },
    /// To [`Request::SetShow`].
    Set(SetInForce),
    /// To [`Request::Limit`].
    Limits {
        /// Bytes per second that may be sent now; none: as many as there are.
        now: Option<u64>,
        /// What was asked for.
        limits: Vec<Limit>,
    },
    /// To [`Request::Send`]: the rules, and what they hold.
    Sends(SendStatus),
    /// To [`Request::Writers`]: some of them, in the order of their numbers; none where there are no more.
    Writers {
        /// See there.
        writers: Vec<Writer>,
    },
    /// To [`Request::SetReload`]: what changed, a rule a line.
    Changes {
        /// With `+` or `-` before them.
        lines: Vec<String>,
    },
    /// To [`Request::Verify`]: it has begun.
    Verifying {
        /// Its number.
        number: u64,
    },
    /// It is done.
    Done,
    /// The time is over.
    Left(Left),
    /// It cannot be done.
    Failed(Failure),
}

/// A file that somebody has open for writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Its inode number.
    pub ino: u64,
    /// The bytes of its path below MNT.
    pub path: Vec<u8>,
}

/// The status of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A mounted source.
    Source(SourceStatus),
    /// A target daemon.
    Target(TargetDaemon),
}

/// A target daemon: what the target says of itself, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetDaemon {
    /// Process id.
    pub pid: u32,
    /// Address and port it listens on.
    pub listen: String,
    /// This node's fingerprint.
    pub fingerprint: String,
    /// What the daemon is confined by.
    #[serde(default)]
    pub confined: Confined,
    /// ROOT and its replicas.
    #[serde(flatten)]
    pub status: TargetStatus,
}

/// The rules in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInForce {
    /// The bytes of the path of their file, absolute.
    pub path: Vec<u8>,
    /// What was read from it; empty where it was not there.
    pub text: String,
}

/// What is not yet on the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Operations.
    pub operations: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Source and target are still to be compared, or are being compared.
    pub mirror: bool,
}

impl From<srm::Left> for Left {
    fn from(left: srm::Left) -> Self {
        Self { operations: left.lag.operations, bytes: left.lag.bytes, mirror: left.mirror }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The time is over.
    Left(Left),
    /// It cannot be done.
    Failed(Failure),
}

impl From<srm::Left> for Unfinished {
    fn from(left: srm::Left) -> Self {
        Self::Left(left.into())
    }
}

/// What a daemon can be asked. Called from threads of the control socket, several at once; each call may take its time.
pub trait Control: Send + Sync + 'static {
    /// How it is doing; at once.
    fn status(&self) -> Status;

    /// Switches replication off or on again.
    fn bypass(&self, on: bool) -> Result<(), Unfinished>;

    /// Answers applications in another way from now on.
    fn commit(&self, _: CommitRequest) -> Result<(), Unfinished> {
        Err(Unfinished::Failed(Failure::usage("this daemon is a target; the commit mode is a mount's")))
    }

    /// How fast it may send now, and at what times; first changed to this.
    fn limit(&self, _wanted: Option<Vec<Limit>>) -> Result<(Option<u64>, Vec<Limit>), Failure> {
        Err(Failure::usage("this daemon is a target; how fast it is sent to is limited at the mount"))
    }

    /// When it sends, and what is held; first changed to this.
    fn send(&self, _wanted: Option<&[Rule]>) -> Result<SendStatus, Failure> {
        Err(Failure::usage("this daemon is a target; when it is sent to is said at the mount"))
    }

    /// Begins to compare these paths, or everything, by content.
    fn mirror(&self, _paths: &[Vec<u8>], _lanes: Option<u8>, _timeout: Duration) -> Result<(), Unfinished> {
        Err(Unfinished::Failed(Failure::usage("this daemon has nothing to mirror; ask that of a mount")))
    }

    /// Returns when everything that was changed before the call is durable on the target, or the time is over.
    fn sync(&self, timeout: Duration) -> Result<(), Unfinished>;

    /// The source is being unmounted or has been. The daemon goes on sending for at least `timeout`, even where its own
    /// drain-timeout is shorter. Returns when everything is on the target, or `timeout` is over; the daemon ends after
    /// that by itself.
    fn drain(&self, timeout: Duration) -> Result<(), Unfinished>;

    /// The rules in force.
    fn set(&self) -> Result<SetInForce, Failure> {
        Err(no_set())
    }

    /// Reads the file of the replication set again, and says what changed. An error changes nothing.
    fn reload_set(&self, _: OnRemove) -> Result<Vec<String>, Failure> {
        Err(no_set())
    }

    /// Begins to compare source and target; the number of that.
    fn verify(&self, _: VerifyOptions) -> Result<u64, Failure> {
        Err(no_source())
    }

    /// Some of the files that somebody has open for writing, with inode numbers beyond `after`, in their order.
    fn writers(&self, _after: u64) -> Result<Vec<Writer>, Failure> {
        Err(no_source())
    }

    /// Who is known, or this node's key, may have changed.
    fn peers_changed(&self) {}

    /// Ends the verification that runs; an error where none does.
    fn stop_verify(&self) -> Result<(), Failure> {
        Err(no_source())
    }
}

fn no_source() -> Failure {
    Failure::usage("this daemon is a target; ask that of a mount")
}

fn no_set() -> Failure {
    Failure::usage("this daemon has no replication set; ask that of a mount")
}

/// A duration as it travels.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

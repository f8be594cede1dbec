//! The command line: what may be written, with its help. Parsing only; what the words mean together is decided where they
//! are used.

pub mod commit;
pub mod limit;
pub mod mirror;
mod mount;
pub mod mount_options;
mod parse;
pub mod path;
pub mod peers;
mod restore;
pub mod send;
pub mod set;
mod target;
pub mod target_name;
pub mod units;

pub use mount::{MountArgs, ReplicationArgs};
pub use parse::{Invocation, parse};
pub use restore::{RestoreArgs, RollBackArgs};
pub use target::{Devices, KeepImage, Setuid, TargetArgs};

use crate::exit;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A FUSE file system that replicates every change to another machine as it happens.
#[derive(Debug, Parser)]
#[command(name = "replfs", version, max_term_width = 110, disable_help_subcommand = true, args_override_self = true)]
#[command(after_help = exit::table())]
pub struct Line {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive replicas: runs in front, prints "ready ADDR:PORT FPR" when sources can connect
    Target(Box<TargetArgs>),
    /// Mount SRC at MNT and replicate what changes; returns when the mount is usable
    Mount(Box<MountArgs>),
    /// Unmount MNT and wait until everything is on the target; says what is left
    Umount(UmountArgs),
    /// Return when everything that was changed before is durable on the target
    Sync(SyncArgs),
    /// Show or change when a changing call returns: the commit mode of a mount
    Commit(commit::CommitArgs),
    /// Show or change how fast a mount may send, also by time of day
    Limit(limit::LimitArgs),
    /// Show or change when a mount sends: at once, or once a size, an age or a time of day is reached
    Send(send::SendArgs),
    /// Switch replication off or on again; what changes meanwhile is remembered and brought over when it is on again
    Bypass(BypassArgs),
    /// Bring a replica, or some PATHs of it, from a target to DIR
    Restore(Box<RestoreArgs>),
    /// Bring a replica back to its last coherent state, in place, after its source was lost in the middle of a catch-up; while no target
    /// daemon serves ROOT
    RollBack(RollBackArgs),
    /// Compare source and target by content and send what differs, beside what happens meanwhile
    Mirror(mirror::MirrorArgs),
    /// Show sources and targets of this machine
    Status(StatusArgs),
    /// Show, check, test and change what is replicated: the rules of a mount's replication set
    Set(Box<set::SetArgs>),
    /// Compare the replica with the source while applications write; lists what differs, and mends it with --repair
    Verify(VerifyArgs),
    /// Print this node's fingerprint; the key is made on first use. Or change the key
    Key(peers::KeyArgs),
    /// Become known to a target with its invitation, without mounting anything yet
    Pair(peers::PairArgs),
    /// Show the nodes that are known to this one and what for; rename them, or know them no more
    Peers(peers::PeersArgs),
    /// Explain a command, or the exit codes
    Help(HelpArgs),
}

const STATE_HELP: &str = "Directory for the key, the sources' state and the sockets [default: /var/lib/replfs and \
    /run/replfs; for ordinary users ~/.local/state/replfs and $XDG_RUNTIME_DIR/replfs]";

/// Where state is kept, for every command.
#[derive(Clone, Debug, Default, Args)]
pub struct StateArgs {
    /// The key, the sources' state and the sockets.
    #[arg(long = "state", value_name = "DIR", help = STATE_HELP)]
    pub dir: Option<PathBuf>,
}

/// `replfs umount`, `umount.replfs`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // the switches that umount(8) gives to its helpers
pub struct UmountArgs {
    /// Where the source is mounted
    pub mnt: PathBuf,
    /// How long to wait until everything is on the target
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
    pub timeout: Duration,
    /// Unmount now although programs use it; they keep what they have open
    #[arg(short = 'l', long)]
    pub lazy: bool,
    /// Give up requests that are under way
    #[arg(short = 'f', long)]
    pub force: bool,
    /// For umount(8): has no effect, there is no mtab
    #[arg(short = 'n')]
    pub no_mtab: bool,
    /// For umount(8): has no effect
    #[arg(short = 'r')]
    pub read_only: bool,
    /// Say what is being done
    #[arg(short = 'v')]
    pub verbose: bool,
    /// Unmount in this mount namespace: a process id or the path of a namespace
    #[arg(short = 'N', value_name = "NS")]
    pub namespace: Option<PathBuf>,
    /// For umount(8): the type of the mount
    #[arg(short = 't', value_name = "TYPE")]
    pub kind: Option<String>,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Where the source is mounted, or its NAME
    pub mnt: OsString,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
    pub timeout: Duration,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs bypass`.
#[derive(Debug, Args)]
pub struct BypassArgs {
    /// Where the source is mounted, or its NAME
    pub mnt: OsString,
    /// on: nothing is sent from now on; off: what has changed since is caught up with
    pub switch: Switch,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// `replfs status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this one: where it is mounted, its NAME, or a target's ROOT [default: everything here]
    #[arg(value_name = "MNT|NAME")]
    pub which: Option<OsString>,
    /// As a JSON document with a version; with --watch one per line
    #[arg(long)]
    pub json: bool,
    /// Again every second, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Which mount.
    #[command(flatten)]
    pub mount: set::MountArg,
    /// Only this and what is below it: a path below MNT or SRC, or one relative to them [default: everything]
    pub path: Option<OsString>,
    /// Mend what differs; what only the target has is set aside there
    #[arg(long)]
    pub repair: bool,
    /// Percent of the files whose content is compared, by chance; names and attributes of all are
    #[arg(long, value_name = "N%", default_value = "100%", value_parser = units::percent)]
    pub sample: u8,
    /// How fast files are read, in a second; a number alone is MiB; none for no bound
    #[arg(long, value_name = "SIZE", default_value = "none", value_parser = units::rate)]
    pub rate: units::Rate,
    /// As a JSON document with a version, at the end
    #[arg(long)]
    pub json: bool,
    /// End the verification that runs (one goes on when its command is interrupted)
    #[arg(long, conflicts_with_all = ["path", "repair", "sample", "rate", "json"])]
    pub stop: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs help`.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command, or "exit-codes"
    pub topic: Option<String>,
}

/// `mount.replfs` and `umount.replfs` as commands of their own.
#[derive(Debug, Parser)]
#[command(name = "mount.replfs", version, max_term_width = 110, args_override_self = true, after_help = exit::table())]
#[command(about = "Mount SRC at MNT and replicate what changes; called by mount -t replfs")]
pub(crate) struct MountLine {
    #[command(flatten)]
    args: MountArgs,
}

#[derive(Debug, Parser)]
#[command(name = "umount.replfs", version, max_term_width = 110, args_override_self = true, after_help = exit::table())]
#[command(about = "Unmount MNT and wait until everything is on the target; says what is left")]
pub(crate) struct UmountLine {
    #[command(flatten)]
    args: UmountArgs,
}

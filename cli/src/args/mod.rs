//! The command line: what may be written, with its help. Parsing only; what the words mean together is decided where they
//! are used.

pub mod commit;
pub mod mirror;
pub mod mount_options;
mod parse;
pub mod set;
pub mod target_name;
pub mod units;

pub use parse::{Invocation, parse};

use crate::exit;
use clap::{Args, Parser, Subcommand};
use commit::NearArgs;
use srm::status::CommitMode;
use std::ffi::OsString;
use std::net::SocketAddr;
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
    Target(TargetArgs),
    /// Mount SRC at MNT and replicate what changes; returns when the mount is usable
    Mount(Box<MountArgs>),
    /// Unmount MNT and wait until everything is on the target; says what is left
    Umount(UmountArgs),
    /// Return when everything that was changed before is durable on the target
    Sync(SyncArgs),
    /// Show or change when a changing call returns: the commit mode of a mount
    Commit(commit::CommitArgs),
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
    /// Print this node's fingerprint; the key is made on first use
    Key(KeyArgs),
    /// Explain a command, or the exit codes
    Help(HelpArgs),
}

const STATE_HELP: &str = "Directory for the key, the sources' state and the sockets [default: /var/lib/replfs and \
    /run/replfs; for ordinary users ~/.local/state/replfs and $XDG_RUNTIME_DIR/replfs]";

const SET_HELP: &str = "Rules of what is replicated ('replfs help set') [default: /etc/replfs/NAME.toml; for ordinary users \
    $XDG_CONFIG_HOME/replfs/NAME.toml or ~/.config/replfs/NAME.toml; where that is not there, everything]";

const MEMORY_HELP: &str = "Where that part is: a directory on tmpfs, or what is queued goes through a disk's cache [default: \
    /run/replfs/journal; for ordinary users $XDG_RUNTIME_DIR/replfs/journal; with --state DIR, DIR/run/journal]";

/// Where state is kept, for every command.
#[derive(Clone, Debug, Default, Args)]
pub struct StateArgs {
    /// The key, the sources' state and the sockets.
    #[arg(long = "state", value_name = "DIR", help = STATE_HELP)]
    pub dir: Option<PathBuf>,
}

/// `replfs target`.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Directory of the replicas: ROOT/NAME for each source; its last part is made when it is missing
    #[arg(long, value_name = "ROOT")]
    pub root: PathBuf,
    /// Fingerprint of a source that may connect ('replfs key' on the source prints it); may be repeated
    #[arg(long, value_name = "FPR", required = true)]
    pub allow: Vec<String>,
    /// Address and UDP port to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7420")]
    pub listen: SocketAddr,
    /// Before a catch-up, keep the replica as it is until it is coherent again: off, or auto: a whole tree in ROOT/.replfs/NAME/image where the file system
    /// can share the data (XFS, Btrfs), elsewhere an undo log for 'replfs roll-back'
    #[arg(long, value_name = "HOW", default_value = "off")]
    pub keep_image: KeepImage,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Whether the last coherent state is kept during a catch-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KeepImage {
    /// It is not.
    Off,
    /// As a tree where the file system can share data between files, as an undo log elsewhere.
    Auto,
}

/// `replfs mount`, `mount.replfs`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // the switches that mount(8) gives to its helpers
pub struct MountArgs {
    /// The directory to replicate
    pub src: PathBuf,
    /// The directory to mount it at; may be SRC itself
    pub mnt: PathBuf,
    /// What is replicated where and how.
    #[command(flatten)]
    pub replication: ReplicationArgs,
    /// Mount options: ro nosuid nodev noexec noatime, and every long option without its dashes (commit=real,adopt)
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub options: Vec<OsString>,
    /// Check everything that can be checked without touching anything, and do not mount
    #[arg(short = 'f')]
    pub fake: bool,
    /// Pass over mount options that are unknown instead of refusing them
    #[arg(short = 's')]
    pub sloppy: bool,
    /// Say what is being done
    #[arg(short = 'v')]
    pub verbose: bool,
    /// For mount(8): has no effect, there is no mtab
    #[arg(short = 'n')]
    pub no_mtab: bool,
    /// Mount in this mount namespace: a process id or the path of a namespace
    #[arg(short = 'N', value_name = "NS")]
    pub namespace: Option<PathBuf>,
    /// For mount(8): the type that was asked for
    #[arg(short = 't', value_name = "TYPE")]
    pub kind: Option<String>,
}

/// What is replicated where and how: each is also a mount option.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // switches that have nothing to do with each other
pub struct ReplicationArgs {
    /// Where the replica is kept: HOST[:7420] or [v6]:PORT, or, with a '/' in it, a directory ROOT on this machine; none
    /// for a mount that replicates nothing
    #[arg(long, value_name = "T")]
    pub target: Vec<String>,
    /// Fingerprint of the target ('replfs key' on the target prints it); needed unless the target is a directory
    #[arg(long, value_name = "FPR")]
    pub target_key: Option<String>,
    /// When a changing call returns: sync, after source and target have it; near, once it is queued, unless the target is further
    /// behind than a bound; real, once it is queued; local, once it is durable on the source's own disk; remote, as sync, but the target is
    /// asked first, and what it cannot do, or is not there to do, fails
    #[arg(long, value_name = "MODE", default_value = "sync")]
    pub commit: CommitMode,
    /// The bounds of near.
    #[command(flatten)]
    pub near: NearArgs,
    /// With commit=sync or near: a call waits for a target that does not answer however long that takes; the mode never degrades
    /// for that
    #[arg(long)]
    pub strict: bool,
    /// Name of state, socket and replica [default: last part of SRC]
    #[arg(long, value_name = "NAME")]
    pub name: Option<OsString>,
    /// The file of the replication set.
    #[arg(long, value_name = "FILE", help = SET_HELP)]
    pub set: Option<PathBuf>,
    /// With commit=sync or near: how long a call waits for a target that does not answer before the mode degrades
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub degrade_after: Duration,
    /// How long the target tries an operation again that it cannot carry out (no space, I/O error), before it goes on
    /// without it; the status names what was passed over, and it is mended once the cause is gone. 'none': it tries for ever
    #[arg(long, value_name = "TIME|none", default_value = "60s", value_parser = units::bound)]
    pub retry_after: units::Bound,
    /// With commit=remote: how long a call waits for the target's verdict before it fails
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::interval)]
    pub remote_timeout: Duration,
    /// How long the mount waits for the target's first answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub connect_timeout: Duration,
    /// How long the daemon goes on sending after the unmount before it ends
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
    pub drain_timeout: Duration,
    /// The journal's part in memory: changes kept for a target that is away or slow, at least 8MiB. It survives the daemon, not the
    /// machine
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = units::size)]
    pub backlog: u64,
    /// Where that part is.
    #[arg(long, value_name = "DIR", help = MEMORY_HELP)]
    pub journal_memory: Option<PathBuf>,
    /// The journal's part on disk, in the state directory, for what the part in memory does not hold: 0, or at least 8MiB. When all of it is full, what
    /// changes is remembered by names and ranges and read again when the target takes things
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = units::journal_size)]
    pub journal_size: u64,
    /// One more directory for the journal, used when the others are nearly full and given back later; of this journal alone. May be repeated
    #[arg(long, value_name = "DIR:SIZE", value_parser = units::journal_area)]
    pub journal_extend: Vec<units::JournalArea>,
    /// Files on both sides are compared by blocks of this size, and only blocks that differ are sent (of large ones, where
    /// few differ, only the 4 KiB that do): 512 to 1MiB, a power of two
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = units::block_size)]
    pub block_size: u32,
    /// Smaller files that differ are sent whole
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = units::size)]
    pub min_size: u64,
    /// Connections at most that copy files beside what happens meanwhile, 1 to 16; they are open only while something is copied
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub lanes: u8,
    /// Compare everything with the target so long after the mount, and again so long after the end of each verification
    /// ('replfs status' shows what it found; nothing is mended) [default: never]
    #[arg(long, value_name = "TIME", value_parser = units::interval)]
    pub verify_every: Option<Duration>,
    /// How fast that reads files, in a second; a number alone is MiB; none for no bound
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = units::rate)]
    pub verify_rate: units::Rate,
    /// With a directory as the target: before a catch-up, keep the replica as it is until it is coherent again: off, or auto, as for
    /// 'replfs target'. A target on the network is asked there
    #[arg(long, value_name = "HOW", default_value = "off")]
    pub keep_image: KeepImage,
    /// Take over a directory on the target that is not empty and belongs to nobody; what differs there is set aside
    #[arg(long)]
    pub adopt: bool,
    /// SRC is another directory than at the last mount, and that is intended
    #[arg(long)]
    pub accept_changed_source: bool,
    /// Stay in front and log to standard error
    #[arg(long)]
    pub foreground: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
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

/// `replfs restore`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // switches that have nothing to do with each other
pub struct RestoreArgs {
    /// What to restore: paths within the replica [default: all of it]
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Where the replica is: HOST[:7420] or [v6]:PORT, or, with a '/' in it, a directory ROOT on this machine
    #[arg(long, value_name = "T")]
    pub from: String,
    /// Fingerprint of the target; needed unless the target is a directory
    #[arg(long, value_name = "FPR")]
    pub target_key: Option<String>,
    /// Name of the replica, as it was mounted
    #[arg(long, value_name = "NAME")]
    pub name: OsString,
    /// Where to: a directory, made if it is missing; may be a mount of replfs
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Change nothing; list what would be done: new, changed, attributes, aside, extra
    #[arg(long)]
    pub dry_run: bool,
    /// Where what would be lost in DIR is put first [default: aside/NAME-TIME in the state directory]
    #[arg(long, value_name = "DIR")]
    pub aside: Option<PathBuf>,
    /// Set aside too what DIR has and the replica has not
    #[arg(long)]
    pub exact: bool,
    /// Compare content also where size and modification time agree
    #[arg(long)]
    pub checksum: bool,
    /// Block in which content is compared: 512 bytes to 1MiB
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = units::size)]
    pub block_size: u64,
    /// How long to wait for the target's first answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub connect_timeout: Duration,
    /// What was done as a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept: the key that owns the replica.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs roll-back`.
#[derive(Debug, Args)]
pub struct RollBackArgs {
    /// Directory of the replicas, as the target has it
    #[arg(value_name = "ROOT")]
    pub root: PathBuf,
    /// Name of the replica: ROOT/NAME
    #[arg(value_name = "NAME")]
    pub name: OsString,
    /// Change nothing; say what it would be taken back to
    #[arg(long)]
    pub dry_run: bool,
    /// What was done as a JSON document with a version
    #[arg(long)]
    pub json: bool,
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

/// `replfs key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
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

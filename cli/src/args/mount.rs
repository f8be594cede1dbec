//! `replfs mount` and `mount.replfs`: what may be written, also as mount options.

use super::commit::NearArgs;
use super::target::KeepImage;
use super::{StateArgs, units};
use clap::Args;
use platform::awake::LowLatency;
use platform::pack::Mode;
use srm::sending::Rule;
use srm::status::{CacheMode, CommitMode};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const SET_HELP: &str = "Rules of what is replicated ('replfs help set') [default: /etc/replfs/NAME.toml; for ordinary users \
    $XDG_CONFIG_HOME/replfs/NAME.toml or ~/.config/replfs/NAME.toml; where that is not there, everything]";

const MEMORY_HELP: &str = "Where that part is: a directory on tmpfs, or what is queued goes through a disk's cache [default: \
    /run/replfs/journal; for ordinary users $XDG_RUNTIME_DIR/replfs/journal; with --state DIR, DIR/run/journal]";

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
    /// Where the replica is kept: the name of a peer, or once the invitation that 'replfs target invite' printed there; HOST[:7420] or
    /// [v6]:PORT; or, with a '/' in it, a directory ROOT on this machine; none for a mount that replicates nothing
    #[arg(long, value_name = "T")]
    pub target: Vec<String>,
    /// A file in which that stands; an invitation is then not seen among the processes
    #[arg(long, value_name = "FILE")]
    pub target_file: Option<PathBuf>,
    /// Fingerprint of a target that is no peer ('replfs key' on the target prints it)
    #[arg(long, value_name = "FPR")]
    pub target_key: Option<String>,
    /// When a changing call returns: sync, after source and target have it; near, once it is queued, unless the target is further
    /// behind than a bound; real, once it is queued; local, once it is durable on the source's own disk; remote, as sync, but the target is
    /// asked first, and what it cannot do, or is not there to do, fails
    #[arg(long, value_name = "MODE", default_value = "sync")]
    pub commit: CommitMode,
    /// When what is written reaches the source's directory and the target: through, with each call; writeback, when it is synced or closed, or the kernel likes: it
    /// gathers small writes, and order is kept from fsync to fsync and from close to open ('docs/semantics.md'). Not with commit=remote
    #[arg(long, value_name = "MODE", default_value = "through")]
    pub cache: CacheMode,
    /// The bounds of near.
    #[command(flatten)]
    pub near: NearArgs,
    /// With commit=sync or near: a call waits for a target that does not answer however long that takes; the mode never degrades
    /// for that
    #[arg(long)]
    pub strict: bool,
    /// Name of state, socket and replica [default: the directory that the peer gave, else the last part of SRC]
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
    /// Whether idle cores of this machine stay awake (busy for its host) while one call after the other waits for the target: each step of a call wakes somebody,
    /// and a core that sleeps takes 25 µs and more to come. on; off; auto, in a virtual machine of at most 8 cores
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub low_latency: LowLatency,
    /// Threads that take the kernel's requests, 2 to 256 [default: 3 for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=256))]
    pub threads: Option<u16>,
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
    /// How fast the mount sends at most, in a second, by all its connections to a target on the network together: a size (a number alone
    /// is MiB), or none; with HH:MM-HH:MM= before it only at that time of day, on this machine's clock. May be repeated; 'replfs
    /// limit' changes it while mounted [default: none]
    #[arg(long, value_name = "[HH:MM-HH:MM=]RATE", value_parser = super::limit::limit)]
    pub limit: Vec<super::limit::Limit>,
    /// When what changes is sent, with commit=real or local: now; size=SIZE, once so many bytes are queued; age=TIME, once the oldest of it is so old;
    /// HH:MM-HH:MM, at that time of day, on this machine's clock. May be repeated, and each lets go of what is held. A comparison of source and
    /// target waits for a time of day only; 'replfs sync', 'replfs verify', 'replfs mirror' and an unmount wait for none. 'replfs send' changes it
    /// while mounted [default: now]
    #[arg(long, value_name = "RULE", value_parser = super::send::rule)]
    pub send: Vec<Rule>,
    /// A network path to the target: an address of this machine or the name of an interface, and where the target has another
    /// address over it, that. May be repeated: the session uses the first that lives, lanes use all of them; a path that
    /// fails is left within about a second and tried again by itself [default: the one that the system chooses]
    #[arg(long, value_name = "LOCAL[=HOST[:7420]]", value_parser = super::path::path)]
    pub path: Vec<scm::path::Path>,
    /// How what is sent to a target on the network is packed: off; lz4, or zstd:N at level N of 1 to 19 (zstd: 1), all that
    /// shrinks; auto, where the line is slower than packing, by whichever of the two takes less time, and not what does not shrink
    #[arg(long, value_name = "HOW", default_value = "off")]
    pub compress: Mode,
    /// With --compress: threads that pack what takes long, for all connections together, 1 to 64, each with up to 5 MiB at zstd:19 [default: one for
    /// each core, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub packers: Option<u8>,
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

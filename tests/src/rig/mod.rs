//! One source and one target on this machine, in a directory of their own: started, broken, mended, compared and cleaned
//! away, whatever happens to the test. Each test has a rig to itself; nothing is shared but the binary.

pub mod binary;
mod drive;
mod dying;
pub mod leftovers;
mod memory;
pub mod status;
mod target;
pub mod watchdog;

pub use dying::Side;
pub use target::Target;

use crate::command::{self, Outcome};
use crate::link::Link;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use watchdog::Watchdog;

/// All rigs live in directories of this name below [`PARENT`]; what is left of a killed run is found by it.
pub const PREFIX: &str = "replfs-test-";

/// Where rigs live.
pub const PARENT: &str = "/tmp";

/// NAME of the source in every rig.
pub const NAME: &str = "tree";

/// Further options of every mount.
const EVERY_MOUNT: &str = "REPLFS_EVERY_MOUNT";

/// What the target of a paired rig is called on the source.
pub const PEER: &str = "backup";

/// A commit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// An application waits for the target.
    Sync,
    /// It does not.
    Real,
    /// The target is asked first.
    Remote,
    /// It waits when the target is far behind.
    Near,
    /// It waits for the source's disk.
    Local,
}

impl Commit {
    /// As the command line has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Real => "real",
            Self::Remote => "remote",
            Self::Near => "near",
            Self::Local => "local",
        }
    }
}

/// What is special about a rig.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // each is something special of its own; most rigs have none
pub struct Setup {
    /// Source and target talk through a [`Link`].
    pub linked: bool,
    /// No target daemon: `--target ROOT/`.
    pub local: bool,
    /// No target at all: `--target none`.
    pub bypassed: bool,
    /// Source and target are paired by an invitation, once the target runs, and know each other by nothing else.
    pub paired: bool,
    /// SRC and MNT are the same directory.
    pub in_place: bool,
    /// Daemons and commands are this ordinary user's, and so are all directories; `None` for root.
    pub user: Option<u32>,
    /// The target daemon is this ordinary user's, with its directories, whoever has the source.
    pub target_user: Option<u32>,
    /// Further options of `replfs mount`.
    pub mount: Vec<String>,
    /// Further options of `replfs target`.
    pub target: Vec<String>,
    /// What the environments of the source's and the target's daemons have beside this process's.
    pub environment: [Vec<(String, String)>; 2],
    /// The program and its words by which the target daemon is started, in place of this process alone, and where it listens then.
    pub target_by: Option<(Vec<String>, String)>,
}

impl Setup {
    /// The same with one more word for `replfs mount`.
    #[must_use]
    pub fn option(mut self, words: &[&str]) -> Self {
        self.mount.extend(words.iter().map(|w| (*w).to_owned()));
        self
    }

    /// The same with a link between source and target.
    #[must_use]
    pub fn linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// The same as an ordinary user. He needs a `/dev/fuse` that he may open ([`crate::user::with_fuse_for_everybody`]).
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// The same with one more word for `replfs target`.
    #[must_use]
    pub fn target_option(mut self, words: &[&str]) -> Self {
        self.target.extend(words.iter().map(|w| (*w).to_owned()));
        self
    }
}

/// The rig. Dropping it unmounts, kills what it started and removes its directory.
pub struct Rig {
    home: Option<TempDir>,
    commit: Commit,
    setup: Setup,
    target: Option<Target>,
    link: Option<Link>,
    /// Where the target listens, and its fingerprint, also while it is away.
    target_address: Option<SocketAddr>,
    target_key: String,
    source_pid: Option<u32>,
    /// Where the daemon that is started now dies by itself.
    dying: Option<String>,
    watchdog: Watchdog,
    /// Mounts below the rig's directory that are not replfs, innermost last.
    mounts: Vec<PathBuf>,
    /// The boots that the source's and the target's daemons are told of, where it is not the machine's.
    boots: [Option<String>; 2],
}

impl Rig {
    /// A rig with nothing special, target started, SRC empty and mounted.
    #[track_caller]
    pub fn start(commit: Commit) -> Self {
        Self::with(commit, Setup::default())
    }

    /// A rig, target started, SRC empty and mounted.
    #[track_caller]
    pub fn with(commit: Commit, setup: Setup) -> Self {
        let mut rig = Self::prepare(commit, setup);
        rig.mount();
        rig
    }

    /// A rig with the target started, not yet mounted.
    #[track_caller]
    pub fn prepare(commit: Commit, setup: Setup) -> Self {
        let mut rig = Self::bare(commit, setup);
        rig.start_target();
        rig
    }

    /// A rig where nothing runs yet: directories and the source's key only.
    #[track_caller]
    pub fn bare(commit: Commit, mut setup: Setup) -> Self {
        binary::require_fuse();
        // For a run by hand: every suite on mounts of another kind.
        let more = std::env::var(EVERY_MOUNT).unwrap_or_default();
        setup.mount.extend(more.split_whitespace().map(ToOwned::to_owned));
        let home = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(PARENT)
            .unwrap_or_else(|e| panic!("cannot make a directory in {PARENT}: {e}"));
        for dir in ["src", "mnt", "root", "source", "target"] {
            let path = home.path().join(dir);
            let owner = if matches!(dir, "root" | "target") { setup.target_user.or(setup.user) } else { setup.user };
            std::fs::create_dir(&path)
                .and_then(|()| std::os::unix::fs::chown(&path, owner, owner))
                .unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        }
        // Other users take part in some tests.
        std::os::unix::fs::chown(home.path(), Some(0), Some(0))
            .and_then(|()| std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)))
            .unwrap_or_else(|e| panic!("cannot open {} to others: {e}", home.path().display()));
        if setup.user.is_some() || setup.target_user.is_some() {
            binary::lend(home.path());
        }
        leftovers::claim(home.path());
        let watchdog = Watchdog::over(home.path());
        Self {
            home: Some(home),
            commit,
            setup,
            target: None,
            link: None,
            target_address: None,
            target_key: String::new(),
            source_pid: None,
            dying: None,
            watchdog,
            mounts: Vec::new(),
            boots: [None, None],
        }
    }

    /// Lets this rig live as long as its user likes: nothing ends it if it hangs.
    pub fn without_watchdog(&mut self) {
        self.watchdog.rest();
    }

    /// A program of the test's own that is not to outlive this rig.
    pub fn watch(&self, pid: u32) {
        self.watchdog.add(pid);
    }

    /// Where everything of this rig is.
    pub fn home(&self) -> &Path {
        self.home.as_ref().map_or(Path::new("/nonexistent"), TempDir::path)
    }

    /// SRC.
    pub fn src(&self) -> PathBuf {
        self.home().join("src")
    }

    /// MNT.
    pub fn mnt(&self) -> PathBuf {
        if self.setup.in_place { self.src() } else { self.home().join("mnt") }
    }

    /// ROOT.
    pub fn root(&self) -> PathBuf {
        self.home().join("root")
    }

    /// ROOT/NAME.
    pub fn replica(&self) -> PathBuf {
        self.root().join(NAME)
    }

    /// `--state` of the source.
    pub fn source_state(&self) -> PathBuf {
        self.home().join("source")
    }

    /// `--state` of the target.
    pub fn target_state(&self) -> PathBuf {
        self.home().join("target")
    }

    /// The mode of this rig.
    pub fn commit(&self) -> Commit {
        self.commit
    }

    /// The link; panics in a rig without.
    #[track_caller]
    pub fn link(&self) -> &Link {
        let Some(link) = &self.link else { panic!("this rig has no link between source and target") };
        link
    }

    /// The source daemon; panics while nothing is mounted.
    #[track_caller]
    pub fn source_pid(&self) -> u32 {
        let Some(pid) = self.source_pid else { panic!("nothing is mounted in this rig") };
        pid
    }

    /// The target daemon; panics while there is none.
    #[track_caller]
    pub fn target_pid(&self) -> u32 {
        let Some(target) = &self.target else { panic!("no target runs in this rig") };
        target.pid()
    }

    /// The target's fingerprint.
    pub fn target_key(&self) -> &str {
        &self.target_key
    }

    /// Where the target listens, or did; panics if there never was one.
    #[track_caller]
    pub fn target_address(&self) -> SocketAddr {
        let Some(address) = self.target_address else { panic!("no target was ever started in this rig") };
        address
    }

    /// What `--target` is told.
    pub fn target_argument(&self) -> String {
        match &self.link {
            _ if self.setup.bypassed => "none".to_owned(),
            _ if self.setup.paired => PEER.to_owned(),
            _ if self.setup.local => format!("{}/", self.root().display()),
            Some(link) => link.address().to_string(),
            None => self.target_address().to_string(),
        }
    }

    /// Runs `replfs` on the source's side: a command, then `--state`, then its arguments.
    #[track_caller]
    pub fn replfs(&self, command: &str, args: &[&str]) -> Outcome {
        let mut line: Vec<OsString> = vec![command.into(), "--state".into(), self.source_state().into()];
        line.extend(args.iter().map(Into::into));
        command::run(self.program().args(line))
    }

    /// The `replfs` binary, run as this rig's user.
    pub fn program(&self) -> Command {
        self.program_of(self.setup.user)
    }

    /// The `replfs` binary, run as some user.
    pub fn program_of(&self, user: Option<u32>) -> Command {
        self.watchdog.feed();
        let mut command = if let Some(user) = user {
            let mut command = Command::new(self.home().join(binary::LENT));
            command.uid(user).gid(user).current_dir(self.home()).env("HOME", self.home()).env_remove("XDG_CONFIG_HOME");
            command
        } else {
            Command::new(binary::path())
        };
        if let Some(at) = &self.dying {
            command.env(dying::VARIABLE, at);
        }
        command
    }

    /// The end of the source's log, for messages.
    pub fn source_log(&self) -> String {
        let text = self.whole_source_log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// All that the source's daemons have logged.
    pub fn whole_source_log(&self) -> String {
        let log = self.source_state().join("sources").join(NAME).join("log");
        std::fs::read_to_string(log).unwrap_or_default()
    }
}

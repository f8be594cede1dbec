//! Where the program under test is, and that the machine can run it at all.

use crate::command::{self, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `replfs` binary: `REPLFS_BIN` where it is set (xtask sets it), else the debug build of this workspace, brought up to
/// date once per test process.
pub fn path() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("REPLFS_BIN") {
            return given.into();
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = Command::new(cargo).args(["build", "--quiet", "-p", "replfs"]).current_dir(workspace).status();
        assert!(build.is_ok_and(|s| s.success()), "`cargo build -p replfs` failed in {}", workspace.display());
        let test = std::env::current_exe().unwrap_or_default();
        let profile = test.ancestors().nth(2).unwrap_or(Path::new("build/debug"));
        profile.join("replfs")
    })
}

/// The name of a copy that [`lend`] makes.
pub const LENT: &str = "replfs";

/// Puts the binary into a directory where ordinary users reach it, which they may not where it was built.
#[track_caller]
pub fn lend(home: &Path) {
    let to = home.join(LENT);
    // Elsewhere a copy of a hundred megabytes is needed.
    if std::fs::hard_link(path(), &to).is_err()
        && let Err(error) = std::fs::copy(path(), &to)
    {
        panic!("cannot copy {} to {}: {error}", path().display(), to.display());
    }
}

/// Runs `replfs` with arguments to its end.
#[track_caller]
pub fn replfs<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Outcome {
    command::run(Command::new(path()).args(args))
}

/// Panics with what is missing unless this machine can mount a FUSE file system and this process is root: a suite that
/// cannot run has not passed.
#[track_caller]
pub fn require_fuse() {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    assert!(
        device.is_ok(),
        "/dev/fuse cannot be opened ({}): load the fuse module, or run the container with --device /dev/fuse and CAP_SYS_ADMIN",
        device.err().map(|e| e.to_string()).unwrap_or_default()
    );
    assert!(rustix::process::geteuid().is_root(), "the suites set owners, device nodes and mounts: run them as root");
}

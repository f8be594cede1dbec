//! Where the suites are that come as crates: `cargo xtask test` installs them below `build/tools` and says so in
//! `REPLFS_TOOLS`.

use std::path::{Path, PathBuf};

/// A program that was installed from a crate; panics with what to do where it is missing, because a suite that cannot run
/// has not passed.
#[track_caller]
pub fn path(program: &str) -> PathBuf {
    let tools = std::env::var_os("REPLFS_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).join("build/tools"),
        PathBuf::from,
    );
    let file = tools.join("bin").join(program);
    assert!(
        file.is_file(),
        "{} is missing: run `cargo xtask test`, which installs it, or set REPLFS_TOOLS to the directory given to \
         `cargo install --root`",
        file.display()
    );
    file
}

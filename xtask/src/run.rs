//! Running Cargo and other programs from the root of the workspace, with their output to the terminal.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace. Every command runs here: only here does Cargo see `.cargo/config.toml`, and with it that its
/// output goes to `build/` and not to `target/`, which is a crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo, in the root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end; whether it succeeded. Errors: it cannot be started.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(status.success())
}

/// Builds the `replfs` binary and gives its path: it lies beside this program when both have the same profile.
pub fn build() -> Result<PathBuf> {
    anyhow::ensure!(
        succeeds(cargo().args(["build", "--workspace", "--bin", "replfs"]))?,
        "the build failed; see the compiler's messages above"
    );
    let xtask = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(xtask.with_file_name("replfs"))
}

/// Builds the optimized binary and gives its path.
pub fn build_release() -> Result<PathBuf> {
    let built = succeeds(cargo().args(["build", "--release", "--package", "replfs"]))?;
    anyhow::ensure!(built, "the build failed; see the compiler's messages above");
    let xtask = std::env::current_exe().context("cannot find this program's own file")?;
    let output = xtask.parent().and_then(Path::parent).context("this program is not in a build directory")?;
    Ok(output.join("release/replfs"))
}

/// The binary that `REPLFS_BIN` names, or else the optimized one, built; rigs of this process use it from now on. To be called before there
/// is a second thread.
pub fn optimized() -> Result<PathBuf> {
    let binary = match std::env::var_os("REPLFS_BIN") {
        Some(given) => PathBuf::from(given),
        None => build_release()?,
    };
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("REPLFS_BIN", &binary) };
    Ok(binary)
}

/// Where a program is in `PATH` or the directories for administration, which the `PATH` of ordinary users lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let admin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(admin).map(|dir| dir.join(program)).find(|file| file.is_file())
}

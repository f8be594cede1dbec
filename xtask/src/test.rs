//! `cargo xtask test`: every test, from a clean start.

use crate::{check, packages, run, tools};
use anyhow::{Result, bail};

/// Runs all tests, or those whose names contain one of `filter`; whether all passed.
pub fn run(filter: &[String]) -> Result<bool> {
    require_fuse()?;
    packages::require(&[])?;
    let tools = tools::require()?;
    // Part of every whole run, which is what CI does. It takes a few seconds; what it finds does not keep the tests from running.
    let clean = !filter.is_empty() || check::dependencies()?;
    remove_leftovers()?;
    let binary = run::build()?;
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    // The suites wait for the disk and for each other's daemons a good deal, so there may be more of them than cores.
    let threads = (threads + 1).clamp(2, 8).to_string();
    let mut tests = run::cargo();
    tests
        .args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", "--", "--test-threads", &threads])
        .args(filter);
    let passed = run::succeeds(tests.env("REPLFS_BIN", binary).env("REPLFS_TOOLS", tools))?;
    if !clean {
        println!("xtask: cargo deny found something in the dependencies; see the beginning");
    }
    Ok(passed && clean)
}

/// Removes what earlier runs of the tests or the demo left behind when they were killed.
pub fn remove_leftovers() -> Result<()> {
    for path in replfs_tests::rig::leftovers::remove()? {
        println!("xtask: removed {}, left by an earlier run", path.display());
    }
    Ok(())
}

/// Refuses where nothing could be mounted: tests that cannot run have not passed.
pub fn require_fuse() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("run this as root (mounts, owners and device nodes are tested): sudo env \"PATH=$PATH\" cargo xtask ...");
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        bail!(
            "/dev/fuse cannot be opened ({error}): load the module (modprobe fuse), or start the container with \
             --device /dev/fuse --cap-add SYS_ADMIN"
        );
    }
    Ok(())
}

//! `cargo xtask check`: everything about the code that is decided without running it.

use crate::{run, tools};
use anyhow::Result;
use std::process::Command;

/// Format, lints, dependencies; whether all are right. All are run, so that one run shows everything.
pub fn run() -> Result<bool> {
    let format = run::succeeds(run::cargo().args(["fmt", "--all", "--", "--check"]))?;
    let lints = run::succeeds(run::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(dependencies()? && format && lints)
}

/// What is built of others: bans, licences and sources, of the workspace and of the fuzzers, which have a lock file of their own. Where `cargo deny`
/// can neither be found nor installed that is a failure: what was not checked is not clean. Advisories are not checked: their database is a download of
/// its own.
pub fn dependencies() -> Result<bool> {
    let deny = tools::require()?.join("bin/cargo-deny");
    let mut clean = true;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut check = Command::new(&deny);
        check.current_dir(run::root()).args(["--manifest-path", manifest, "--config", "deny.toml"]);
        println!("xtask: bans, licences and sources of what {manifest} needs");
        clean &= run::succeeds(check.args(["check", "bans", "licenses", "sources"]))?;
    }
    Ok(clean)
}

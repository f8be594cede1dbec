//! `cargo xtask check`: everything about the code that is decided without running it.

use crate::run;
use anyhow::Result;

/// Format, lints, dependencies; whether all are right. All are run, so that one run shows everything.
pub fn run() -> Result<bool> {
    let format = run::succeeds(run::cargo().args(["fmt", "--all", "--", "--check"]))?;
    let lints = run::succeeds(run::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(dependencies()? && format && lints)
}

/// `cargo deny` where it is there or can be installed. Where it cannot, that is said and is no failure: the check needs the
/// network, the others do not. Advisories are not checked here: their database is a download of its own.
fn dependencies() -> Result<bool> {
    let has = || run::cargo().args(["deny", "--version"]).output().is_ok_and(|out| out.status.success());
    if !has() {
        println!("xtask: cargo-deny is missing, installs it");
        let installed = run::succeeds(run::cargo().args(["install", "--locked", "cargo-deny"]))?;
        if !installed || !has() {
            println!("xtask: cargo-deny cannot be installed, so licences and sources were NOT checked");
            return Ok(true);
        }
    }
    run::succeeds(run::cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}

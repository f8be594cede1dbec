//! The programs that come as crates, those of public suites and cargo-deny, installed once below `build/tools`.

use crate::run;
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// A program, which its crate is named after, and the version that is known to pass.
const NEEDED: [(&str, &str); 3] = [("pjdfstest", "0.2.2"), ("fsx", "0.3.2"), ("cargo-deny", "0.20.2")];

/// Installs what is missing or of another version, and gives the directory that `bin` is in.
pub fn require() -> Result<PathBuf> {
    let root = run::root().join("build/tools");
    let is_there = |(name, version): &&(&str, &str)| {
        let output = Command::new(root.join("bin").join(name)).arg("--version").output();
        output.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).trim() == format!("{name} {version}"))
    };
    let missing: Vec<String> =
        NEEDED.iter().filter(|tool| !is_there(tool)).map(|(name, version)| format!("{name}@{version}")).collect();
    if missing.is_empty() {
        return Ok(root);
    }
    let list = missing.join(" ");
    println!("xtask: installs {list} below {}", root.display());
    let mut install = run::cargo();
    // What they compile shares nothing with the workspace, so it has a directory of its own; and they need to be built soon
    // rather than to run fast.
    install.args(["install", "--quiet", "--locked", "--root"]).arg(&root).args(&missing);
    install.env("CARGO_TARGET_DIR", root.join("target")).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let installed = run::succeeds(&mut install)?;
    ensure!(
        installed,
        "cargo could not install {list}: without them neither the public suites nor the check of licences can run (no network?)"
    );
    Ok(root)
}

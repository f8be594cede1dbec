//! `cargo xtask install`: the optimized binary, and the names under which mount(8) and umount(8) look for it.

use crate::run;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Where mount(8) looks for helpers, whatever the prefix: its search path is fixed when it is compiled.
const HELPERS: &str = "/sbin";

/// Builds and installs below `prefix`.
pub fn run(prefix: &Path) -> Result<bool> {
    ensure!(prefix.is_absolute(), "the prefix {} must be absolute", prefix.display());
    let built = run::build_release()?;

    let bin = prefix.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let binary = bin.join("replfs");
    // A running binary cannot be written to, but its name can be given to another file.
    let new = bin.join(".replfs.new");
    fs::copy(built, &new).with_context(|| format!("cannot write {}; are you root?", new.display()))?;
    fs::rename(&new, &binary).with_context(|| format!("cannot replace {}", binary.display()))?;
    println!("{}", binary.display());

    let helpers = helpers(prefix);
    fs::create_dir_all(&helpers).with_context(|| format!("cannot make {}", helpers.display()))?;
    for name in ["mount.replfs", "umount.replfs"] {
        let link = helpers.join(name);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}; are you root?", link.display()));
            }
            _ => {}
        }
        std::os::unix::fs::symlink(&binary, &link)
            .with_context(|| format!("cannot make {}; are you root?", link.display()))?;
        println!("{} -> {}", link.display(), binary.display());
    }
    if helpers != Path::new(HELPERS) {
        println!(
            "mount -t replfs looks for helpers in {HELPERS} only; call {}/mount.replfs by its path",
            helpers.display()
        );
    }
    Ok(true)
}

/// The system's directory for a system's prefix; for any other prefix nothing outside it is touched.
fn helpers(prefix: &Path) -> PathBuf {
    if prefix.starts_with("/usr") { HELPERS.into() } else { prefix.join("sbin") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_prefix_keeps_everything_below_it() {
        assert_eq!(helpers(Path::new("/opt/replfs")), Path::new("/opt/replfs/sbin"));
        assert_eq!(helpers(Path::new("/usr/local")), Path::new("/sbin"));
    }
}

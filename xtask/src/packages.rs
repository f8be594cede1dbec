//! The programs that the tests and the demo put through a mount, and the Debian packages that they are in.

use crate::run;
use anyhow::{Result, bail};
use std::process::Command;

/// A program and its package.
const NEEDED: [(&str, &str); 19] = [
    ("git", "git"),
    ("sqlite3", "sqlite3"),
    ("rsync", "rsync"),
    ("setfacl", "acl"),
    ("setfattr", "attr"),
    ("tar", "tar"),
    ("mount", "mount"),
    ("stress-ng", "stress-ng"),
    ("fio", "fio"),
    ("fusermount3", "fuse3"),
    ("smbd", "samba"),
    ("smbclient", "smbclient"),
    ("mkfs.ext4", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("faketime", "faketime"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
];

/// The same, for those who name them only.
const NAMED: [(&str, &str); 11] = [
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("psql", "postgresql"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("glusterd", "glusterfs-server"),
    ("gluster", "glusterfs-cli"),
    ("glusterfs", "glusterfs-client"),
    ("lsyncd", "lsyncd"),
    ("inotifywait", "inotify-tools"),
    ("perf", "linux-perf"),
];

/// Installs what is missing, as root on Debian or Ubuntu; anywhere else says what to install. `these`: the programs needed,
/// all of them where it is empty.
pub fn require(these: &[&str]) -> Result<()> {
    let all = NEEDED.iter().filter(|_| these.is_empty());
    let named = NEEDED.iter().chain(&NAMED).filter(|(program, _)| these.contains(program));
    let wanted = all.chain(named);
    let missing: Vec<&str> =
        wanted.filter(|(program, _)| run::find(program).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !rustix::process::geteuid().is_root() || run::find("apt-get").is_none() {
        bail!("packages are missing: install {list} (Debian, Ubuntu: sudo apt-get install {list})");
    }
    println!("xtask: installs {list}");
    let apt = |words: &[&str]| {
        run::succeeds(Command::new("apt-get").args(["-q", "-y"]).args(words).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install: Vec<&str> = ["install", "--no-install-recommends"].into_iter().chain(missing).collect();
    // The lists of a fresh machine are empty or old, so they are fetched first; where that fails, the old ones may do.
    let updated = apt(&["update"])?;
    if !apt(&install)? {
        let hint = if updated { "" } else { " (the package lists could not be fetched either: no network?)" };
        bail!("apt-get could not install {list}{hint}; install them by hand and run this again");
    }
    Ok(())
}

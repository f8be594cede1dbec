//! Removes what rigs left behind whose test process was killed: their daemons, mounts and directories. Never touches a rig
//! whose owner still runs, nor a process that it cannot recognise as one of a rig.

use super::watchdog::{PIDS, is_running, kill};
use super::{PARENT, PREFIX};
use crate::command;
use anyhow::{Context, Result};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The file in a rig's directory with the number of the process that made it.
const OWNER: &str = "owner";

/// A directory without that file is left alone for so long: its owner may just have made it.
const CLAIMED_WITHIN: Duration = Duration::from_secs(60);

/// Marks a directory as this process's.
pub fn claim(home: &Path) {
    if let Err(error) = std::fs::write(home.join(OWNER), std::process::id().to_string()) {
        eprintln!("cannot write {}: {error}", home.join(OWNER).display());
    }
}

/// Removes all rigs without an owner, and gives their directories. Errors: one of them cannot be removed.
pub fn remove() -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(PARENT).with_context(|| format!("cannot list {PARENT}"))? {
        let path = entry?.path();
        let ours = path.file_name().is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
        if ours && !is_owned(&path)? {
            remove_rig(&path)
                .with_context(|| format!("cannot remove {}: end what uses it, then delete it", path.display()))?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Whether there is nothing to remove: the owner runs, or has just removed it, or is about to write its number there.
fn is_owned(home: &Path) -> Result<bool> {
    match std::fs::read_to_string(home.join(OWNER)) {
        Ok(text) => Ok(text.trim().parse().is_ok_and(is_running)),
        Err(_) => match home.symlink_metadata() {
            Ok(meta) => Ok(!meta.is_dir() || meta.modified()?.elapsed().unwrap_or_default() < CLAIMED_WITHIN),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error).with_context(|| format!("cannot look at {}", home.display())),
        },
    }
}

fn remove_rig(home: &Path) -> Result<()> {
    let pids = std::fs::read_to_string(home.join(PIDS)).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()).filter(|pid| is_of(*pid, home)) {
        kill(pid, Signal::KILL);
    }
    // Before anything below is looked at: a dead mount answers nothing.
    for at in mounts_below(home)?.iter().rev() {
        rustix::mount::unmount(at, UnmountFlags::DETACH).with_context(|| format!("cannot unmount {}", at.display()))?;
    }
    if std::fs::remove_dir_all(home).is_err() {
        // Some programs that are put through a mount make files immutable, and were killed in between.
        command::run(Command::new("chattr").args(["-R", "-f", "-ia"]).arg(home));
        std::fs::remove_dir_all(home)?;
    }
    Ok(())
}

/// Whether a process was started with a path in the rig's directory: process numbers are used again.
fn is_of(pid: u32, home: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let home = home.as_os_str().as_bytes();
    line.windows(home.len()).any(|part| part == home)
}

/// Mount points below a directory, outermost first, as `/proc/self/mountinfo` has them.
fn mounts_below(home: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let points = table.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    Ok(points.map(|point| PathBuf::from(unescape(point))).filter(|point| point.starts_with(home)).collect())
}

/// Blanks, tabs, line feeds and backslashes stand as `\` and three octal digits (proc(5)).
fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest {
            out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rig_goes_when_its_owner_is_gone_and_not_before() {
        let home = tempfile::Builder::new().prefix(PREFIX).tempdir_in(PARENT).unwrap().keep();
        claim(&home);
        remove().unwrap();
        assert!(home.exists(), "its owner runs");
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        std::fs::write(home.join(OWNER), ended.id().to_string()).unwrap();
        assert!(remove().unwrap().contains(&home));
        assert!(!home.exists());
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c\\"), r"/a b\c\\");
    }
}

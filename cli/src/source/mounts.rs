//! The mount table: what is mounted below SRC or at MNT, and clearing what a killed daemon left there.

use crate::exit::{Code, Failure};
use rustix::mount::UnmountFlags;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Dead mounts on top of one another that are cleared at most.
const DEEPEST: usize = 16;

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub at: PathBuf,
    /// Type, `fuse.replfs` for a mount of ours.
    pub kind: String,
    /// What was mounted: SRC for a mount of ours.
    pub source: PathBuf,
}

impl Mount {
    /// A mount of ours, alive or dead.
    pub fn is_replfs(&self) -> bool {
        self.kind == "fuse.replfs"
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ');
        let at = fields.by_ref().nth(4)?;
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = String::from_utf8_lossy(rest.next()?).into_owned();
        Some(Self { at: unescape(at).into(), kind, source: unescape(rest.next()?).into() })
    }
}

/// Space, tab, line feed and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        if let (b'\\', Some(byte)) = (first, digits.and_then(|d| u8::from_str_radix(d, 8).ok())) {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    OsString::from_vec(out)
}

/// Every mount of this namespace, in the order in which they were made; empty where `/proc` is not mounted.
pub fn all() -> Vec<Mount> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    table.split(|b| *b == b'\n').filter_map(Mount::parse).collect()
}

/// Where other file systems are mounted below `src`, the mount point of `src` itself left out.
pub fn below(src: &Path, mnt: &Path) -> Vec<String> {
    let mut found: Vec<String> = all()
        .into_iter()
        .filter(|mount| mount.at != src && mount.at != mnt && mount.at.starts_with(src))
        .map(|mount| mount.at.to_string_lossy().into_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The place of a mount that may be dead or slow, found without asking what is mounted there; the path itself, made
/// absolute, where nothing is.
pub fn locate(path: &Path) -> PathBuf {
    let plain = super::resolve::without_dots(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let is_mount = |at: &Path| all().iter().any(|mount| mount.at == at);
    if is_mount(&plain) {
        return plain;
    }
    // The directory above is asked, so that links on the way are seen, and the last name taken as it is.
    if let (Some(parent), Some(name)) = (plain.parent(), plain.file_name())
        && let Ok(parent) = parent.canonicalize()
    {
        let at = parent.join(name);
        if is_mount(&at) {
            return at;
        }
    }
    crate::paths::absolute(path)
}

/// Whether the daemon of what is mounted at `path` is gone. Asks what is never answered from a cache.
pub fn is_dead(path: &Path) -> bool {
    // Aborted: asked at the very moment of its end.
    matches!(rustix::fs::statfs(path), Err(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED))
}

/// Takes away what a killed daemon of ours left mounted at `mnt`.
pub fn clear_dead(mnt: &Path) -> Result<(), Failure> {
    for _ in 0..DEEPEST {
        if !is_dead(mnt) {
            return Ok(());
        }
        let at = locate(mnt);
        let top = all().into_iter().rfind(|mount| mount.at == at);
        match top {
            Some(mount) if mount.is_replfs() => detach(&at)?,
            Some(mount) => {
                let text = format!(
                    "mount point {}: a dead mount of type {} is there; clear it with 'umount -l {0}'",
                    at.display(),
                    mount.kind
                );
                return Err(Failure::new(Code::Mountpoint, text));
            }
            // Not itself, but something above it.
            None => break,
        }
    }
    Err(Failure::new(
        Code::Mountpoint,
        format!("mount point {}: a dead mount is in the way; clear it with 'umount -l'", mnt.display()),
    ))
}

fn detach(at: &Path) -> Result<(), Failure> {
    unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|e| Failure::io(Code::Mountpoint, format!("cannot clear the dead mount at {}", at.display()), &e))
}

/// Unmounts; for ordinary users with the help of fusermount3.
pub fn unmount(at: &Path, flags: UnmountFlags) -> std::io::Result<()> {
    match rustix::mount::unmount(at, flags) {
        Err(rustix::io::Errno::PERM) if !rustix::process::geteuid().is_root() => {
            let mut command = Command::new("fusermount3");
            command.arg("-u").stdin(Stdio::null());
            if flags.contains(UnmountFlags::DETACH) {
                command.arg("-z");
            }
            let output = command.arg("--").arg(at).output()?;
            if output.status.success() {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if text.ends_with("Device or resource busy") {
                return Err(rustix::io::Errno::BUSY.into());
            }
            Err(std::io::Error::other(text))
        }
        other => Ok(other?),
    }
}

/// Whether a mount of ours is on top at this place.
pub fn replfs_at(at: &Path) -> Option<Mount> {
    all().into_iter().rfind(|mount| mount.at == at).filter(Mount::is_replfs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_whatever_fields_it_has() {
        let line = br"36 35 98:0 /root /mnt/a\040b rw,noatime master:1 shared:2 - fuse.replfs /srv/x\134y rw,user_id=0";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount, Mount { at: "/mnt/a b".into(), kind: "fuse.replfs".into(), source: r"/srv/x\y".into() });
        assert!(mount.is_replfs());
        let plain = Mount::parse(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw").unwrap();
        assert_eq!((plain.at.as_path(), plain.kind.as_str()), (Path::new("/"), "ext4"));
        assert!(!plain.is_replfs());
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        for line in [&b""[..], b"1 2 3", b"1 0 8:1 / / rw - ext4", b"1 0 8:1 / / rw ext4 /dev rw"] {
            assert_eq!(Mount::parse(line), None);
        }
    }

    #[test]
    fn file_systems_below_a_directory_are_listed() {
        assert!(below(Path::new("/"), Path::new("/")).iter().any(|at| at == "/proc"));
        assert!(below(Path::new("/no/such"), Path::new("/no/such")).is_empty());
    }
}

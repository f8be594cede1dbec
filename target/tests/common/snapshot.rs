//! What a replica looks like to a reader.

use protocol::Time;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Everything that a reader can see of a tree: one line per path, in order.
pub fn snapshot(root: &Path) -> Vec<String> {
    let mut out = Vec::new();
    visit(root, root, &mut out);
    out
}

fn visit(root: &Path, at: &Path, out: &mut Vec<String>) {
    let meta = std::fs::symlink_metadata(at).unwrap();
    let relative = at.strip_prefix(root).unwrap();
    let content = if meta.is_file() {
        format!("{:?}", String::from_utf8_lossy(&std::fs::read(at).unwrap()))
    } else if meta.is_symlink() {
        format!("-> {}", std::fs::read_link(at).unwrap().display())
    } else {
        format!("rdev {}", meta.rdev())
    };
    let fd = rustix::fs::open(at, rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW, rustix::fs::Mode::empty())
        .unwrap();
    let mut xattrs = platform::sys::xattr::all(std::os::fd::AsFd::as_fd(&fd)).unwrap();
    xattrs.sort();
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    out.push(format!(
        "{} {:o} {}:{} {}.{} links {links} inode {} {content} {xattrs:?}",
        String::from_utf8_lossy(relative.as_os_str().as_bytes()),
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ino(),
    ));
    if meta.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(at).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        for name in names {
            visit(root, &name, out);
        }
    }
}

pub fn mtime(at: &Path) -> Time {
    let meta = std::fs::symlink_metadata(at).unwrap();
    Time { secs: meta.mtime(), nanos: u32::try_from(meta.mtime_nsec()).unwrap() }
}

pub fn mode(at: &Path) -> u32 {
    std::fs::symlink_metadata(at).unwrap().permissions().mode() & 0o7777
}

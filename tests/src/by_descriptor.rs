//! Doing by descriptor whatever can be done with a file or directory, and telling what came of it: the same in an ordinary
//! directory and in a mount, whatever has become of the names.

use rustix::fs::{Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// The error as the kernel numbered it.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Everything that reaches a node through an open file of it, and what came of it. Each `mark` leaves other traces.
pub fn file(file: &File, mark: u8) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut note = |what: &str, result: Result<String, Errno>| said.push(format!("{what}: {result:?}"));
    let done = |result: rustix::io::Result<()>| result.map(|()| String::new());
    let io = |result: io::Result<()>| result.map(|()| String::new()).map_err(|e| errno(&e));
    let mode = Mode::from_raw_mode(0o600 + u32::from(mark) % 0o77);
    note("write", io(file.write_all_at(&[mark; 5000], u64::from(mark) * 1000)));
    note("fchmod", done(rustix::fs::fchmod(file, mode)));
    note("fsetxattr", done(rustix::fs::fsetxattr(file, "user.mark", &[mark], XattrFlags::empty())));
    let mut value = [0; 10];
    note("fgetxattr", rustix::fs::fgetxattr(file, "user.mark", &mut value).map(|n| format!("{:?}", &value[..n])));
    note("flistxattr", rustix::fs::flistxattr(file, &mut [0_u8; 100]).map(|n| n.to_string()));
    note("ftruncate", done(rustix::fs::ftruncate(file, 40_000 + u64::from(mark))));
    let time = |secs| Timespec { tv_sec: secs, tv_nsec: 5 };
    let times = Timestamps { last_access: time(1), last_modification: time(i64::from(mark)) };
    note("futimens", done(rustix::fs::futimens(file, &times)));
    note("mtime", file.metadata().map(|meta| meta.mtime().to_string()).map_err(|e| errno(&e)));
    let group = Some(rustix::fs::Gid::from_raw(rustix::process::getgid().as_raw()));
    note("fchown", done(rustix::fs::fchown(file, None, group)));
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    note("punch", done(rustix::fs::fallocate(file, punch, 8192, 8192)));
    note(
        "copy",
        rustix::fs::copy_file_range(file, Some(&mut 0), file, Some(&mut 100_000), 3000).map(|n| n.to_string()),
    );
    note("fsync", io(file.sync_all()));
    let shown = |meta: fs::Metadata| format!("{:o} {} {}", meta.mode(), meta.len(), meta.nlink());
    let mut bytes = vec![0; 200_000];
    note("read", file.read_at(&mut bytes, 0).map(|n| digest(&bytes[..n])).map_err(|e| errno(&e)));
    // By way of /proc the same node is opened anew.
    let path = PathBuf::from(format!("/proc/thread-self/fd/{}", file.as_raw_fd()));
    let again = OpenOptions::new().read(true).append(true).open(&path).and_then(|mut again| {
        io::Write::write_all(&mut again, &[mark; 10])?;
        again.rewind()?;
        let mut bytes = Vec::new();
        again.read_to_end(&mut bytes)?;
        Ok(digest(&bytes))
    });
    note("again", again.map_err(|e| errno(&e)));
    note("chmod by /proc", io(fs::set_permissions(&path, fs::Permissions::from_mode(0o640))));
    note("fstat", file.metadata().map(shown).map_err(|e| errno(&e)));
    said
}

/// Short for bytes, in messages.
pub fn digest(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte) + 1));
    format!("{} bytes, {sum:016x}", bytes.len())
}

/// What is left to do with a directory that is deleted, and what is not.
pub fn deleted_directory(dir: &File) -> Vec<String> {
    let mode = Mode::from_raw_mode(0o700);
    let flags = OFlags::WRONLY | OFlags::CREATE;
    vec![
        format!("{:?}", rustix::fs::fchmod(dir, mode)),
        format!("{:?}", rustix::fs::fsetxattr(dir, "user.x", b"x", XattrFlags::empty())),
        format!("{:?}", rustix::fs::openat(dir, "new", flags, mode).map(drop)),
        format!("{:?}", rustix::fs::mkdirat(dir, "new", mode)),
        format!("{:?}", rustix::fs::openat(dir, ".", OFlags::RDONLY, mode).map(drop)),
        format!("{:?}", rustix::fs::statat(dir, "f", rustix::fs::AtFlags::empty()).map(drop)),
        format!("{:?}", rustix::fs::fstat(dir).map(|stat| (stat.st_mode, stat.st_nlink))),
        format!("{:?}", rustix::fs::Dir::read_from(dir).map(Iterator::count)),
    ]
}

//! Between the file system's types and fuser's: attributes, times, errors.

use crate::attrs::SetTime;
use crate::fs::{Caller, Entry};
use fuser::{Errno, FileAttr, Generation, INodeNo, Request, TimeOrNow};
use protocol::Time;
use rustix::fs::{FileType, Stat};
use std::io;
use std::time::{Duration, SystemTime};

/// The error as the application gets it. What carries no number is an input/output error.
pub(crate) fn errno(error: &io::Error) -> Errno {
    if let Some(number) = error.raw_os_error() {
        return Errno::from_i32(number);
    }
    match error.kind() {
        io::ErrorKind::InvalidInput => Errno::EINVAL,
        io::ErrorKind::NotFound => Errno::ENOENT,
        _ => Errno::EIO,
    }
}

pub(crate) fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

pub(crate) fn generation(entry: &Entry) -> Generation {
    Generation(entry.generation)
}

pub(crate) fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        FileType::RegularFile | FileType::Unknown => fuser::FileType::RegularFile,
    }
}

fn system_time(secs: i64, nanos: u64) -> SystemTime {
    let whole = Duration::from_secs(secs.unsigned_abs());
    let time =
        if secs < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    time.and_then(|time| time.checked_add(Duration::from_nanos(nanos))).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time from a request. Before 1970 fuser subtracts the nanoseconds where it should add them; this takes it back.
fn time(time: SystemTime) -> Time {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Time { secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanos: after.subsec_nanos() },
        Err(error) => {
            let before = error.duration();
            let secs = 0_i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN);
            Time { secs, nanos: before.subsec_nanos() }
        }
    }
}

pub(crate) fn set_time(wanted: TimeOrNow) -> SetTime {
    match wanted {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(at) => SetTime::At(time(at)),
    }
}

/// Attributes as FUSE has them; the inode number is the backing file system's.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // FUSE has 32 bits for block size, links and device; Linux uses no more
pub(crate) fn attributes(stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(stat.st_ino),
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        atime: system_time(stat.st_atime, stat.st_atime_nsec),
        mtime: system_time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: system_time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}

/// Attributes of nothing: with inode number 0 a name is known not to exist.
pub(crate) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: fuser::FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_survive_fusers_conversion() {
        // As fuser's `system_time_from_time` makes them of a request.
        let from_request = |secs: i64, nanos: u32| {
            if secs >= 0 {
                SystemTime::UNIX_EPOCH + Duration::new(secs.unsigned_abs(), nanos)
            } else {
                SystemTime::UNIX_EPOCH - Duration::new(secs.unsigned_abs(), nanos)
            }
        };
        for (secs, nanos) in [(0, 0), (5, 7), (-1, 0), (-1, 999_999_999), (-5, 300_000_000)] {
            assert_eq!(time(from_request(secs, nanos)), Time { secs, nanos });
        }
    }

    #[test]
    fn errors_keep_their_number() {
        assert_eq!(i32::from(errno(&rustix::io::Errno::STALE.into())), libc::ESTALE);
        assert_eq!(i32::from(errno(&io::ErrorKind::UnexpectedEof.into())), libc::EIO);
    }
}

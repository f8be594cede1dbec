//! Which directory SRC is: a disk that is not mounted must never look like "everything was deleted".

use crate::exit::{Code, Failure};
use crate::state;
use rustix::fs::{AtFlags, StatxFlags};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Version of the file.
const VERSION: u32 = 1;

/// `XFS_SUPER_MAGIC`: its file system id is made from the device number, which another boot may change.
const XFS: i64 = 0x5846_5342;

/// What a directory is recognised by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Inode number.
    inode: u64,
    /// `f_fsid` of its file system; zero where it has none.
    fsid: u64,
    /// When it was made (seconds, nanoseconds), where the file system knows: an inode number may be used again.
    born: Option<(i64, u32)>,
    /// Type of the file system.
    filesystem: i64,
    /// Device number: for people, another boot may change it.
    device: u64,
}

impl Identity {
    /// Of an open directory.
    pub fn of(dir: &OwnedFd) -> Result<Self, Failure> {
        let fail = |e: rustix::io::Errno| Failure::io(Code::Source, "cannot look at the source directory", &e.into());
        let stat = rustix::fs::fstat(dir).map_err(fail)?;
        let fsid = rustix::fs::fstatvfs(dir).map_err(fail)?.f_fsid;
        let filesystem = rustix::fs::fstatfs(dir).map_err(fail)?.f_type;
        let born = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok().and_then(|extended| {
            let known = StatxFlags::from_bits_retain(extended.stx_mask).contains(StatxFlags::BTIME);
            let time = extended.stx_btime;
            (known && time.tv_sec != 0).then_some((time.tv_sec, time.tv_nsec))
        });
        Ok(Self { inode: stat.st_ino, fsid, born, filesystem, device: stat.st_dev })
    }

    /// Why `self` is not the directory that `before` was, if it is not.
    fn differs_from(&self, before: &Self) -> Option<String> {
        if self.inode != before.inode {
            return Some(format!("inode {}, it was {}", self.inode, before.inode));
        }
        if let (Some(now), Some(then)) = (self.born, before.born)
            && now != then
        {
            return Some("it was removed and made again".to_owned());
        }
        let by_birth = self.filesystem == XFS && before.filesystem == XFS && self.born.is_some();
        if self.fsid != before.fsid && !by_birth {
            return Some(format!("file system {:x}, it was {:x}", self.fsid, before.fsid));
        }
        None
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    version: u32,
    #[serde(flatten)]
    identity: Identity,
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("source.json")
}

/// Whether SRC is the directory that is recorded; also where none is. Another one is refused, unless it is accepted: then
/// the answer is `false`.
pub(super) fn check(state_dir: &Path, src: &Path, now: &Identity, accept: bool) -> Result<bool, Failure> {
    let Some(recorded) = state::read_json::<Recorded>(&file(state_dir))? else { return Ok(true) };
    if recorded.version != VERSION {
        return Err(Failure::new(
            Code::State,
            format!(
                "state: {} has version {}; this replfs reads {VERSION}",
                file(state_dir).display(),
                recorded.version
            ),
        ));
    }
    match now.differs_from(&recorded.identity) {
        None => Ok(true),
        Some(_) if accept => Ok(false),
        Some(why) => Err(Failure::new(
            Code::Changed,
            format!(
                "source {} is not the directory it was ({why}); is the disk mounted? If this is intended, mount once \
                 with --accept-changed-source",
                src.display()
            ),
        )),
    }
}

/// Records which directory SRC is.
pub(super) fn write(state_dir: &Path, identity: &Identity) -> Result<(), Failure> {
    state::write_json(&file(state_dir), &Recorded { version: VERSION, identity: identity.clone() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn some() -> Identity {
        Identity { inode: 2, fsid: 3, born: Some((4, 5)), filesystem: 0xef53, device: 6 }
    }

    #[test]
    fn a_directory_is_itself_after_another_boot() {
        assert_eq!(Identity { device: 7, ..some() }.differs_from(&some()), None);
        assert_eq!(Identity { born: None, ..some() }.differs_from(&some()), None);
        let xfs = Identity { filesystem: XFS, ..some() };
        assert_eq!(Identity { fsid: 9, ..xfs.clone() }.differs_from(&xfs), None);
    }

    #[test]
    fn another_directory_is_recognised() {
        assert!(Identity { inode: 9, ..some() }.differs_from(&some()).is_some());
        assert!(Identity { fsid: 9, ..some() }.differs_from(&some()).is_some());
        assert!(Identity { born: Some((4, 6)), ..some() }.differs_from(&some()).is_some());
        let xfs = Identity { filesystem: XFS, born: None, ..some() };
        assert!(Identity { fsid: 9, ..xfs.clone() }.differs_from(&xfs).is_some(), "nothing else proves it");
    }

    #[test]
    fn a_changed_source_is_refused_until_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let src = Path::new("/srv/x");
        assert!(check(dir.path(), src, &some(), false).unwrap(), "nothing is recorded yet");
        write(dir.path(), &some()).unwrap();
        assert!(check(dir.path(), src, &some(), false).unwrap());
        let other = Identity { inode: 9, ..some() };
        let failure = check(dir.path(), src, &other, false).unwrap_err();
        assert_eq!(failure.code, Code::Changed);
        assert!(failure.message.contains("--accept-changed-source") && failure.message.contains("/srv/x"));
        assert!(!check(dir.path(), src, &other, true).unwrap());
    }

    #[test]
    fn a_directory_made_again_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("src");
        let look = || {
            std::fs::create_dir(&at).unwrap();
            let identity = Identity::of(&OwnedFd::from(std::fs::File::open(&at).unwrap())).unwrap();
            std::fs::remove_dir(&at).unwrap();
            identity
        };
        let (first, second) = (look(), look());
        assert!(second.differs_from(&first).is_some(), "{first:?} {second:?}");
    }
}

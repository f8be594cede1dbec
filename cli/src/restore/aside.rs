//! What would be lost in DIR is put aside first, under the path that it had. Nothing here deletes anything that has no copy.

use super::copy;
use super::directory::{open_dir, stat_name};
use super::fault::Fault;
use parking_lot::Mutex;
use protocol::{Name, RelPath};
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many of one path are kept.
const MOST: u32 = 1000;
/// So that a number behind it still makes a name.
const KEPT_NAME_BYTES: usize = 245;

/// The place, made with the first that is put there.
#[derive(Debug)]
pub(super) struct Aside {
    place: PathBuf,
    open: Mutex<Option<Arc<OwnedFd>>>,
}

impl Aside {
    pub fn new(place: PathBuf) -> Self {
        Self { place, open: Mutex::new(None) }
    }

    /// The place.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Moves `name` in `at`, which is `path`, with everything in it. Answers where it is now.
    pub fn take(&self, at: &OwnedFd, name: &Name, path: &RelPath) -> Result<PathBuf, Fault> {
        self.put(path, |dir, to| {
            let renamed = rustix::fs::renameat_with(
                at.as_fd(),
                name.as_bytes(),
                dir.as_fd(),
                to.as_bytes(),
                RenameFlags::NOREPLACE,
            );
            match renamed {
                // Another file system, or one that cannot say "unless it exists".
                Err(Errno::XDEV | Errno::INVAL) => {
                    copy::tree(at, name, dir, to)?;
                    Ok(copy::remove(at, name)?)
                }
                result => Ok(result?),
            }
        })
    }

    /// Copies `name` in `at`, which is `path`, with its attributes. Answers where the copy is.
    pub fn copy(&self, at: &OwnedFd, name: &Name, path: &RelPath) -> Result<PathBuf, Fault> {
        self.put(path, |dir, to| Ok(copy::tree(at, name, dir, to)?))
    }

    /// Finds a name that is free for `path`, and has it filled.
    fn put(&self, path: &RelPath, fill: impl Fn(&OwnedFd, &Name) -> Result<(), Fault>) -> Result<PathBuf, Fault> {
        let fail = |fault| match fault {
            Fault::Node(why) => Fault::Node(format!("what is there cannot be set aside: {why}")),
            other => other,
        };
        let (above, name) =
            path.split_last().ok_or_else(|| Fault::Node("DIR itself cannot be set aside".to_owned()))?;
        let dir = self.directory(&above).map_err(|e| fail(e.into()))?;
        for number in 0..MOST {
            let to = numbered(&name, number);
            // Several work here, each on paths of its own.
            if stat_name(&dir, &to)?.is_some() {
                continue;
            }
            fill(&dir, &to).map_err(fail)?;
            return Ok(self.place.join(above.as_os_str()).join(to.as_os_str()));
        }
        Err(Fault::Node(format!("what is there cannot be set aside: {MOST} of its name are there already")))
    }

    fn directory(&self, path: &RelPath) -> io::Result<Arc<OwnedFd>> {
        let mut dir = self.root()?;
        for part in path.as_bytes().split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            let name = Name::new(part).map_err(io::Error::other)?;
            match rustix::fs::mkdirat(&*dir, name.as_bytes(), Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            dir = Arc::new(open_dir(&*dir, &name)?);
        }
        Ok(dir)
    }

    fn root(&self) -> io::Result<Arc<OwnedFd>> {
        let mut open = self.open.lock();
        if let Some(dir) = &*open {
            return Ok(Arc::clone(dir));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.place)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = Arc::new(rustix::fs::open(&self.place, flags, Mode::empty())?);
        *open = Some(Arc::clone(&dir));
        Ok(dir)
    }
}

fn numbered(name: &Name, number: u32) -> Name {
    if number == 0 {
        return name.clone();
    }
    let mut bytes = name.as_bytes()[..name.as_bytes().len().min(KEPT_NAME_BYTES)].to_vec();
    bytes.extend_from_slice(format!(".{number}").as_bytes());
    Name::new(&bytes).unwrap_or_else(|_| name.clone())
}

/// The place where this restore of `name` puts things, unless the user says another: named after the time.
pub(super) fn default_place(state: &Path, name: &OsStr, now_secs: u64) -> PathBuf {
    let mut last = name.as_bytes().to_vec();
    last.truncate(KEPT_NAME_BYTES - 20);
    last.extend_from_slice(format!("-{}", platform::sys::utc(now_secs)).as_bytes());
    state.join("aside").join(OsStr::from_bytes(&last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_after_replica_and_time() {
        let place = default_place(Path::new("/st"), OsStr::new("mail"), 1_798_761_599);
        assert_eq!(place, Path::new("/st/aside/mail-20261231T235959Z"));
        let long = default_place(Path::new("/st"), OsStr::from_bytes(&[b'x'; 255]), 0);
        assert!(long.file_name().unwrap().len() <= 255);
    }

    #[test]
    fn what_was_set_aside_before_stays() {
        let dir = tempfile::tempdir().unwrap();
        let aside = Aside::new(dir.path().join("aside"));
        let at = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let name = Name::new(b"f").unwrap();
        let path = RelPath::new(b"a/f").unwrap();
        for (n, expected) in ["a/f", "a/f.1", "a/f.2"].iter().enumerate() {
            std::fs::write(dir.path().join("f"), n.to_string()).unwrap();
            let to = if n == 1 { aside.copy(&at, &name, &path) } else { aside.take(&at, &name, &path) }.unwrap();
            assert_eq!(to, dir.path().join("aside").join(expected));
            assert_eq!(std::fs::read_to_string(to).unwrap(), n.to_string());
            assert_eq!(dir.path().join("f").exists(), n == 1);
        }
    }

    #[test]
    fn what_is_set_aside_on_another_file_system_is_a_copy_with_attributes() {
        let (dir, other) = (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let file = std::fs::File::create(tree.join("file")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"end", 3 << 20).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_891)).unwrap();
        std::fs::set_permissions(tree.join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("nowhere", tree.join("link")).unwrap();
        let before = std::fs::metadata(tree.join("file")).unwrap();
        let aside = Aside::new(other.path().join("aside"));
        let at = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let to = aside.take(&at, &Name::new(b"tree").unwrap(), &RelPath::new(b"tree").unwrap()).unwrap();
        assert!(!tree.exists(), "it is gone from where it was");
        let after = std::fs::metadata(to.join("file")).unwrap();
        let facts = |m: &std::fs::Metadata| (m.len(), m.modified().unwrap(), m.permissions());
        assert_eq!(facts(&after), facts(&before));
        assert!(std::os::unix::fs::MetadataExt::blocks(&after) < 100, "holes stay holes");
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("nowhere"));
    }
}

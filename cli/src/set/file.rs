//! The file of a set while it is edited: one command at a time, and at any moment the old text or the new one is there.

use crate::exit::{Code, Failure, reason};
use crate::source::set_file;
use rustix::fs::FlockOperation;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that nobody else edits meanwhile.
pub(super) struct Edited {
    path: PathBuf,
    /// Its directory, locked.
    dir: File,
    /// What it had; `None` where it was not there.
    text: Option<Vec<u8>>,
}

impl Edited {
    /// Makes the directory when it is missing, locks it and reads the file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let open = || -> io::Result<Self> {
            let parent = path.parent().unwrap_or(Path::new("/"));
            std::fs::create_dir_all(parent)?;
            let dir = File::open(parent)?;
            rustix::fs::flock(&dir, FlockOperation::LockExclusive)?;
            let text = match set_file::read(path) {
                Ok(text) => Some(text),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(e),
            };
            Ok(Self { path: path.to_owned(), dir, text })
        };
        open().map_err(|e| failure(path, &e))
    }

    /// What the file had.
    pub fn text(&self) -> Option<&[u8]> {
        self.text.as_deref()
    }

    /// Gives it another text.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        self.replace(text.as_bytes()).map_err(|e| failure(&self.path, &e))
    }

    /// Gives it back what it had.
    pub fn restore(&self) -> Result<(), Failure> {
        let restored = match &self.text {
            Some(text) => self.replace(text),
            None => std::fs::remove_file(&self.path).and_then(|()| self.dir.sync_all()),
        };
        restored.map_err(|e| failure(&self.path, &e))
    }

    /// Owner and mode stay as they are.
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let mut new: OsString = self.path.clone().into();
        new.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        if let Ok(before) = self.path.metadata() {
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
            file.set_permissions(PermissionsExt::from_mode(before.mode() & 0o7777))?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.dir.sync_all()
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    let text = format!(
        "cannot edit the replication set {}: {}; make it writable for this user, or edit it by hand",
        path.display(),
        reason(error)
    );
    Failure::new(Code::Set, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_can_be_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/x.toml");
        let file = Edited::open(&path).unwrap();
        assert_eq!(file.text(), None);
        file.write("new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        file.restore().unwrap();
        assert!(!path.exists());
        drop(file);

        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let file = Edited::open(&path).unwrap();
        file.write("newer").unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        file.restore().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}

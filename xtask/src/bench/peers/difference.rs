//! The first difference of two trees in structure, type, mode, size, link and content, found fast and often while one of them is still
//! being made equal. `replfs_tests::compare` is exact and reads everything; it is asked once, at the end.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes that are compared at once.
const BLOCK: usize = 256 << 10;

/// Two trees, and where they differed last: that is looked at first.
pub struct Pair {
    a: PathBuf,
    b: PathBuf,
    hot: Option<(PathBuf, PathBuf)>,
}

impl Pair {
    /// `a` stands still, `b` changes.
    pub fn new(a: PathBuf, b: PathBuf) -> Self {
        Self { a, b, hot: None }
    }

    /// The first one found, with its path; `None`: they are equal. What goes while it is looked at is a difference. Errors: something cannot be read.
    pub fn difference(&mut self) -> Result<Option<String>> {
        if let Some((a, b)) = &self.hot
            && let Some(what) = node(a, b)?
        {
            return Ok(Some(said(b, what)));
        }
        self.hot = None;
        let mut files = Vec::new();
        let mut waiting = vec![(self.a.clone(), self.b.clone())];
        while let Some((a, b)) = waiting.pop() {
            if let Some(what) = attributes(&a, &b)? {
                return Ok(Some(self.found(a, b, what)));
            }
            let kind = look(&a)?.map(|meta| meta.file_type());
            if kind.is_some_and(|kind| kind.is_file()) {
                files.push((a, b));
            } else if kind.is_some_and(|kind| kind.is_dir()) {
                let (names, others) = (names(&a)?, names(&b)?);
                if let Some(name) = names.symmetric_difference(&others).next() {
                    let what = if names.contains(name) { "is not there" } else { "should not be there" };
                    return Ok(Some(self.found(a.join(name), b.join(name), what)));
                }
                waiting.extend(names.iter().map(|name| (a.join(name), b.join(name))));
            }
        }
        for (a, b) in files {
            if let Some(what) = content(&a, &b)? {
                return Ok(Some(self.found(a, b, what)));
            }
        }
        Ok(None)
    }

    fn found(&mut self, a: PathBuf, b: PathBuf, what: &'static str) -> String {
        let said = said(&b, what);
        self.hot = Some((a, b));
        said
    }
}

fn said(path: &Path, what: &str) -> String {
    format!("{} {what}", path.display())
}

/// One name in both trees; the content of a file too, what is in a directory not.
fn node(a: &Path, b: &Path) -> Result<Option<&'static str>> {
    if let Some(what) = attributes(a, b)? {
        return Ok(Some(what));
    }
    if look(a)?.is_some_and(|meta| meta.is_file()) { content(a, b) } else { Ok(None) }
}

fn attributes(a: &Path, b: &Path) -> Result<Option<&'static str>> {
    let (x, y) = match (look(a)?, look(b)?) {
        (Some(x), Some(y)) => (x, y),
        (None, None) => return Ok(None),
        (Some(_), None) => return Ok(Some("is not there")),
        (None, Some(_)) => return Ok(Some("should not be there")),
    };
    let device = |meta: &Metadata| {
        let kind = meta.file_type();
        (kind.is_char_device() || kind.is_block_device()).then(|| meta.rdev())
    };
    Ok(if x.file_type() != y.file_type() || device(&x) != device(&y) {
        Some("is another kind of node")
    } else if x.is_symlink() {
        (fs::read_link(a).ok() != fs::read_link(b).ok()).then_some("points elsewhere")
    } else if x.mode() & 0o7777 != y.mode() & 0o7777 {
        Some("has another mode")
    } else if x.is_file() && x.size() != y.size() {
        Some("has another size")
    } else {
        None
    })
}

fn content(a: &Path, b: &Path) -> Result<Option<&'static str>> {
    let (Some(one), Some(other)) = (open(a)?, open(b)?) else { return Ok(Some("has gone")) };
    let (mut of_one, mut of_other) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    loop {
        let lengths = (one.read_at(&mut of_one, at)?, other.read_at(&mut of_other, at)?);
        let same = lengths.0.min(lengths.1);
        if of_one[..same] != of_other[..same] || (same == 0 && lengths.0 != lengths.1) {
            return Ok(Some("has other content"));
        }
        if same == 0 {
            return Ok(None);
        }
        at += same as u64;
    }
}

/// `None` where it is gone.
fn gone<T>(result: std::io::Result<T>, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    gone(path.symlink_metadata(), path)
}

fn open(path: &Path) -> Result<Option<File>> {
    gone(File::open(path), path)
}

fn names(path: &Path) -> Result<BTreeSet<OsString>> {
    let Some(entries) = gone(fs::read_dir(path), path)? else { return Ok(BTreeSet::new()) };
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

/// When anything below a directory changed last, as its file system noted. It notes that to the tick of its clock, and nobody can set it.
pub fn last_change(root: &Path) -> Result<SystemTime> {
    let mut last = SystemTime::UNIX_EPOCH;
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let Some(meta) = look(&path)? else { continue };
        let seconds = Duration::from_secs(meta.ctime().try_into().unwrap_or(0));
        last = last.max(SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(meta.ctime_nsec().unsigned_abs()));
        if meta.is_dir() {
            waiting.extend(names(&path)?.iter().map(|name| path.join(name)));
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Two equal trees, something done to the second, and what is said of it then.
    fn after(change: impl Fn(&Path)) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let both = ["a", "b"].map(|name| dir.path().join(name));
        for root in &both {
            fs::create_dir_all(root.join("inner")).unwrap();
            fs::write(root.join("inner/file"), vec![7; 3 * BLOCK]).unwrap();
            symlink("file", root.join("inner/link")).unwrap();
        }
        let mut pair = Pair::new(both[0].clone(), both[1].clone());
        assert_eq!(pair.difference().unwrap(), None);
        change(&both[1]);
        let first = pair.difference().unwrap();
        assert_eq!(pair.difference().unwrap(), first, "what was found is found again");
        first
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let says = |words: &str, change: &dyn Fn(&Path)| {
            let said = after(change).unwrap_or_default();
            assert!(said.contains(words), "{said:?} instead of {words:?}");
        };
        says("inner/file is not there", &|root| fs::remove_file(root.join("inner/file")).unwrap());
        says("inner/more should not be there", &|root| fs::write(root.join("inner/more"), "").unwrap());
        says("another kind", &|root| {
            fs::remove_file(root.join("inner/file")).unwrap();
            fs::create_dir(root.join("inner/file")).unwrap();
        });
        says("another mode", &|root| {
            fs::set_permissions(root.join("inner"), fs::Permissions::from_mode(0o700)).unwrap();
        });
        says("another size", &|root| fs::write(root.join("inner/file"), "").unwrap());
        says("other content", &|root| {
            let file = File::options().write(true).open(root.join("inner/file")).unwrap();
            file.write_all_at(b"x", 2 * BLOCK as u64 + 5).unwrap();
        });
        says("points elsewhere", &|root| {
            fs::remove_file(root.join("inner/link")).unwrap();
            symlink("elsewhere", root.join("inner/link")).unwrap();
        });
        assert_eq!(after(|root| fs::write(root.join("inner/file"), vec![7; 3 * BLOCK]).unwrap()), None);
    }

    #[test]
    fn what_is_mended_is_no_difference_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let both = ["a", "b"].map(|name| dir.path().join(name));
        fs::create_dir(&both[0]).unwrap();
        let mut pair = Pair::new(both[0].clone(), both[1].clone());
        assert!(pair.difference().unwrap().is_some());
        fs::create_dir(&both[1]).unwrap();
        assert_eq!(pair.difference().unwrap(), None);
    }

    #[test]
    fn removing_is_a_change_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let before = last_change(dir.path()).unwrap();
        // The clock of the file system ticks some hundred times in a second.
        while last_change(dir.path()).unwrap() == before {
            fs::remove_file(dir.path().join("file")).unwrap();
            fs::write(dir.path().join("other"), "").unwrap();
            fs::rename(dir.path().join("other"), dir.path().join("file")).unwrap();
        }
        assert!(last_change(dir.path()).unwrap() > before);
    }
}

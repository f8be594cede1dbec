//! What a directory has in it: names, kinds, content, permissions, modification times, and which names are one file. Taken of a real directory, and put back into one
//! after a power cut.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir,
    File(Vec<u8>),
    Link(String),
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub mode: u32,
    pub mtime: (i64, i64),
    /// The first of the names that are this file.
    pub first: String,
}

/// By path below the directory, which is the empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<String, Entry>);

impl Snapshot {
    /// Of a directory.
    pub fn of(top: &Path) -> io::Result<Self> {
        let (mut found, mut inodes) = (BTreeMap::new(), HashMap::new());
        Self::walk(top, String::new(), &mut found, &mut inodes)?;
        Ok(Self(found))
    }

    fn walk(
        at: &Path,
        path: String,
        found: &mut BTreeMap<String, Entry>,
        inodes: &mut HashMap<u64, String>,
    ) -> io::Result<()> {
        let meta = std::fs::symlink_metadata(at)?;
        let kind = if meta.is_dir() {
            Kind::Dir
        } else if meta.is_symlink() {
            Kind::Link(std::fs::read_link(at)?.to_string_lossy().into_owned())
        } else {
            Kind::File(std::fs::read(at)?)
        };
        let first = inodes.entry(meta.ino()).or_insert_with(|| path.clone()).clone();
        let entry = Entry { kind, mode: meta.mode() & 0o7777, mtime: (meta.mtime(), meta.mtime_nsec()), first };
        let mut names = Vec::new();
        if entry.kind == Kind::Dir {
            for child in std::fs::read_dir(at)? {
                names.push(child?.file_name().to_string_lossy().into_owned());
            }
        }
        // In an order that does not depend on the file system, so that the first name of a file is always the same.
        names.sort();
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        found.insert(path, entry);
        names.into_iter().try_for_each(|name| Self::walk(&at.join(&name), format!("{prefix}{name}"), found, inodes))
    }

    /// Makes a directory this.
    pub fn put_into(&self, top: &Path) -> io::Result<()> {
        for child in std::fs::read_dir(top)? {
            let path = child?.path();
            if path.symlink_metadata()?.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        for (path, entry) in &self.0 {
            let at = top.join(path);
            match &entry.kind {
                Kind::Dir if path.is_empty() => {}
                Kind::Dir => std::fs::create_dir(&at)?,
                _ if entry.first != *path && self.0.contains_key(&entry.first) => {
                    std::fs::hard_link(top.join(&entry.first), &at)?;
                }
                Kind::File(bytes) => std::fs::write(&at, bytes)?,
                Kind::Link(to) => symlink(to, &at)?,
            }
        }
        for (path, entry) in self.0.iter().rev() {
            let at = top.join(path);
            if !matches!(entry.kind, Kind::Link(_)) {
                std::fs::set_permissions(&at, std::fs::Permissions::from_mode(entry.mode))?;
            }
            let (secs, nanos) = entry.mtime;
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: secs, tv_nsec: nanos },
            };
            rustix::fs::utimensat(CWD, &at, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// What a power cut leaves: the names that are on the disk, and of every second file what had not been flushed, or half of it.
    pub fn torn(&self, now: &Self) -> Self {
        let mut left = self.clone();
        for (at, (path, entry)) in left.0.iter_mut().enumerate() {
            let newer = now.0.get(path).map(|newer| &newer.kind);
            if let (Kind::File(bytes), Some(Kind::File(newer))) = (&mut entry.kind, newer)
                && entry.first == *path
                && at % 2 == 0
            {
                let half = if at % 4 == 0 { newer.len() } else { newer.len() / 2 };
                bytes.resize(bytes.len().max(half), 0);
                bytes[..half].copy_from_slice(&newer[..half]);
            }
        }
        left
    }

    /// The rest, where some names are not counted.
    pub fn without(&self, out: impl Fn(&str, &Kind) -> bool) -> Self {
        let (mut left, mut firsts) = (BTreeMap::new(), HashMap::new());
        for (path, entry) in self.0.iter().filter(|(path, entry)| !out(path, &entry.kind)) {
            let first = firsts.entry(entry.first.clone()).or_insert_with(|| path.clone()).clone();
            left.insert(path.clone(), Entry { first, ..entry.clone() });
        }
        Self(left)
    }

    /// The paths of one kind.
    pub fn paths(&self, of: impl Fn(&Kind) -> bool) -> Vec<&String> {
        self.0.iter().filter(|(_, entry)| of(&entry.kind)).map(|(path, _)| path).collect()
    }

    /// What differs, in words.
    pub fn difference(&self, other: &Self) -> String {
        let paths = self.0.keys().chain(other.0.keys()).collect::<std::collections::BTreeSet<_>>();
        let differing = paths.into_iter().filter(|path| self.0.get(*path) != other.0.get(*path));
        let shown = |entry: Option<&Entry>| entry.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let told =
            differing.map(|path| format!("'{path}': {} and {}", shown(self.0.get(path)), shown(other.0.get(path))));
        told.take(4).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Dir => write!(f, "a directory")?,
            Kind::File(bytes) => {
                write!(f, "{} bytes {:02x?}", bytes.len(), bytes.iter().step_by(37).take(6).collect::<Vec<_>>())?;
            }
            Kind::Link(to) => write!(f, "a link to {to}")?,
        }
        write!(f, ", {:o}, of {}.{:09}, first {:?}", self.mode, self.mtime.0, self.mtime.1, self.first)
    }
}

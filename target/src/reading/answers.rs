//! What a reader is told of a replica: entries, attributes, hashes, content. Everything is resolved beneath the replica's
//! directory, no symbolic link is followed, nothing is changed, every answer is bounded.

use crate::apply::{MAX_ENTRIES, MAX_TEXT_BYTES, entry};
use crate::error::text;
use crate::kept::{self, Kept, Truth};
use bytes::Bytes;
use parking_lot::Mutex;
use platform::sys::content::{block_hashes, open_to_read, read_up_to};
use platform::sys::extent::{Segment, hole_at, segments, unwritten};
use platform::sys::resolve::open_beneath;
use platform::sys::{attr, dir, xattr};
use protocol::{
    Ask, CHUNK_BYTES, FailedKind, Hole, MAX_RESERVED, MIN_HASH_BLOCK_BYTES, Name, NodeKind, Page, RelPath, Seen, Told,
};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// All extended attributes of a node, names and values: they must fit a frame's header.
const MAX_XATTRS_BYTES: usize = 2 << 20;

/// One replica, to be read.
#[derive(Debug)]
pub(super) struct Tree {
    /// ROOT/NAME.
    root: OwnedFd,
    name: Name,
    /// The names of the directory that was listed last: a large one is read once, not once for every page.
    listing: Mutex<Option<Listing>>,
}

#[derive(Debug)]
struct Listing {
    path: RelPath,
    names: Vec<Name>,
}

/// Why there is no answer.
struct Failed(FailedKind, String);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        let kind = match error.raw_os_error() {
            // A link in the middle of a path: what is below it is not in the replica.
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ESTALE) => FailedKind::Missing,
            Some(libc::EINVAL) => FailedKind::Kind,
            _ => FailedKind::Unreadable,
        };
        Self(kind, text(&error))
    }
}

impl From<rustix::io::Errno> for Failed {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl Tree {
    pub fn new(root: OwnedFd, name: Name) -> Self {
        Self { root, name, listing: Mutex::default() }
    }

    /// The answer, and the data that belongs to it.
    pub fn answer(&self, ask: &Ask) -> (Told, Bytes) {
        let told = match ask {
            Ask::Stat { path } => self.stat(path),
            Ask::List { path, after } => self.list(path, after.as_ref()).map(Told::Page),
            Ask::Xattrs { path } => self.xattrs(path),
            Ask::Reserved { path } => self.reserved(path),
            Ask::Hashes { path, offset, len, block_bytes } => self.hashes(path, *offset, *len, *block_bytes),
            Ask::Read { path, offset, len } => match self.read(path, *offset, *len) {
                Ok(answer) => return answer,
                Err(failed) => Err(failed),
            },
        };
        (told.unwrap_or_else(|Failed(kind, text)| Told::Failed { kind, text }), Bytes::new())
    }

    fn open(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        open_beneath(self.root.as_fd(), path, flags | OFlags::PATH)
    }

    fn stat(&self, path: &RelPath) -> Result<Told, Failed> {
        let name = path.split_last().map_or_else(|| self.name.clone(), |(_, name)| name);
        let node = self.open(path, OFlags::empty())?;
        Ok(Told::Entry(Box::new(entry(&name, node.as_fd())?)))
    }

    fn list(&self, path: &RelPath, after: Option<&Name>) -> Result<Page, Failed> {
        let directory = match self.open(path, OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {
                return Ok(Page { exists: false, entries: Vec::new(), complete: true, own: None });
            }
            Err(e) => return Err(e.into()),
        };
        let kept = self.listing.lock().take().filter(|listing| after.is_some() && listing.path == *path);
        let listing = match kept {
            Some(listing) => listing,
            None => Listing { path: path.clone(), names: dir::names(directory.as_fd())? },
        };
        let first = after.map_or(0, |after| listing.names.partition_point(|name| name <= after));
        let mut page = Page { exists: true, entries: Vec::new(), complete: true, own: None };
        let mut text = 0;
        for name in &listing.names[first..] {
            if page.entries.len() >= MAX_ENTRIES || text >= MAX_TEXT_BYTES {
                page.complete = false;
                break;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = match rustix::fs::openat(&directory, name.as_bytes(), flags, Mode::empty()) {
                // It went since the names were read.
                Err(rustix::io::Errno::NOENT) => continue,
                result => result?,
            };
            let entry = entry(name, node.as_fd())?;
            text += name.as_bytes().len();
            if let NodeKind::Symlink(to) = &entry.kind {
                text += to.len();
            }
            page.entries.push(entry);
        }
        if !page.complete {
            *self.listing.lock() = Some(listing);
        }
        Ok(page)
    }

    fn xattrs(&self, path: &RelPath) -> Result<Told, Failed> {
        let node = self.open(path, OFlags::empty())?;
        let mut pairs = xattr::all(node.as_fd())?;
        (pairs, _) = kept::shown(pairs, attr::perm(&attr::stat(&node)?));
        pairs.sort();
        if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_XATTRS_BYTES {
            return Err(Failed(FailedKind::Unreadable, "more extended attributes than can be sent".to_owned()));
        }
        Ok(Told::Xattrs(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    fn reserved(&self, path: &RelPath) -> Result<Told, Failed> {
        let fd = self.file(path, 0, 0)?;
        let stretch = |segment: Segment| Hole { offset: segment.offset, len: segment.len };
        Ok(Told::Reserved(unwritten(fd.as_fd())?.into_iter().take(MAX_RESERVED).map(stretch).collect()))
    }

    fn hashes(&self, path: &RelPath, offset: u64, len: u64, block_bytes: u32) -> Result<Told, Failed> {
        if block_bytes < MIN_HASH_BLOCK_BYTES {
            return Err(Failed(FailedKind::Bounds, format!("blocks of {block_bytes} bytes are too small")));
        }
        let fd = self.file(path, offset, len)?;
        let hashes = block_hashes(fd.as_fd(), offset, len, block_bytes)?.concat();
        let hole_after = hole_after(&fd, offset + len)?;
        Ok(Told::Hashes { seen: seen(&fd)?, hashes: hashes.into(), hole_after })
    }

    fn read(&self, path: &RelPath, offset: u64, len: u64) -> Result<(Told, Bytes), Failed> {
        let fd = self.file(path, offset, len)?;
        let size = u64::try_from(attr::stat(&fd)?.st_size).unwrap_or(0);
        let end = offset + len;
        let mut len = end.min(size).saturating_sub(offset);
        let segments = if len == 0 { Vec::new() } else { segments(fd.as_fd(), offset, len)? };
        let (mut data, mut holes) = (Vec::new(), Vec::new());
        for segment in &segments {
            if segment.hole {
                holes.push(Hole { offset: segment.offset, len: segment.len });
                continue;
            }
            let before = data.len();
            data.resize(before + usize::try_from(segment.len).unwrap_or(0), 0);
            let read = read_up_to(&fd, &mut data[before..], segment.offset)?;
            if (read as u64) < segment.len {
                // It has become shorter.
                data.truncate(before + read);
                len = segment.offset + read as u64 - offset;
                break;
            }
        }
        let hole_after = hole_after(&fd, end)?;
        Ok((Told::Data { seen: seen(&fd)?, len, holes, hole_after }, data.into()))
    }

    /// Opens a regular file of which a range is asked for.
    fn file(&self, path: &RelPath, offset: u64, len: u64) -> Result<OwnedFd, Failed> {
        let ends = offset.checked_add(len).is_some_and(|end| i64::try_from(end).is_ok());
        if len > CHUNK_BYTES || !ends {
            return Err(Failed(FailedKind::Bounds, format!("{len} bytes at {offset} are out of bounds")));
        }
        let node = self.open(path, OFlags::empty())?;
        let stat = attr::stat(&node)?;
        // A file that stands for something else is empty.
        if stat.st_size == 0 && Truth::of(&stat, Kept::read(node.as_fd(), &stat)?.as_ref()).special.is_some() {
            return Err(Failed(FailedKind::Kind, "not a regular file".to_owned()));
        }
        Ok(open_to_read(node.as_fd())?)
    }
}

/// How long a hole is that begins at `end`, which is where the last range ended.
fn hole_after(fd: &OwnedFd, end: u64) -> io::Result<u64> {
    hole_at(fd.as_fd(), end, u64::try_from(attr::stat(fd)?.st_size).unwrap_or(0))
}

fn seen(fd: &OwnedFd) -> io::Result<Seen> {
    let stat = attr::stat(fd)?;
    Ok(Seen { size: u64::try_from(stat.st_size).unwrap_or(0), mtime: attr::mtime(&stat), inode: stat.st_ino })
}

//! Repair: a page of a directory as it is now.

use super::node::open_name;
use super::{Applier, Fault};
use crate::kept::{self, Truth};
use platform::sys::content::{hash, read_up_to};
use platform::sys::resolve::open_beneath;
use platform::sys::{attr, dir, proc_path, xattr};
use protocol::{Attrs, CHUNK_BYTES, Entry, Name, NodeKind, Own, Page, RelPath, Time};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A page ends after so many entries, ...
pub(crate) const MAX_ENTRIES: usize = 1024;
/// ... so many bytes of content hashed, ...
const MAX_HASHED_BYTES: u64 = 16 << 20;
/// ... or so many bytes of names and link targets: a page must fit a frame's header.
pub(crate) const MAX_TEXT_BYTES: usize = 1 << 20;

/// The names of the directory that was listed last.
pub(super) struct Listing {
    path: RelPath,
    names: Vec<Name>,
}

impl Applier {
    pub(super) fn list(
        &mut self,
        path: &RelPath,
        after: Option<&Name>,
        last: Option<&Name>,
        hash: bool,
    ) -> Result<Page, Fault> {
        let Some(directory) = self.directory(path)? else {
            return Ok(Page { exists: false, entries: Vec::new(), complete: true, own: None });
        };
        let listing = match self.listing.take() {
            Some(listing) if after.is_some() && listing.path == *path => listing,
            _ => Listing { path: path.clone(), names: dir::names(directory.as_fd())? },
        };
        let page = self.page(&directory, &listing.names, after, last, hash);
        self.listing = Some(listing);
        page
    }

    /// A page of the one name, if it is there.
    pub(super) fn look(&self, path: &RelPath, name: &Name, hash: bool) -> Result<Page, Fault> {
        match self.directory(path)? {
            Some(directory) => {
                let own = if path.is_root() { Some(own(directory.as_fd(), self.home.kept.any())?) } else { None };
                Ok(Page { own, ..self.page(&directory, std::slice::from_ref(name), None, None, hash)? })
            }
            None => Ok(Page { exists: false, entries: Vec::new(), complete: true, own: None }),
        }
    }

    /// A directory of the replica; `None` where there is none.
    fn directory(&self, path: &RelPath) -> Result<Option<OwnedFd>, Fault> {
        match open_beneath(self.tree(), path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => Ok(Some(directory)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn page(
        &self,
        directory: &OwnedFd,
        names: &[Name],
        after: Option<&Name>,
        last: Option<&Name>,
        hash: bool,
    ) -> Result<Page, Fault> {
        let first = after.map_or(0, |after| names.partition_point(|name| name <= after));
        let end = last.map_or(names.len(), |last| names.partition_point(|name| name <= last)).max(first);
        let mut page = Page { exists: true, entries: Vec::new(), complete: true, own: None };
        let (mut hashed, mut text) = (0, 0);
        for name in &names[first..end] {
            if page.entries.len() >= MAX_ENTRIES || hashed >= MAX_HASHED_BYTES || text >= MAX_TEXT_BYTES {
                page.complete = false;
                break;
            }
            // A name that went since the names were read is skipped.
            let mut entry = match self.entry(directory.as_fd(), name) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
                result => result?,
            };
            // What may have changed since the clean end is compared by content whatever else is: without a hash it would travel.
            let suspected = entry.suspect && self.home.clean.is_some();
            if (hash || suspected) && entry.kind == NodeKind::File && entry.size <= CHUNK_BYTES {
                let node = open_name(directory, name.as_bytes());
                entry.content = node.ok().and_then(|node| content_hash(self, node.as_fd(), entry.size));
                hashed += entry.size;
            }
            text += name.as_bytes().len();
            if let NodeKind::Symlink(to) = &entry.kind {
                text += to.len();
            }
            page.entries.push(entry);
        }
        Ok(page)
    }

    /// Opens a regular file to read it, without leaving a trace in its access time where that is allowed. What the name was when
    /// it was looked at, it need not be any more: opening a pipe would wait for a writer.
    pub(super) fn open_to_read(&self, node: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
        if FileType::from_raw_mode(attr::stat(node)?.st_mode) != FileType::RegularFile {
            return Err(Fault::damage("not a regular file"));
        }
        let open = |flags| rustix::fs::open(proc_path(node), OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty());
        let opened = match open(OFlags::NOATIME) {
            Err(Errno::PERM) => open(OFlags::empty()),
            result => result,
        };
        match opened {
            Err(Errno::ACCESS) => self.reopen(node),
            result => Ok(result?),
        }
    }

    fn entry(&self, directory: BorrowedFd<'_>, name: &Name) -> io::Result<Entry> {
        let suspects = |changed| self.home.clean.as_ref().is_none_or(|clean| clean.suspects(changed));
        let mut stat = attr::stat_at(directory, name.as_os_str())?;
        let mut pairs = match xattr::all_at(directory, name) {
            Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
                let node = open_name(directory, name.as_bytes())?;
                self.with_access(node.as_fd(), || xattr::all(node.as_fd()))?
            }
            result => result?,
        };
        // What the source did not change is no reason to suspect it.
        let changed = attr::ctime(&stat);
        if self.refit(directory, name, &stat, &pairs) {
            stat = attr::stat_at(directory, name.as_os_str())?;
            pairs = xattr::all_at(directory, name)?;
        }
        let kind = attr::kind_at(directory, name, &stat)?;
        let suspect = suspects(changed);
        Ok(described(name, &stat, kind, pairs, self.home.kept.any(), |_| suspect))
    }
}

/// What a directory is itself.
fn own(directory: BorrowedFd<'_>, keeps: bool) -> io::Result<Own> {
    let stat = attr::stat(directory)?;
    let pairs = xattr::all(directory)?;
    let (pairs, kept) = if keeps { kept::shown(pairs, attr::perm(&stat)) } else { (pairs, None) };
    let truth = Truth::of(&stat, kept.as_ref());
    let attrs = Attrs { mode: truth.mode, owner: truth.owner, mtime: attr::mtime(&stat) };
    Ok(Own { attrs, xattrs: xattr::digest(&pairs) })
}

/// A node as a reader is told of it.
pub(crate) fn entry(name: &Name, node: BorrowedFd<'_>) -> io::Result<Entry> {
    let stat = attr::stat(node)?;
    Ok(described(name, &stat, attr::kind(node, &stat)?, xattr::all(node)?, true, |_| false))
}

/// `keeps`: of some nodes something is kept that is not in force; `suspects`: whether a change at that time makes its attributes prove nothing.
fn described(
    name: &Name,
    stat: &Stat,
    kind: NodeKind,
    xattrs: Vec<xattr::Pair>,
    keeps: bool,
    suspects: impl FnOnce(Time) -> bool,
) -> Entry {
    // What is kept may have a block that the source's attributes have not; of others all blocks are told, reserved ones included.
    let blocks = attr::content_blocks(stat, keeps && !xattrs.is_empty());
    let (xattrs, kept) = if keeps { kept::shown(xattrs, attr::perm(stat)) } else { (xattrs, None) };
    let truth = Truth::of(stat, kept.as_ref());
    let kind = truth.special.unwrap_or(kind);
    let is_file = kind == NodeKind::File;
    Entry {
        name: name.clone(),
        attrs: Attrs { mode: truth.mode, owner: truth.owner, mtime: attr::mtime(stat) },
        size: if is_file { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        // What stands for something else has no blocks that are told.
        blocks: if is_file { blocks } else { 0 },
        links: stat.st_nlink,
        inode: stat.st_ino,
        xattrs: xattr::digest(&xattrs),
        suspect: suspects(attr::ctime(stat)),
        content: None,
        kind,
    }
}

/// Hash of a small file's content. `None`: it cannot be read, and so is not what the source has.
fn content_hash(applier: &Applier, node: BorrowedFd<'_>, size: u64) -> Option<[u8; 16]> {
    let fd = applier.open_to_read(node).ok()?;
    // One byte more than it had, to notice that it has grown: then it is another file, and the hash says so.
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(0) + 1];
    let got = read_up_to(&fd, &mut buffer, 0).ok()?;
    Some(hash(&buffer[..got]))
}

//! The undo log (S3, T7, I2): where the file system cannot clone the replica before repair makes it something that the source never was, what is needed
//! to take each change back is written to ROOT/.replfs/NAME/undo before the change, and is on the disk by then. It goes when the replica is coherent again.
//!
//! Three things are saved, each before it changes for the first time: what a node was, bytes of a file, and what was under a name. A
//! node of the coherent state is never freed: what would take its last name moves it to `undo/kept/<inode>` (`kept`). So inode
//! numbers name nodes. What is saved twice does no harm: what was saved first counts. `back` takes everything back.
//!
//! Which operation changes what is not known here (`apply::save`).

mod back;
mod find;
mod kept;
pub(crate) mod log;
mod names;
mod nodes;
mod report;
mod saved;

pub use report::{RollBack, RollBackError, roll_back};

use crate::root::open_or_make;
use crate::status::ImageStatus;
use log::{Entry, Node, Writer};
use parking_lot::Mutex;
use platform::sys::content::read_up_to;
use platform::sys::{attr, dir, extent, proc_path, xattr};
use protocol::Incarnation;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use saved::Saved;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Below ROOT/.replfs/NAME.
const DIR: &str = "undo";
/// One that is being begun.
const NEW: &str = "undo.new";
/// One that is not believed any more.
const OLD: &str = "undo.old";
/// Nodes without a name.
const KEPT: &str = "kept";
/// Data of a record at most, in bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// The undo log of one replica, if it has one now.
#[derive(Debug, Default)]
pub(crate) struct Undo(Mutex<Option<Active>>);

#[derive(Debug)]
struct Active {
    /// What it takes back to.
    status: ImageStatus,
    kept: OwnedFd,
    writer: Writer,
    saved: Saved,
    /// Bytes in segments before the writer's.
    before: u64,
    /// A node that has a name among the kept ones in addition, while its own is about to be replaced.
    second: Option<u64>,
}

impl Undo {
    /// Goes on with the log that is there. Of one that cannot be read what follows is still written: it is not believed, and says so when it is asked for.
    pub fn open(meta: BorrowedFd<'_>) -> io::Result<Self> {
        clear(meta)?;
        let Some(dir) = open_dir(meta, DIR)? else { return Ok(Self::default()) };
        let kept = open_or_make(&dir, Path::new(KEPT), 0o700)?;
        kept::settle(kept.as_fd())?;
        let mut saved = Saved::default();
        let mut status = None;
        let read = log::read(dir.as_fd(), &mut |_, _, entry| remember(&mut saved, &mut status, entry));
        let next = match read {
            Ok(next) => next,
            Err(unread) => {
                tracing::error!("the undo log cannot be read: {}", report::reason(&unread));
                saved = Saved::default();
                // Higher than any there is: whoever reads it finds the gap.
                1 << 62
            }
        };
        let segment = log::segments(dir.as_fd())?.last().copied().unwrap_or(0) + 1;
        let mut before = 0;
        for earlier in log::segments(dir.as_fd())? {
            before += log::open(dir.as_fd(), earlier)?.metadata()?.len();
        }
        let writer = Writer::begin(dir.as_fd(), segment, next)?;
        rustix::fs::fsync(&dir)?;
        let status = status.unwrap_or_else(|| ImageStatus { number: 0, taken: "unknown".to_owned() });
        Ok(Self(Mutex::new(Some(Active { status, kept, writer, saved, before, second: None }))))
    }

    /// Begins one: the replica is coherent, and everything up to `number` of that run is applied.
    pub fn begin(&self, meta: BorrowedFd<'_>, number: u64, incarnation: Incarnation) -> io::Result<ImageStatus> {
        self.forget(meta)?;
        // What was applied before is nowhere in the log: a power cut must not take it.
        rustix::fs::syncfs(dir::reopen(meta)?)?;
        let new = open_or_make(meta, Path::new(NEW), 0o700)?;
        let kept = open_or_make(&new, Path::new(KEPT), 0o700)?;
        let mut writer = Writer::begin(new.as_fd(), 1, 1)?;
        let taken = platform::sys::utc(platform::sys::now_ns() / 1_000_000_000);
        writer.append(&Entry::Begin { number, incarnation, taken: taken.clone() })?;
        writer.sync()?;
        rustix::fs::fsync(&new)?;
        rustix::fs::renameat(meta, NEW, meta, DIR)?;
        fsync(meta)?;
        let status = ImageStatus { number, taken };
        let active = Active { status: status.clone(), kept, writer, saved: Saved::default(), before: 0, second: None };
        *self.0.lock() = Some(active);
        Ok(status)
    }

    /// Removes it. When this returns, nobody finds it any more, also after a power cut.
    pub fn forget(&self, meta: BorrowedFd<'_>) -> io::Result<()> {
        let mut active = self.0.lock();
        forget(meta)?;
        *active = None;
        Ok(())
    }

    pub fn status(&self) -> Option<ImageStatus> {
        self.0.lock().as_ref().map(|active| active.status.clone())
    }

    /// Bytes of the log.
    pub fn size(&self) -> u64 {
        self.0.lock().as_ref().map_or(0, |active| active.before + active.writer.written())
    }

    pub fn is_active(&self) -> bool {
        self.0.lock().is_some()
    }

    /// A name in a directory is about to change, and with it the directory's time.
    pub fn name(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        self.with(|active| active.name(dir, name))
    }

    /// Attributes of a node are about to change.
    pub fn node(&self, node: BorrowedFd<'_>) -> io::Result<()> {
        self.with(|active| active.node(node, &attr::stat(node)?))
    }

    /// Whether bytes in a range of a node have to be saved before they change.
    pub fn wants_data(&self, stat: &Stat, range: &Range<u64>) -> bool {
        self.0.lock().as_ref().is_some_and(|active| {
            let saved = &active.saved;
            !saved.is_new(stat.st_ino)
                && (saved.is_untouched(stat.st_ino) || !saved.missing(stat.st_ino, &blocks(stat, range)).is_empty())
        })
    }

    /// Bytes in a range of a regular file, open for reading, are about to change.
    pub fn data(&self, file: BorrowedFd<'_>, range: &Range<u64>) -> io::Result<()> {
        self.with(|active| active.data(file, range))
    }

    /// A node has been made that is not of the coherent state.
    pub fn made(&self, inode: u64) -> io::Result<()> {
        self.with(|active| {
            if active.saved.add_new(inode) {
                active.writer.append(&Entry::New { inode })?;
            }
            Ok(())
        })
    }

    /// Waits for the disk until it has everything that was saved. Only then anything may change.
    pub fn sync(&self) -> io::Result<()> {
        self.with(|active| active.writer.sync())
    }

    fn with(&self, act: impl FnOnce(&mut Active) -> io::Result<()>) -> io::Result<()> {
        self.0.lock().as_mut().map_or(Ok(()), act)
    }
}

impl Active {
    fn name(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let stat = attr::stat(dir)?;
        if self.saved.has_name(stat.st_ino, name) {
            return Ok(());
        }
        self.node(dir, &stat)?;
        let inode = match rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there.st_ino,
            Err(Errno::NOENT) => 0,
            Err(e) => return Err(e.into()),
        };
        self.writer.append(&Entry::Name { dir: stat.st_ino, name: name.to_vec(), inode })?;
        self.saved.add_name(stat.st_ino, name);
        Ok(())
    }

    fn node(&mut self, node: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
        if self.saved.has_node(stat.st_ino) {
            return Ok(());
        }
        let size = size(stat);
        self.writer.append(&Entry::Node(Node {
            inode: stat.st_ino,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            atime: attr::atime(stat),
            mtime: attr::mtime(stat),
            xattrs: xattr::all(node)?,
        }))?;
        self.saved.add_node(stat.st_ino, size);
        Ok(())
    }

    fn data(&mut self, file: BorrowedFd<'_>, range: &Range<u64>) -> io::Result<()> {
        let stat = attr::stat(file)?;
        let inode = stat.st_ino;
        self.node(file, &stat)?;
        if self.saved.is_new(inode) {
            return Ok(());
        }
        if self.saved.is_untouched(inode) {
            let ranges = extent::unwritten(file)?.iter().map(|room| (room.offset, room.len)).collect();
            self.writer.append(&Entry::Room { inode, ranges })?;
            self.saved.touch(inode);
        }
        let range = blocks(&stat, range);
        let within = range.start..range.end.min(size(&stat));
        for part in self.saved.missing(inode, &within) {
            if part.start >= within.end {
                continue;
            }
            for segment in extent::segments(file, part.start, part.end - part.start)? {
                if segment.hole {
                    self.writer.append(&Entry::Hole { inode, offset: segment.offset, len: segment.len })?;
                } else {
                    self.bytes(file, inode, segment.offset..segment.offset + segment.len)?;
                }
            }
            self.saved.add_range(inode, part);
        }
        Ok(())
    }

    fn bytes(&mut self, file: BorrowedFd<'_>, inode: u64, range: Range<u64>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(PIECE_BYTES);
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            let got = read_up_to(file, &mut bytes, at)?;
            bytes.truncate(got);
            if got == 0 {
                // It has become shorter, by somebody else's hand.
                break;
            }
            self.writer.append(&Entry::Data { inode, offset: at, bytes })?;
            at += got as u64;
        }
        Ok(())
    }
}

/// Whole blocks: of a part of one no hole can be made again.
fn blocks(stat: &Stat, range: &Range<u64>) -> Range<u64> {
    let unit = u64::try_from(stat.st_blksize).unwrap_or(0).clamp(4096, 65536).next_power_of_two();
    let end = range.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX);
    range.start & !(unit - 1)..end
}

fn size(stat: &Stat) -> u64 {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 }
}

fn remember(saved: &mut Saved, status: &mut Option<ImageStatus>, entry: Entry) {
    match entry {
        Entry::Begin { number, taken, .. } => *status = Some(ImageStatus { number, taken }),
        Entry::Node(node) => saved.add_node(node.inode, node.size),
        Entry::Name { dir, name, .. } => saved.add_name(dir, &name),
        Entry::Data { inode, offset, bytes } => saved.add_range(inode, offset..offset + bytes.len() as u64),
        Entry::Hole { inode, offset, len } => saved.add_range(inode, offset..offset.saturating_add(len)),
        Entry::Room { inode, .. } => saved.touch(inode),
        Entry::New { inode } => drop(saved.add_new(inode)),
    }
}

/// The log that is there, whether or not it can be read.
pub(crate) fn find(meta: BorrowedFd<'_>) -> io::Result<Option<ImageStatus>> {
    let Some(dir) = open_dir(meta, DIR)? else { return Ok(None) };
    let begin = log::segments(dir.as_fd())?.first().and_then(|first| log::open(dir.as_fd(), *first).ok());
    Ok(match begin.and_then(|file| log::read_at(&file, 0).ok()) {
        Some(Entry::Begin { number, taken, .. }) => Some(ImageStatus { number, taken }),
        _ => None,
    })
}

fn forget(meta: BorrowedFd<'_>) -> io::Result<()> {
    clear(meta)?;
    match rustix::fs::renameat(meta, DIR, meta, OLD) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    fsync(meta)?;
    // What is left is removed the next time.
    if let Err(error) = clear(meta) {
        tracing::warn!(%error, "cannot remove an undo log that is over");
    }
    Ok(())
}

/// Removes what was begun and not ended, or ended and not removed.
fn clear(meta: BorrowedFd<'_>) -> io::Result<()> {
    for left in [NEW, OLD] {
        match std::fs::remove_dir_all(proc_path(meta).join(left)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn open_dir(at: BorrowedFd<'_>, name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn fsync(dir: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fsync(dir::reopen(dir)?)?)
}

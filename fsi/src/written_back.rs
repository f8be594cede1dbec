//! Writing back (`--cache writeback`, decision 26): the kernel answers applications from its cache and writes pages, and the modification times that it keeps
//! for them, when it likes. What it wrote and nobody has waited for yet stands here, until a file is closed: order is kept from fsync to fsync and from
//! close to open. Where nothing is gathered, only mapped pages come this way.

use crate::attrs::{SetTime, Wanted};
use crate::data::{Durable, Manner};
use crate::files::OpenFile;
use crate::fs::{Done, Fs};
use parking_lot::Mutex;
use platform::sys::attr;
use platform::tree::Node;
use protocol::RelPath;
use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT};
use srm::Ticket;
use srm::status::CacheMode;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Files that are told at once.
const MOST_WRITERS: usize = 1024;

/// What was written back of open files, by inode number. Bounded by them.
#[derive(Debug, Default)]
pub(crate) struct WrittenBack(Mutex<HashMap<u64, Ticket>>);

impl WrittenBack {
    /// Where the kernel gathers writes.
    pub fn of(cache: CacheMode) -> Option<Self> {
        (cache == CacheMode::Writeback).then(Self::default)
    }

    /// Something of an open file was written back. What is not sent (it was absorbed) may come after what is still on its way.
    pub fn add(&self, ino: u64, ticket: Ticket) {
        let mut newest = self.0.lock();
        let newest = newest.entry(ino).or_insert(ticket);
        *newest = ticket.max(*newest);
    }

    /// What whoever closes the file waits for; `None`: nothing was written back that nobody waited for.
    pub fn awaited(&self, ino: u64) -> Option<Ticket> {
        self.0.lock().get(&ino).copied()
    }

    /// Somebody has waited for this.
    pub fn answered(&self, ino: u64, ticket: Ticket) {
        let mut newest = self.0.lock();
        if newest.get(&ino) == Some(&ticket) {
            newest.remove(&ino);
        }
    }

    /// It was closed for the last time.
    pub fn closed(&self, ino: u64) {
        self.0.lock().remove(&ino);
    }
}

/// Gives a file back the modification time that it had: the kernel tells the one that counts, and does not where that has not changed by its clock.
pub(crate) fn keep_time(node: &Node, fd: BorrowedFd<'_>, before: &Stat) {
    let mtime = attr::mtime(before);
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() },
    };
    if let Err(error) = rustix::fs::futimens(fd, &times) {
        tracing::warn!(ino = node.ino(), %error, "a file that was written back has the time of that until the kernel tells its own");
    }
}

impl Fs {
    /// Whether the kernel gathers writes, and has the sizes and times of files that count.
    pub(crate) fn gathers(&self) -> bool {
        self.written_back.is_some()
    }

    /// Pages that the kernel writes back, as whoever opened the file: it does not say whose they are. All of them or an error: it takes a short write for a
    /// whole one.
    pub(crate) fn write_back(&self, file: &OpenFile, offset: u64, data: &[u8], kills: bool) -> io::Result<u32> {
        let manner = Manner { kills, durable: Durable::No, written_back: true };
        let mut written = 0;
        while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
            let write = || self.write(file.opener, file, offset + written as u64, rest, manner);
            let outcome = if self.gathers() { self.changing(write) } else { write() };
            match outcome {
                Ok(Done { value: 0, .. }) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(done) => written += done.value as usize,
                Err(failed) => return Err(failed.error),
            }
        }
        // A request carries at most 1 MiB.
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }

    /// Files that somebody has open for writing, of which the kernel may hold something back: some of those with numbers beyond `after`, in order. A file without a
    /// name is nobody's to find.
    pub(crate) fn writers(&self, after: u64) -> Vec<(u64, RelPath)> {
        let found = RefCell::new(BTreeMap::new());
        self.files.for_each(|file| {
            if file.writes && file.node.ino() > after {
                found.borrow_mut().insert(file.node.ino(), Arc::clone(&file.node));
            }
        });
        let names = self.tree.names().read();
        let paths = found.into_inner().into_iter().filter_map(|(ino, node)| Some((ino, node.path(&names)?)));
        paths.take(MOST_WRITERS).collect()
    }

    /// The kernel tells the time with a size that it takes for another one; with the same size its own stays.
    pub(crate) fn with_time(&self, wanted: &Wanted, before: &Stat) -> Wanted {
        let stays = self.gathers() && wanted.size.is_some();
        let time = stays.then(|| SetTime::At(attr::mtime(before)));
        Wanted { mtime: wanted.mtime.or(time), ..*wanted }
    }

    /// The attributes of a node whose modification time is already the one that is wanted and nothing else is: the kernel tells it again whenever a name of a
    /// file changes.
    pub(crate) fn has_time(&self, ino: u64, file: Option<u64>, wanted: &Wanted) -> Option<Stat> {
        let time = wanted.time_alone().filter(|_| self.gathers())?;
        self.getattr(ino, file).ok().filter(|stat| attr::mtime(stat) == time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_back_is_awaited_until_somebody_has_waited() {
        assert!(WrittenBack::of(CacheMode::Through).is_none());
        let late = WrittenBack::default();
        assert_eq!(late.awaited(7), None);
        late.add(7, Ticket::NONE);
        assert_eq!(late.awaited(7), Some(Ticket::NONE));
        late.answered(7, Ticket::NONE);
        assert_eq!(late.awaited(7), None);
        late.add(7, Ticket::NONE);
        late.closed(7);
        assert_eq!(late.awaited(7), None);
    }
}

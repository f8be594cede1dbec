//! The exact look at one name: the source is read and the target asked about the same moment.

use super::is_elsewhere;
use super::judge::{self, Mine};
use super::run::{Ended, Found, Run};
use super::status::FindingKind;
use crate::pass::is_gone;
use crate::set::Kind;
use platform::sys::content::hash;
use platform::sys::proc_path;
use platform::tree::{Names, Node, Snapshot};
use protocol::{CHUNK_BYTES, Entry, Name, NodeKind, Op, RelPath};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What an exact look found.
pub(super) struct Looked {
    pub found: Option<Found>,
    /// A regular file whose content is too large for one question.
    pub big: bool,
    /// A directory on both sides.
    pub directory: bool,
}

impl Looked {
    const NOTHING: Self = Self { found: None, big: false, directory: false };
}

/// An exact look that waits for its answer.
pub(super) struct Question {
    path: RelPath,
    mine: Option<(Mine, Option<[u8; 16]>)>,
    asked: super::ask::Asked,
}

/// An exact look that has begun.
pub(super) enum Begun {
    Over(Looked),
    Asked(Question),
}

/// One moment of the source, under its locks.
enum Moment {
    /// There is nothing to ask about: not replicated, or the directory is gone.
    Nothing,
    /// It could not be read.
    Unreadable(Found),
    /// This is there, or nothing; with the digest of its content.
    There(Question),
    /// The question could not be put.
    Later,
}

impl Run {
    /// Compares a name exactly. `content`: that of a small file too.
    pub(super) fn exactly(&mut self, dir: &Arc<Node>, name: &Name, content: bool) -> Result<Looked, Ended> {
        loop {
            match self.begin_exactly(dir, name, content)? {
                Begun::Over(looked) => return Ok(looked),
                Begun::Asked(question) => {
                    if let Some(looked) = self.end_exactly(question)? {
                        return Ok(looked);
                    }
                }
            }
        }
    }

    /// Reads the source and asks the target; the answer comes later.
    pub(super) fn begin_exactly(&mut self, dir: &Arc<Node>, name: &Name, content: bool) -> Result<Begun, Ended> {
        if content {
            let size =
                self.srm.tree.peek(&self.srm.tree.names().read(), dir, name).map_or(0, |peeked| size_of(&peeked));
            if size <= CHUNK_BYTES {
                self.pace(size)?;
            }
        }
        loop {
            self.wait_ready()?;
            match self.moment(dir, name, content) {
                Moment::Nothing => return Ok(Begun::Over(Looked::NOTHING)),
                Moment::Unreadable(found) => return Ok(Begun::Over(Looked { found: Some(found), ..Looked::NOTHING })),
                Moment::Later => {}
                Moment::There(question) => return Ok(Begun::Asked(question)),
            }
        }
    }

    /// Waits for the answer; `None`: it was lost.
    pub(super) fn end_exactly(&mut self, question: Question) -> Result<Option<Looked>, Ended> {
        let Question { path, mine, asked } = question;
        let Some(answers) = self.answers(&asked)? else { return Ok(None) };
        let page = self.page_of(answers.into_iter().next());
        Ok(page.map(|page| self.judge(path, mine, page.entries.into_iter().next())))
    }

    fn judge(&self, path: RelPath, mine: Option<(Mine, Option<[u8; 16]>)>, entry: Option<Entry>) -> Looked {
        match (mine, entry) {
            (None, None) => Looked::NOTHING,
            (Some((mine, _)), None) => Looked { found: Some(Found::lost(path, &mine)), ..Looked::NOTHING },
            (None, Some(entry)) => {
                // What is not replicated is not the source's.
                if !self.srm.set().takes(&path, Kind::of(&entry.kind), entry.size) {
                    return Looked::NOTHING;
                }
                let detail = format!("{} that only the target has", judge::word(&entry.kind));
                Looked { found: Some(Found::of(path, (FindingKind::Extra, detail))), ..Looked::NOTHING }
            }
            (Some((mine, digest)), Some(entry)) => {
                let same = digest.map(|digest| entry.content == Some(digest));
                let found = judge::judge(&mine, &entry, same).map(|found| Found::of(path, found));
                let big = mine.kind == NodeKind::File && mine.size > CHUNK_BYTES;
                let directory = mine.kind == NodeKind::Directory && entry.kind == NodeKind::Directory;
                Looked { found, big, directory }
            }
        }
    }

    /// Reads a name and numbers the question about it under the same locks.
    fn moment(&self, dir: &Arc<Node>, name: &Name, content: bool) -> Moment {
        let names = self.srm.tree.names().read();
        let Some(above) = dir.path(&names) else { return Moment::Nothing };
        let Ok(path) = above.join(name) else { return Moment::Nothing };
        let question = |hash| Op::Look { path: above.clone(), name: name.clone(), hash };
        let node = match self.srm.tree.lookup(&names, dir, name, 0) {
            Ok((node, _)) => node,
            Err(error) if is_elsewhere(&error) => return Moment::Nothing,
            Err(error) if is_gone(&error) => {
                // Names stand still: it stays away until the question is numbered.
                let asked = self.srm.verify_ask(&[question(false)]);
                return asked.map_or(Moment::Later, |asked| Moment::There(Question { path, mine: None, asked }));
            }
            Err(error) => return Moment::Unreadable(Found::unreadable(path, &error)),
        };
        let moment = {
            let _still = node.lock.lock();
            match self.read(&names, &node, &path, content) {
                Ok(Some((mine, digest))) => match self.srm.verify_ask(&[question(digest.is_some())]) {
                    Some(asked) => Moment::There(Question { path, mine: Some((mine, digest)), asked }),
                    None => Moment::Later,
                },
                Ok(None) => Moment::Nothing,
                Err(error) if is_gone(&error) => Moment::Later,
                Err(error) => Moment::Unreadable(Found::unreadable(path, &error)),
            }
        };
        self.srm.tree.settle(node);
        moment
    }

    /// The caller holds the node's lock. `None`: it is not replicated.
    fn read(
        &self,
        names: &Names,
        node: &Node,
        path: &RelPath,
        content: bool,
    ) -> io::Result<Option<(Mine, Option<[u8; 16]>)>> {
        let snapshot = self.srm.tree.open_snapshot(names, node)?;
        let mine = Mine::of(&snapshot);
        if !self.srm.set().takes(path, Kind::of(&mine.kind), mine.size) {
            return Ok(None);
        }
        let digest = if content && mine.kind == NodeKind::File && mine.size <= CHUNK_BYTES {
            let fd = open_to_read(snapshot.fd.as_fd())?;
            Some(hash(&crate::pass::read(fd.as_fd(), 0, mine.size)?))
        } else {
            None
        };
        Ok(Some((mine, digest)))
    }
}

/// Size of a regular file; zero for all others.
pub(super) fn size_of(snapshot: &Snapshot) -> u64 {
    if snapshot.kind == NodeKind::File { snapshot.stat.st_size.cast_unsigned() } else { 0 }
}

/// Opens a regular file, without leaving a trace in its access time where that is allowed.
pub(super) fn open_to_read(node: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let open = |flags| rustix::fs::open(proc_path(node), OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty());
    Ok(match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty())?,
        result => result?,
    })
}

//! The content of big files, a piece at a time: read without locks first, and where that differs once more under the file's
//! lock, with the question numbered there.

use super::ask::Asked;
use super::is_elsewhere;
use super::judge::{self, Mine};
use super::name::{open_to_read, size_of};
use super::run::{Ended, Found, Run};
use crate::pass::{is_gone, read};
use platform::sys::content::hash;
use platform::tree::Node;
use protocol::{Answer, At, CHUNK_BYTES, Name, NodeId, NodeKind, Op, Place, RelPath};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Pieces that are asked about at once.
const AHEAD: usize = 4;

/// A piece that was read without locks and asked about.
struct Piece {
    offset: u64,
    len: u64,
    asked: Asked,
}

/// What an exact look at a piece found.
enum Exact {
    Same,
    /// It is another file by now, or shorter, or gone: nothing more is to be said of it.
    Over,
    Differs(Found),
}

/// One moment of a piece.
enum Moment {
    Over,
    Later,
    Unreadable(Found),
    There(RelPath, Mine, Asked),
}

impl Run {
    /// Compares the content of a file of more than a piece.
    pub(super) fn big(&mut self, dir: &Arc<Node>, name: &Name) -> Result<Option<Found>, Ended> {
        let Some((fd, ino, mut size)) = self.open_loosely(dir, name) else { return Ok(None) };
        let mut pieces: VecDeque<Piece> = VecDeque::new();
        let mut at = 0;
        loop {
            if at < size && pieces.len() < AHEAD {
                let len = CHUNK_BYTES.min(size - at);
                match self.ask_piece(dir, name, &fd, at, len)? {
                    Some(asked) => pieces.push_back(Piece { offset: at, len, asked }),
                    // It cannot be read that far, or is gone: an exact look says which.
                    None => match self.piece_exactly(dir, name, at, ino)? {
                        Exact::Same => {}
                        Exact::Over => size = at,
                        Exact::Differs(found) => return Ok(Some(found)),
                    },
                }
                at += len;
                continue;
            }
            let Some(Piece { offset, len, asked }) = pieces.pop_front() else { break };
            let same = match self.answers(&asked)? {
                Some(answers) => answers.iter().all(|answer| *answer == Answer::Differs(Vec::new())),
                None => false,
            };
            self.note(|status| status.bytes += len);
            if !same {
                match self.piece_exactly(dir, name, offset, ino)? {
                    Exact::Same => {}
                    Exact::Over => return Ok(None),
                    Exact::Differs(found) => return Ok(Some(found)),
                }
            }
        }
        self.note(|status| status.files += 1);
        Ok(None)
    }

    fn open_loosely(&self, dir: &Arc<Node>, name: &Name) -> Option<(OwnedFd, u64, u64)> {
        let snapshot = self.srm.tree.peek(&self.srm.tree.names().read(), dir, name).ok()?;
        if snapshot.kind != NodeKind::File {
            return None;
        }
        // What may not be read is found out by the exact look at it.
        let fd = open_to_read(snapshot.fd.as_fd()).ok()?;
        Some((fd, snapshot.stat.st_ino, size_of(&snapshot)))
    }

    /// Reads a piece and asks about it, without locks; `None`: that cannot be.
    fn ask_piece(
        &mut self,
        dir: &Arc<Node>,
        name: &Name,
        fd: &OwnedFd,
        offset: u64,
        len: u64,
    ) -> Result<Option<Asked>, Ended> {
        self.pace(len)?;
        let Ok(data) = read(fd.as_fd(), offset, len) else { return Ok(None) };
        let hash = hash(&data);
        loop {
            self.wait_ready()?;
            let names = self.srm.tree.names().read();
            let Some(path) = crate::pass::path_of(&names, dir, name) else { return Ok(None) };
            if let Some(asked) = self.srm.verify_ask(&[compare(path, offset, len, hash)]) {
                return Ok(Some(asked));
            }
        }
    }

    /// Compares a piece of the file that has this name, as both are at one moment.
    fn piece_exactly(&mut self, dir: &Arc<Node>, name: &Name, offset: u64, ino: u64) -> Result<Exact, Ended> {
        self.pace(CHUNK_BYTES)?;
        loop {
            self.wait_ready()?;
            match self.piece_moment(dir, name, offset, ino) {
                Moment::Over => return Ok(Exact::Over),
                Moment::Unreadable(found) => return Ok(Exact::Differs(found)),
                Moment::Later => {}
                Moment::There(path, mine, asked) => {
                    let Some(answers) = self.answers(&asked)? else { continue };
                    let mut answers = answers.into_iter();
                    let Some(page) = self.page_of(answers.next()) else { continue };
                    let Some(Answer::Differs(list)) = answers.next() else {
                        let _damage: Option<()> = self.unasked();
                        continue;
                    };
                    let Some(entry) = page.entries.into_iter().next() else {
                        return Ok(Exact::Differs(Found::lost(path, &mine)));
                    };
                    if list.is_empty() {
                        return Ok(Exact::Same);
                    }
                    // It differs at this moment, whatever the attributes say.
                    let found = judge::judge(&mine, &entry, Some(false));
                    return Ok(found.map_or(Exact::Same, |found| Exact::Differs(Found::of(path, found))));
                }
            }
        }
    }

    fn piece_moment(&self, dir: &Arc<Node>, name: &Name, offset: u64, ino: u64) -> Moment {
        let names = self.srm.tree.names().read();
        let Some(above) = dir.path(&names) else { return Moment::Over };
        let Ok(path) = above.join(name) else { return Moment::Over };
        let node = match self.srm.tree.lookup(&names, dir, name, 0) {
            Ok((node, _)) => node,
            Err(error) if is_elsewhere(&error) || is_gone(&error) => return Moment::Over,
            Err(error) => return Moment::Unreadable(Found::unreadable(path, &error)),
        };
        let moment = if node.ino() == ino {
            let _still = node.lock.lock();
            let read = || -> io::Result<Option<(Mine, u64, [u8; 16])>> {
                let snapshot = self.srm.tree.open_snapshot(&names, &node)?;
                let size = size_of(&snapshot);
                if offset >= size {
                    return Ok(None);
                }
                let len = CHUNK_BYTES.min(size - offset);
                let fd = open_to_read(snapshot.fd.as_fd())?;
                Ok(Some((Mine::of(&snapshot), len, hash(&read(fd.as_fd(), offset, len)?))))
            };
            match read() {
                Ok(None) => Moment::Over,
                Ok(Some((mine, len, hash))) => {
                    let look = Op::Look { path: above, name: name.clone(), hash: false };
                    let asked = self.srm.verify_ask(&[look, compare(path.clone(), offset, len, hash)]);
                    asked.map_or(Moment::Later, |asked| Moment::There(path, mine, asked))
                }
                Err(error) if is_gone(&error) => Moment::Over,
                Err(error) => Moment::Unreadable(Found::unreadable(path, &error)),
            }
        } else {
            Moment::Over
        };
        self.srm.tree.settle(node);
        moment
    }
}

fn compare(path: RelPath, offset: u64, len: u64, hash: [u8; 16]) -> Op {
    // By its path: a descriptor that the target has open says nothing of what stands under the name.
    let place = Place { node: NodeId::new(0), at: At::Path(path) };
    let block_bytes = u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX);
    Op::Compare { place, offset, len, block_bytes, hashes: hash.to_vec(), as_read: true }
}

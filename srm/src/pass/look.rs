//! Comparing one name and sending what differs.

use super::ask::Told;
use super::shift::{self, Old};
use super::stage::STAGED_ABOVE_BYTES;
use super::{Stop, is_gone, unreadable};
use crate::Srm;
use crate::core::Core;
use crate::ensure::{How, ensure, mtime_of};
use crate::map::{Dirt, Hint, Known, Source, Work};
use crate::member::kind_of;
use crate::set::Kind;
use bytes::Bytes;
use platform::sys::content::hash;
use platform::sys::{attr, extent, xattr};
use platform::tree::{Names, Node, Snapshot};
use protocol::{At, CHUNK_BYTES, Content, Draft, Entry, Name, NodeId, Op, Place, RelPath, Replaced};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// What is known of a name on the target when it is looked at.
#[derive(Clone, Copy)]
pub(super) enum There<'a> {
    /// As the target was when it was asked, and nothing touched this name since.
    Entry(Option<&'a Entry>),
    /// Anything may be there.
    Anything,
}

impl<'a> There<'a> {
    fn entry(self) -> Option<&'a Entry> {
        match self {
            Self::Entry(entry) => entry,
            Self::Anything => None,
        }
    }
}

/// What became of a look.
enum Looked {
    /// The name is settled.
    Settled,
    /// Something touched it meanwhile.
    Again,
    /// Its content is to be brought over the lanes first.
    Stage(Arc<Node>, Way),
}

/// How content comes over the lanes.
pub(super) enum Way {
    /// All of it.
    Whole,
    /// Much of it may be in what the target has under this name, at other places.
    From(Old),
}

/// Which big files may go over the lanes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lanes {
    All,
    /// Only those that the target does not have.
    Whole,
    None,
}

/// How what only the target has goes.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// As it did on the source.
    Deleted,
    /// It is set aside.
    Aside,
    /// With all that is in it: that is what its user wants.
    Removed,
}

/// What has to be done to a name.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// Nothing.
    Same,
    /// Everything but content.
    Attributes { fresh: bool },
    /// Content too.
    Content { source: Source, fresh: bool },
}

impl Srm {
    /// Sees to a name that waits for a look.
    pub(super) fn look(&self, number: u64, dir: &Arc<Node>, name: &Name) -> Result<(), Stop> {
        let mut lanes = Lanes::All;
        'look: loop {
            self.wait_for_room(number)?;
            let (known, turn) = {
                let mut core = self.core.lock();
                let pass = core.gate.pass(number).ok_or(Stop::Over)?;
                // A live operation has settled it.
                if !pass.is_pending(dir, name) {
                    return Ok(());
                }
                pass.look(dir, name)
            };
            let deleted = known == Known::Hint(Hint::Deleted);
            let told = match known {
                Known::Anything => None,
                Known::Hint(Hint::Nothing) => Some(None),
                Known::Hint(Hint::Ask | Hint::Deleted) => match self.entry(number, dir, name)? {
                    Told::Entry(entry) => Some(entry),
                    Told::Gone => Some(None),
                },
            };
            let there = told.as_ref().map_or(There::Anything, |entry| There::Entry(entry.as_deref()));
            // What is known holds until something touches the name.
            loop {
                let (node, way) = match self.settle_name(number, (dir, name, turn), there, (deleted, lanes))? {
                    Looked::Settled => return Ok(()),
                    Looked::Again => continue 'look,
                    Looked::Stage(node, way) => (node, way),
                };
                let worth = match &way {
                    Way::Whole => Ok(true),
                    Way::From(old) => self.is_shifted(number, (dir, name), &node, old),
                };
                let staged =
                    worth.and_then(
                        |worth| {
                            if worth { self.stage(number, (dir, name, turn), &node, &way) } else { Ok(false) }
                        },
                    );
                self.tree.settle(node);
                // It is looked at once more; a file that was placed is right by then.
                if staged? {
                    continue 'look;
                }
                lanes = if matches!(way, Way::From(_)) { Lanes::Whole } else { Lanes::None };
            }
        }
    }

    /// Sees to a name that was listed, unless it waits for a look of its own.
    pub(super) fn look_listed(
        &self,
        number: u64,
        dir: &Arc<Node>,
        name: &Name,
        entry: Option<&Entry>,
    ) -> Result<(), Stop> {
        self.wait_for_room(number)?;
        let names = self.tree.names().read();
        if self.core.lock().gate.pass(number).ok_or(Stop::Over)?.is_pending(dir, name) {
            return Ok(());
        }
        if let Looked::Stage(node, _) =
            self.compare_name(number, &names, dir, name, There::Entry(entry), (false, Lanes::All))?
        {
            let mut core = self.core.lock();
            core.gate.pass(number).ok_or(Stop::Over)?.add_name(dir, name, Hint::Ask);
            drop(core);
            self.tree.settle(node);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Sees to a pending name by what was found out. `false`: something touched it meanwhile.
    fn settle_name(
        &self,
        number: u64,
        (dir, name, turn): (&Arc<Node>, &Name, u64),
        there: There<'_>,
        how: (bool, Lanes),
    ) -> Result<Looked, Stop> {
        let names = self.tree.names().read();
        {
            let mut core = self.core.lock();
            let pass = core.gate.pass(number).ok_or(Stop::Over)?;
            if !pass.is_pending(dir, name) {
                return Ok(Looked::Settled);
            }
            if !pass.is_right(dir) {
                // Its own look comes to all that is in it.
                pass.not_pending(dir, name);
                return Ok(Looked::Settled);
            }
            if matches!(there, There::Entry(_)) && !pass.is_untouched(dir, name, turn) {
                return Ok(Looked::Again);
            }
        }
        self.compare_name(number, &names, dir, name, there, how)
    }

    /// Compares a name; afterwards it does not wait for a look any more, and what happens to it is its own affair.
    fn compare_name(
        &self,
        number: u64,
        names: &Names,
        dir: &Arc<Node>,
        name: &Name,
        there: There<'_>,
        (deleted, lanes): (bool, Lanes),
    ) -> Result<Looked, Stop> {
        let settled = || {
            self.core.lock().gate.pass(number).ok_or(Stop::Over)?.not_pending(dir, name);
            Ok(Looked::Settled)
        };
        let node = match self.tree.lookup(names, dir, name, 0) {
            Ok((node, stat)) => {
                if self.is_filtered() && stat.st_nlink > 1 {
                    self.straddling.note(&node, stat.st_nlink);
                }
                node
            }
            // Another file system, which is not replicated.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => return settled(),
            Err(error) if is_gone(&error) => {
                let away = if self.takes_entry(names, dir, name, there.entry()) {
                    if matches!(there, There::Entry(Some(_)) | There::Anything) {
                        self.core.lock().progress.repaired += 1;
                    }
                    Some(if deleted { Away::Deleted } else { Away::Aside })
                } else {
                    self.left_out(there, deleted)
                };
                away.map_or(Ok(()), |away| self.clear_name(number, names, dir, name, away))?;
                return settled();
            }
            Err(error) => return Err(unreadable(dir, names, error)),
        };
        let result = {
            // Also over a file that is left out: one that comes in by its size, and then waits for a look, must not be
            // taken for settled by this one.
            let _still = node.lock.lock();
            if self.takes_now(names, dir, name, &node) {
                match self.bring(number, names, dir, name, &node, (there, lanes)) {
                    Ok(None) => {
                        self.core.lock().progress.entries += 1;
                        settled()
                    }
                    Ok(Some(way)) => return Ok(Looked::Stage(Arc::clone(&node), way)),
                    Err(stop) => Err(stop),
                }
            } else {
                if let Some(pass) = self.core.lock().gate.pass(number) {
                    if node.is_dir() {
                        pass.departs(&node, |dir| dir.has_name());
                    } else {
                        pass.confine(&node, None);
                    }
                }
                // What the target has is of another kind: of what had the name before, and was replicated.
                let kind = kind_of(node.kind());
                let replaced = match there {
                    There::Entry(entry) => {
                        entry.is_some_and(|entry| Kind::of(&entry.kind) != kind)
                            && self.takes_entry(names, dir, name, there.entry())
                    }
                    There::Anything => true,
                };
                let away = self.left_out(there, deleted).or(replaced.then_some(Away::Aside));
                away.map_or(Ok(()), |away| self.clear_name(number, names, dir, name, away)).and_then(|()| settled())
            }
        };
        self.tree.settle(node);
        result
    }

    /// What becomes of what the target has under a name that the set leaves out: it stays, unless it is not to, or is of a file
    /// that is no more. `None`: nothing.
    fn left_out(&self, there: There<'_>, deleted: bool) -> Option<Away> {
        there.entry()?;
        match deleted {
            true => Some(Away::Deleted),
            false if self.is_dropping() => Some(Away::Removed),
            false => self.sweep.is_wanted().then_some(Away::Aside),
        }
    }

    /// The source has nothing at this name that the target is to have: what is there goes.
    fn clear_name(&self, number: u64, names: &Names, dir: &Arc<Node>, name: &Name, away: Away) -> Result<(), Stop> {
        let Some(path) = path_of(names, dir, name) else { return Ok(()) };
        let _its_time = dir.lock.lock();
        let parent_mtime = match mtime_of(self, names, dir) {
            Ok(time) => time,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(unreadable(dir, names, error)),
        };
        let op = match away {
            Away::Deleted => {
                let gone = Replaced { node: self.tree.fresh_id(), orphan: false };
                Op::Unlink { path, gone, directory: false, parent_mtime }
            }
            Away::Aside => Op::SetAside { path, parent_mtime },
            Away::Removed => Op::Remove { path, parent_mtime },
        };
        self.push(number, Draft::new(&op, Bytes::new()))
    }

    /// Sees to it that the node is right under this name. The caller holds the node's lock. Answers how its
    /// content is to be staged, if that comes first.
    fn bring(
        &self,
        number: u64,
        names: &Names,
        dir: &Arc<Node>,
        name: &Name,
        node: &Arc<Node>,
        (there, lanes): (There<'_>, Lanes),
    ) -> Result<Option<Way>, Stop> {
        {
            let mut core = self.core.lock();
            let pass = core.gate.pass(number).ok_or(Stop::Over)?;
            if pass.is_right(node) {
                if pass.is_right_at(dir, name, node.ino()) {
                    return Ok(None);
                }
                let clean = pass.right_link(node);
                drop(core);
                if let Some(clean) = clean {
                    self.link(number, names, dir, name, node, &clean)?;
                    self.doubt(number, names, node)?;
                }
                return Ok(None);
            }
        }
        let Some(path) = path_of(names, dir, name) else { return Ok(None) };
        let snapshot = match self.tree.snapshot(names, node) {
            Ok(snapshot) => snapshot,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(unreadable(node, names, error)),
        };
        if !node.is_dir() {
            let links = self.names_in_set(names, node);
            let mut core = self.core.lock();
            let pass = core.gate.pass(number).ok_or(Stop::Over)?;
            if !pass.may_send_anew(node, links) {
                core.all_dirty("a file may be on the target under a name that is not known; all will be compared");
                return Err(Stop::Over);
            }
        }
        let verdict = self.judge(number, (names, dir), node, &snapshot, there)?;
        if matches!(verdict, Verdict::Content { .. }) {
            self.heat_content(names, node);
        }
        let several = !node.is_dir() && snapshot.stat.st_nlink > 1;
        let link = (dir, name, several);
        let size = snapshot.stat.st_size.cast_unsigned();
        if let Verdict::Content { source, .. } = verdict
            && size > STAGED_ABOVE_BYTES
        {
            let way = match (source, there.entry()) {
                (Source::Fresh, _) if lanes != Lanes::None => Some(Way::Whole),
                (Source::Unknown, Some(entry)) if lanes == Lanes::All => {
                    shift::candidate(&path, &snapshot.stat, entry, self.config.compare.min_size).map(Way::From)
                }
                _ => None,
            };
            if way.is_some() {
                self.found(number, node, size)?;
                return Ok(way);
            }
        }
        let (content, payload, copy) = match verdict {
            Verdict::Same => return self.same(number, node, link).map(|()| None),
            Verdict::Attributes { .. } => (Content::Keep, Bytes::new(), None),
            Verdict::Content { source, .. } => {
                match self.whole(names, node, &snapshot, source).map_err(|error| unreadable(node, names, error))? {
                    Some(data) => (Content::Whole, data, None),
                    None => (Content::Keep, Bytes::new(), Some(source)),
                }
            }
        };
        let _its_time = dir.lock.lock();
        let parent_mtime = match mtime_of(self, names, dir) {
            Ok(time) => time,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(unreadable(dir, names, error)),
        };
        let fresh = matches!(verdict, Verdict::Content { fresh: true, .. } | Verdict::Attributes { fresh: true });
        let sent = payload.len() as u64;
        let how = How { fresh, content, parent_mtime: Some(parent_mtime) };
        let draft = Draft::new(&ensure(node, path, snapshot, how), payload);
        let mut core = self.core.lock();
        core.gate.pass(number).ok_or(Stop::Over)?;
        if node.is_dir() {
            self.send_directory(&mut core, node, Some(&(Arc::clone(dir), name.clone())), draft);
            return Ok(None);
        }
        let _no_reply_waits = self.queue(&mut core, draft, 0);
        core.progress.repaired += 1;
        core.progress.sent_bytes += sent;
        core.progress.found(sent);
        core.progress.advance(sent);
        set_right(&mut core, number, node, link)?;
        if let (Some(source), Some(pass)) = (copy, core.gate.pass(number)) {
            pass.add(Work::Copy(Arc::clone(node), source));
            drop(core);
            self.found(number, node, size)?;
        }
        self.changed.notify_all();
        Ok(None)
    }

    /// The content of a file is wanted; counted once, however often it is looked at.
    fn found(&self, number: u64, node: &Arc<Node>, size: u64) -> Result<(), Stop> {
        let mut core = self.core.lock();
        if core.gate.pass(number).ok_or(Stop::Over)?.weigh(node) {
            core.progress.found(size);
        }
        Ok(())
    }

    /// A name is the same on both sides.
    fn same(&self, number: u64, node: &Arc<Node>, link: (&Arc<Node>, &Name, bool)) -> Result<(), Stop> {
        let mut core = self.core.lock();
        set_right(&mut core, number, node, link)?;
        if node.is_dir() {
            core.gate.pass(number).ok_or(Stop::Over)?.set_listing(node);
            drop(core);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// One more name of a node that is right.
    fn link(
        &self,
        number: u64,
        names: &Names,
        dir: &Arc<Node>,
        name: &Name,
        node: &Arc<Node>,
        (from_dir, from): &(Arc<Node>, Name),
    ) -> Result<(), Stop> {
        let (Some(from_path), Some(to)) = (path_of(names, from_dir, from), path_of(names, dir, name)) else {
            return Ok(());
        };
        let _its_time = dir.lock.lock();
        let parent_mtime = mtime_of(self, names, dir).map_err(|error| unreadable(dir, names, error))?;
        let op =
            Op::Link { from: Place { node: NodeId::new(node.id().get()), at: At::Path(from_path) }, to, parent_mtime };
        self.push(number, Draft::new(&op, Bytes::new()))?;
        let mut core = self.core.lock();
        if let Some(pass) = core.gate.pass(number) {
            pass.add_shared(node.ino(), (from_dir, from));
            pass.set_right(node, Some((dir, name)), true);
        }
        Ok(())
    }

    /// A file that is right by a name that nobody has looked at is compared all the same, where that was asked for. It stays
    /// right: what differs is mended in its place.
    fn doubt(&self, number: u64, names: &Names, node: &Arc<Node>) -> Result<(), Stop> {
        if !self.core.lock().gate.pass(number).ok_or(Stop::Over)?.doubt(node) {
            return Ok(());
        }
        let size = match self.tree.stat(names, node) {
            Ok(stat) => stat.st_size.cast_unsigned(),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(unreadable(node, names, error)),
        };
        let mut core = self.core.lock();
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        pass.add(Work::Mend(Arc::clone(node), Dirt { attributes: true, ..Dirt::default() }));
        if node.kind() == FileType::RegularFile {
            pass.add(Work::Copy(Arc::clone(node), Source::Unknown));
            drop(core);
            self.found(number, node, size)?;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// The content of a small file that is all data, to travel with its record.
    fn whole(&self, names: &Names, node: &Node, snapshot: &Snapshot, source: Source) -> io::Result<Option<Bytes>> {
        let size = snapshot.stat.st_size.cast_unsigned();
        // More space than content: some may be allocated and unwritten.
        let more = snapshot.stat.st_blocks.cast_unsigned() * 512 > size.next_multiple_of(4096);
        let compared = source == Source::Unknown && size >= self.config.compare.min_size.max(1);
        if more || size > CHUNK_BYTES || compared {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(Bytes::new()));
        }
        let fd = self.tree.open(names, node, OFlags::RDONLY)?;
        if extent::segments(fd.as_fd(), 0, size)?.iter().any(|segment| segment.hole) {
            return Ok(None);
        }
        super::copy::read(fd.as_fd(), 0, size).map(Some)
    }

    /// What has to be done to a name. The node is not right and its lock is held.
    fn judge(
        &self,
        number: u64,
        (names, dir): (&Names, &Arc<Node>),
        node: &Node,
        mine: &Snapshot,
        there: There<'_>,
    ) -> Result<Verdict, Stop> {
        let is_file = node.kind() == FileType::RegularFile;
        let anew = |fresh| {
            if is_file { Verdict::Content { source: Source::Fresh, fresh } } else { Verdict::Attributes { fresh } }
        };
        let theirs = match there {
            There::Anything | There::Entry(None) => return Ok(anew(true)),
            There::Entry(Some(entry)) if !entry.kind.same_kind(&mine.kind) => return Ok(anew(false)),
            There::Entry(Some(entry)) => entry,
        };
        let mut core = self.core.lock();
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        if !node.is_dir() && theirs.links > 1 {
            let other = theirs.links > mine.stat.st_nlink || !pass.claim(theirs.inode, node.ino());
            if other {
                return Ok(anew(true));
            }
        }
        let suspect = pass.is_suspect(node.ino())
            || (theirs.suspect && !pass.trusts_target)
            || attr::ctime(&mine.stat).secs >= pass.source_clean_secs
            || pass.hot.as_ref().is_some_and(|hot| hot.has(dir, node));
        drop(core);
        let attributes = theirs.attrs == attr::attrs(&mine.stat)
            && theirs.kind == mine.kind
            && theirs.xattrs == xattr::digest(&mine.xattrs);
        if !is_file {
            return Ok(if attributes { Verdict::Same } else { Verdict::Attributes { fresh: false } });
        }
        let size = mine.stat.st_size.cast_unsigned();
        // A target that keeps attributes tells no block of them.
        let blocks =
            [attr::content_blocks(&mine.stat, false), attr::content_blocks(&mine.stat, !mine.xattrs.is_empty())];
        let alike = theirs.size == size && blocks.contains(&theirs.blocks);
        let content = alike
            && if suspect {
                size == 0 || theirs.content.is_some() && theirs.content == self.content_digest(names, node, size)
            } else {
                theirs.attrs.mtime == attr::mtime(&mine.stat)
            };
        if content && suspect {
            let progress = &mut self.core.lock().progress;
            progress.found(size);
            progress.advance(size);
        }
        Ok(match (content, attributes) {
            (true, true) => Verdict::Same,
            (true, false) => Verdict::Attributes { fresh: false },
            (false, _) => Verdict::Content { source: Source::Unknown, fresh: false },
        })
    }

    /// The digest of a small file's content; `None` where it is large or cannot be read, and is compared piece by piece.
    fn content_digest(&self, names: &Names, node: &Node, size: u64) -> Option<[u8; 16]> {
        if size > CHUNK_BYTES {
            return None;
        }
        let fd = self.tree.open(names, node, OFlags::RDONLY).ok()?;
        Some(hash(&super::copy::read(fd.as_fd(), 0, size).ok()?))
    }
}

/// A record is numbered that makes the node right under this name.
fn set_right(
    core: &mut Core,
    number: u64,
    node: &Arc<Node>,
    (dir, name, several): (&Arc<Node>, &Name, bool),
) -> Result<(), Stop> {
    let pass = core.gate.pass(number).ok_or(Stop::Over)?;
    pass.set_right(node, Some((dir, name)), several);
    Ok(())
}

pub(crate) fn path_of(names: &Names, dir: &Node, name: &Name) -> Option<RelPath> {
    dir.path(names)?.join(name).ok()
}

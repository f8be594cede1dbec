//! The mirror pass: compares source and target, directory by directory, and sends what differs, beside live operations
//! (S7). All that it sends is numbered under the locks of what it read, in the one stream, so a live operation is never
//! lost under it.

use crate::Srm;
use crate::core::Core;
use crate::ensure::{How, digest16, ensure, mtime_of, xattr_digest};
use crate::gate::{Gate, Next, Source, Work};
use bytes::Bytes;
use platform::sys::{attr, extent};
use platform::tree::{Names, Node, Snapshot};
use protocol::{Answer, At, CHUNK_BYTES, Content, Draft, Entry, Mark, Name, Op, Page, Place};
use rustix::fs::{FileType, OFlags};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Threads of a pass.
const WORKERS: usize = 4;
/// A pass sends nothing more while this much, or a quarter of the bound, is in the backlog: live operations are not to
/// wait long behind it.
const ROOM_BYTES: u64 = 16 << 20;
/// What could not be read is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Why a piece of work ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The pass is over.
    Over,
    /// Something on the source could not be read.
    Unreadable(String, io::Error),
}

pub(crate) fn unreadable(node: &Node, names: &Names, error: io::Error) -> Stop {
    let path = node.path(names).map_or_else(|| format!("inode {}", node.ino()), |path| path.to_string());
    Stop::Unreadable(path, error)
}

/// What is known of a name on the target when it is looked at.
#[derive(Clone, Copy)]
enum Known<'a> {
    /// As the target's directory was when it was asked, and nothing touched this name since.
    Entry(Option<&'a Entry>),
    /// Anything may be there.
    Nothing,
}

/// Whether it is gone, which is no error: somebody deleted it meanwhile.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc_errno::ENOENT | libc_errno::ESTALE | libc_errno::ENOTDIR))
}

/// The few errno values that are looked at here.
mod libc_errno {
    pub const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
    pub const ESTALE: i32 = rustix::io::Errno::STALE.raw_os_error();
    pub const ENOTDIR: i32 = rustix::io::Errno::NOTDIR.raw_os_error();
}

impl Srm {
    /// Starts the threads of the pass that has just begun.
    pub(crate) fn start_pass(self: &Arc<Self>, number: u64) {
        let srm = Arc::clone(self);
        let first = std::thread::Builder::new().name("pass-0".to_owned()).spawn(move || {
            let begun = srm.ensure_directories(&mut srm.tree.names().write(), srm.tree.root());
            if let Err(error) = begun {
                srm.core.lock().damaged(&format!("the source directory cannot be read: {error}"), Instant::now());
                return;
            }
            for index in 1..WORKERS {
                let more = Arc::clone(&srm);
                let started =
                    std::thread::Builder::new().name(format!("pass-{index}")).spawn(move || more.work(number));
                if let Err(error) = started {
                    tracing::warn!(event = "pass-thread", %error, "the mirror pass goes on with fewer threads");
                }
            }
            srm.work(number);
        });
        if let Err(error) = first {
            let why = format!("no thread could be started for the mirror pass: {error}");
            self.core.lock().damaged(&why, Instant::now());
        }
    }

    fn work(self: Arc<Self>, number: u64) {
        while let Some(work) = self.next_work(number) {
            let node = match &work {
                Work::List(node) | Work::Name(node, _) | Work::Copy(node, _) => Arc::clone(node),
            };
            let result = match &work {
                Work::List(dir) => self.list(number, dir),
                Work::Name(dir, name) => self.look(number, dir, name, Known::Nothing),
                Work::Copy(file, source) => self.copy(number, file, *source),
            };
            let mut core = self.core.lock();
            if let Some(pass) = core.gate.pass(number) {
                match result {
                    Ok(()) | Err(Stop::Over) => {
                        drop(work);
                        pass.finished();
                    }
                    Err(Stop::Unreadable(path, error)) => {
                        pass.failed(work, Instant::now() + AGAIN_AFTER);
                        tracing::warn!(event = "unreadable", path, %error, "cannot be mirrored, is tried again");
                        core.last_error = Some(format!("cannot mirror {path}: {error}; tried again every 30 s"));
                    }
                }
            }
            drop(core);
            self.changed.notify_all();
            self.tree.settle(node);
        }
    }

    fn next_work(&self, number: u64) -> Option<Work> {
        let mut core = self.core.lock();
        loop {
            let pass = core.gate.pass(number)?;
            match pass.next(Instant::now()) {
                Next::Work(work) => return Some(work),
                Next::Wait(until) => {
                    let until = until.unwrap_or_else(|| Instant::now() + AGAIN_AFTER);
                    self.changed.wait_until(&mut core, until);
                }
                Next::Finished => {
                    drop(core);
                    if self.finish(number) {
                        return None;
                    }
                    core = self.core.lock();
                }
            }
        }
    }

    /// Ends the pass if there is still nothing to do once names stand still.
    fn finish(&self, number: u64) -> bool {
        let names = self.tree.names().write();
        let mut core = self.core.lock();
        let Some(pass) = core.gate.pass(number) else { return true };
        if pass.waiting() > 0 {
            return false;
        }
        let Some(seq) = core.push(Draft::new(&Op::Mark(Mark::Coherent), Bytes::new())) else { return true };
        core.coherent_at = Some(seq);
        core.gate = Gate::Clean;
        core.passes_done += 1;
        core.absorbed = 0;
        core.absorbed_bytes = 0;
        core.absorbed_since = None;
        core.by_content = false;
        core.last_error = None;
        core.forgive();
        tracing::info!(event = "pass-done", coherent_at = seq.get(), "source and target are brought together");
        drop(core);
        drop(names);
        // Nodes that only the pass knew.
        self.tree.sweep();
        self.wake();
        self.changed.notify_all();
        true
    }

    /// Waits until the pass may send more.
    pub(crate) fn wait_for_room(&self, number: u64) -> Result<(), Stop> {
        let mut core = self.core.lock();
        loop {
            if core.gate.pass(number).is_none() || core.stopped {
                return Err(Stop::Over);
            }
            if core.backlog.bytes() < ROOM_BYTES.min(core.backlog.limit_bytes() / 4) {
                return Ok(());
            }
            self.changed.wait(&mut core);
        }
    }

    /// Numbers a record of the pass; the caller holds the locks of what it read.
    pub(crate) fn push(&self, number: u64, draft: Draft) -> Result<(), Stop> {
        let mut core = self.core.lock();
        core.gate.pass(number).ok_or(Stop::Over)?;
        let _no_reply_waits = self.queue(&mut core, draft, 0);
        Ok(())
    }

    /// Numbers a question; the answer comes later. The caller holds the namespace lock.
    pub(crate) fn question(&self, number: u64, op: &Op) -> Result<Receiver<Answer>, Stop> {
        let draft = Draft::new(op, Bytes::new());
        let (sender, receiver) = sync_channel(1);
        let mut core = self.core.lock();
        core.gate.pass(number).ok_or(Stop::Over)?;
        let seq = self.queue(&mut core, draft, 0).0.ok_or(Stop::Over)?;
        core.questions.insert(seq, sender);
        Ok(receiver)
    }

    /// Asks for a page; `None` where the directory has gone meanwhile.
    fn page(&self, number: u64, dir: &Arc<Node>, after: Option<&Name>) -> Result<Option<Page>, Stop> {
        loop {
            self.wait_for_room(number)?;
            let answer = {
                let names = self.tree.names().read();
                let Some(path) = dir.path(&names) else { return Ok(None) };
                let mut core = self.core.lock();
                let pass = core.gate.pass(number).ok_or(Stop::Over)?;
                if pass.target_empty {
                    return Ok(Some(Page { exists: true, entries: Vec::new(), complete: true }));
                }
                let hash = pass.by_content;
                drop(core);
                self.question(number, &Op::List { path, after: after.cloned(), last: None, hash })?
            };
            match answer.recv() {
                Ok(Answer::Page(page)) => return Ok(Some(page)),
                Ok(Answer::Differs(_)) => {
                    self.core.lock().damaged("the target answered a question that was not asked", Instant::now());
                    return Err(Stop::Over);
                }
                // The connection was lost with the answer: ask again.
                Err(_) => self.wait_for_room(number)?,
            }
        }
    }

    /// Compares the names of a directory.
    fn list(&self, number: u64, dir: &Arc<Node>) -> Result<(), Stop> {
        let mut mine = {
            let names = self.tree.names().read();
            match self.tree.list(&names, dir) {
                Ok(list) => list.into_iter().peekable(),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(unreadable(dir, &names, error)),
            }
        };
        let mut after: Option<Name> = None;
        loop {
            let Some(page) = self.page(number, dir, after.as_ref())? else { return Ok(()) };
            let bound = if page.complete { None } else { page.entries.last().map(|entry| entry.name.clone()) };
            let mut both: BTreeMap<Name, Option<&Entry>> =
                page.entries.iter().map(|entry| (entry.name.clone(), Some(entry))).collect();
            while let Some(name) = mine.next_if(|name| bound.as_ref().is_none_or(|bound| name <= bound)) {
                both.entry(name).or_insert(None);
            }
            for (name, entry) in &both {
                match self.look(number, dir, name, Known::Entry(*entry)) {
                    Err(Stop::Unreadable(path, error)) => self.postpone(number, dir, name, &path, &error)?,
                    result => result?,
                }
            }
            match bound {
                Some(bound) => after = Some(bound),
                None => break,
            }
        }
        self.core.lock().progress.directories += 1;
        Ok(())
    }

    /// One name that cannot be read does not hold up the others.
    fn postpone(&self, number: u64, dir: &Arc<Node>, name: &Name, path: &str, error: &io::Error) -> Result<(), Stop> {
        tracing::warn!(event = "unreadable", path, %error, "cannot be mirrored, is tried again");
        let mut core = self.core.lock();
        let again = Instant::now() + AGAIN_AFTER;
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        pass.postpone(Work::Name(Arc::clone(dir), name.clone()), again);
        core.last_error = Some(format!("cannot mirror {path}: {error}; tried again every 30 s"));
        Ok(())
    }

    /// Compares one name and sends what differs.
    fn look(&self, number: u64, dir: &Arc<Node>, name: &Name, known: Known<'_>) -> Result<(), Stop> {
        self.wait_for_room(number)?;
        let names = self.tree.names().read();
        let from_list = matches!(known, Known::Entry(_));
        if from_list && self.core.lock().gate.pass(number).ok_or(Stop::Over)?.is_pending(dir.id().get(), name) {
            return Ok(());
        }
        let node = match self.tree.lookup(&names, dir, name, 0) {
            Ok((node, _)) => node,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => return Ok(()),
            Err(error) if is_gone(&error) => {
                if !matches!(known, Known::Entry(None)) {
                    self.set_aside(number, &names, dir, name)?;
                }
                self.core.lock().gate.pass(number).ok_or(Stop::Over)?.not_pending(dir.id().get(), name);
                return Ok(());
            }
            Err(error) => return Err(unreadable(dir, &names, error)),
        };
        let result = {
            let _still = node.lock.lock();
            let result = self.bring(number, &names, dir, name, &node, known);
            if !from_list && result.is_ok() {
                self.core.lock().gate.pass(number).ok_or(Stop::Over)?.not_pending(dir.id().get(), name);
            }
            result
        };
        self.tree.settle(node);
        result
    }

    /// The source has nothing at this name: what the target has is set aside.
    fn set_aside(&self, number: u64, names: &Names, dir: &Arc<Node>, name: &Name) -> Result<(), Stop> {
        let Some(path) = dir.path(names).and_then(|path| path.join(name).ok()) else { return Ok(()) };
        let parent_mtime = match mtime_of(self, names, dir) {
            Ok(time) => time,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(unreadable(dir, names, error)),
        };
        self.core.lock().progress.repaired += 1;
        self.push(number, Draft::new(&Op::SetAside { path, parent_mtime }, Bytes::new()))
    }

    /// Sees to it that the node is right under this name. The caller holds the node's lock.
    fn bring(
        &self,
        number: u64,
        names: &Names,
        dir: &Arc<Node>,
        name: &Name,
        node: &Arc<Node>,
        known: Known<'_>,
    ) -> Result<(), Stop> {
        {
            let mut core = self.core.lock();
            core.progress.entries += 1;
            let pass = core.gate.pass(number).ok_or(Stop::Over)?;
            if pass.is_done(node.ino()) {
                let clean = pass.shared(node.ino()).and_then(|list| list.first().cloned());
                if pass.is_shared(node.ino(), dir.ino(), name) {
                    return Ok(());
                }
                drop(core);
                return match clean {
                    Some(clean) => self.link(number, names, dir, name, node, &clean),
                    None => Ok(()),
                };
            }
        }
        let Some(path) = dir.path(names).and_then(|path| path.join(name).ok()) else { return Ok(()) };
        let (snapshot, parent_mtime) = match self
            .tree
            .snapshot(names, node)
            .and_then(|snapshot| mtime_of(self, names, dir).map(|time| (snapshot, time)))
        {
            Ok(read) => read,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(unreadable(node, names, error)),
        };
        let verdict = self.judge(number, node, &snapshot, known)?;
        let stat = snapshot.stat;
        let several = !node.is_dir() && stat.st_nlink > 1;
        let link = several.then_some((dir, name));
        let (content, payload, copy) = match verdict {
            Verdict::Same => {
                let mut core = self.core.lock();
                let pass = core.gate.pass(number).ok_or(Stop::Over)?;
                pass.set_done(node.ino(), link);
                if node.is_dir() {
                    pass.add(Work::List(Arc::clone(node)));
                    drop(core);
                    self.changed.notify_all();
                }
                return Ok(());
            }
            Verdict::Attributes { .. } => (Content::Keep, Bytes::new(), None),
            Verdict::Content { source, .. } => {
                match self.whole(names, node, &snapshot).map_err(|error| unreadable(node, names, error))? {
                    Some(data) => (Content::Whole, data, None),
                    None => (Content::Keep, Bytes::new(), Some(source)),
                }
            }
        };
        let fresh = matches!(verdict, Verdict::Content { fresh: true, .. } | Verdict::Attributes { fresh: true });
        let sent = payload.len() as u64;
        let how = How { fresh, content, parent_mtime: Some(parent_mtime) };
        let draft = Draft::new(&ensure(node, path, snapshot, how), payload);
        let mut core = self.core.lock();
        core.gate.pass(number).ok_or(Stop::Over)?;
        if node.is_dir() {
            self.send_directory(&mut core, node, draft);
            return Ok(());
        }
        let _no_reply_waits = self.queue(&mut core, draft, 0);
        core.progress.repaired += 1;
        core.progress.sent_bytes += sent;
        let Some(pass) = core.gate.pass(number) else { return Err(Stop::Over) };
        pass.set_done(node.ino(), link);
        if let Some(source) = copy {
            pass.add(Work::Copy(Arc::clone(node), source));
        }
        drop(core);
        self.changed.notify_all();
        Ok(())
    }

    /// One more name of a node that is done.
    fn link(
        &self,
        number: u64,
        names: &Names,
        dir: &Arc<Node>,
        name: &Name,
        node: &Arc<Node>,
        (from_dir, from): &(Arc<Node>, Name),
    ) -> Result<(), Stop> {
        let from = from_dir.path(names).and_then(|path| path.join(from).ok());
        let to = dir.path(names).and_then(|path| path.join(name).ok());
        let (Some(from), Some(to)) = (from, to) else { return Ok(()) };
        let parent_mtime = mtime_of(self, names, dir).map_err(|error| unreadable(dir, names, error))?;
        let op = Op::Link { from: Place { node: node.id(), at: At::Path(from) }, to, parent_mtime };
        self.push(number, Draft::new(&op, Bytes::new()))?;
        let mut core = self.core.lock();
        if let Some(pass) = core.gate.pass(number) {
            pass.add_shared(node.ino(), (dir, name));
        }
        Ok(())
    }

    /// The content of a small file that is all data, to travel with its record.
    fn whole(&self, names: &Names, node: &Node, snapshot: &Snapshot) -> io::Result<Option<Bytes>> {
        let size = snapshot.stat.st_size.cast_unsigned();
        // More space than content: some may be allocated and unwritten.
        let more = snapshot.stat.st_blocks.cast_unsigned() * 512 > size.next_multiple_of(4096);
        if more || size > CHUNK_BYTES {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(Bytes::new()));
        }
        let fd = self.tree.open(names, node, OFlags::RDONLY)?;
        if extent::segments(fd.as_fd(), 0, size)?.iter().any(|segment| segment.hole) {
            return Ok(None);
        }
        crate::copy::read(fd.as_fd(), 0, size).map(Some)
    }

    /// What has to be done to a name. The node is not done and its lock is held.
    fn judge(&self, number: u64, node: &Node, mine: &Snapshot, known: Known<'_>) -> Result<Verdict, Stop> {
        let is_file = node.kind() == FileType::RegularFile;
        let anew = |fresh| {
            if is_file { Verdict::Content { source: Source::Fresh, fresh } } else { Verdict::Attributes { fresh } }
        };
        let theirs = match known {
            Known::Nothing => return Ok(anew(true)),
            Known::Entry(None) => return Ok(anew(false)),
            Known::Entry(Some(entry)) if !entry.kind.same_kind(&mine.kind) => return Ok(anew(false)),
            Known::Entry(Some(entry)) => entry,
        };
        let mut core = self.core.lock();
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        if !node.is_dir() && theirs.links > 1 {
            let other = theirs.links > mine.stat.st_nlink || !pass.claim(theirs.inode, node.ino());
            if other {
                return Ok(anew(true));
            }
        }
        let suspect = pass.by_content || theirs.suspect || attr::ctime(&mine.stat).secs >= pass.source_clean_secs;
        drop(core);
        let attributes = theirs.attrs == attr::attrs(&mine.stat)
            && theirs.kind == mine.kind
            && theirs.xattrs == xattr_digest(&mine.xattrs);
        if !is_file {
            return Ok(if attributes { Verdict::Same } else { Verdict::Attributes { fresh: false } });
        }
        let size = mine.stat.st_size.cast_unsigned();
        let alike = theirs.size == size && theirs.blocks == mine.stat.st_blocks.cast_unsigned();
        let content = alike
            && if suspect {
                size == 0 || theirs.content.is_some() && theirs.content == content_digest(mine, size)
            } else {
                theirs.attrs.mtime == attr::mtime(&mine.stat)
            };
        Ok(match (content, attributes) {
            (true, true) => Verdict::Same,
            (true, false) => Verdict::Attributes { fresh: false },
            (false, _) => Verdict::Content { source: Source::Unknown, fresh: false },
        })
    }
}

/// The digest of a small file's content; `None` where it is large or cannot be read, and is compared piece by piece.
fn content_digest(mine: &Snapshot, size: u64) -> Option<[u8; 16]> {
    if size > CHUNK_BYTES {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(platform::sys::proc_path(mine.fd.as_fd()), flags, rustix::fs::Mode::empty()).ok()?;
    Some(digest16(&crate::copy::read(fd.as_fd(), 0, size).ok()?))
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

/// What a pass shows of itself.
pub(crate) fn waiting(core: &Core) -> u64 {
    match &core.gate {
        Gate::Pass(pass) => pass.waiting(),
        _ => 0,
    }
}

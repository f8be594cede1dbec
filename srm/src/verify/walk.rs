//! The way through the directories: a loose look at pages of names finds candidates, small files are asked about several at a
//! time; whatever looks different is looked at exactly.

use super::ask::Asked;
use super::judge::{self, Mine};
use super::name::{Begun, Looked, Question, open_to_read, size_of};
use super::run::{Ended, Found, Run};
use super::status::FindingKind;
use super::{is_elsewhere, sample};
use crate::Again;
use crate::pass::{is_gone, path_of, read};
use crate::said::is_in_order;
use crate::set::Kind;
use platform::sys::content::hash;
use platform::tree::{Node, Opened};
use protocol::{CHUNK_BYTES, Entry, Name, NodeKind, Op, Page, RelPath};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Names of the source on a page: the target is not to be busy with it for long.
const PAGE: usize = 128;

/// Small files whose content is asked about at once.
const AHEAD: usize = 16;

/// A small file that was read without locks and asked about.
pub(super) struct Small {
    dir: Arc<Node>,
    name: Name,
    size: u64,
    digest: [u8; 16],
    asked: Asked,
}

/// A name that looks different and is looked at exactly.
pub(super) struct Doubt {
    dir: Arc<Node>,
    name: Name,
    question: Question,
}

impl Run {
    /// Compares the names of a directory, and puts the directories in it on the list.
    pub(super) fn directory(&mut self, dir: &Arc<Node>) -> Result<(), Ended> {
        let listed = {
            let names = self.srm.tree.names().read();
            self.srm.tree.list(&names, dir).map_err(|error| (error, dir.path(&names)))
        };
        let mine = match listed {
            Ok(mine) => mine,
            Err((error, Some(path))) if !is_gone(&error) => return self.unlisted(dir, path, &error),
            Err(_) => return Ok(()),
        };
        let (mut at, mut after) = (0, None);
        loop {
            let end = (at + PAGE).min(mine.len());
            let last = if end == mine.len() { None } else { mine.get(end - 1).cloned() };
            let Some(page) = self.page(dir, after.as_ref(), last.as_ref())? else { return Ok(()) };
            if !page.exists {
                // The directory itself is lost, unless it has moved meanwhile.
                return match dir.link() {
                    Some((above, name)) => self.look_at(&above, &name),
                    None => Ok(()),
                };
            }
            let bound = if page.complete { last } else { page.entries.last().map(|entry| entry.name.clone()) };
            let mut both: BTreeMap<&Name, Option<&Entry>> =
                page.entries.iter().map(|entry| (&entry.name, Some(entry))).collect();
            while let Some(name) = mine.get(at).filter(|name| bound.as_ref().is_none_or(|bound| *name <= bound)) {
                both.entry(name).or_insert(None);
                at += 1;
            }
            for (name, entry) in both {
                self.candidate(dir, name, entry)?;
            }
            match bound {
                Some(bound) => after = Some(bound),
                None => return Ok(()),
            }
        }
    }

    fn unlisted(&mut self, dir: &Arc<Node>, path: RelPath, error: &std::io::Error) -> Result<(), Ended> {
        let place = dir.link().map_or(Again::Root, |(above, name)| Again::Name(above, name));
        self.report(place, Found::unreadable(path, error), None)
    }

    /// A page of the target's names. `None`: the directory is gone.
    fn page(&mut self, dir: &Arc<Node>, after: Option<&Name>, last: Option<&Name>) -> Result<Option<Page>, Ended> {
        loop {
            self.wait_ready()?;
            let asked = {
                let names = self.srm.tree.names().read();
                let Some(path) = dir.path(&names) else { return Ok(None) };
                self.srm.verify_ask(&[Op::List { path, after: after.cloned(), last: last.cloned(), hash: false }])
            };
            let Some(asked) = asked else { continue };
            let Some(answers) = self.answers(&asked)? else { continue };
            let Some(page) = self.page_of(answers.into_iter().next()) else { continue };
            if is_in_order(&page, after) {
                return Ok(Some(page));
            }
            let _doubted: Option<()> = self.doubt_target("the target told the names of a directory out of order");
        }
    }

    /// One name of a page, by a loose look.
    fn candidate(&mut self, dir: &Arc<Node>, name: &Name, entry: Option<&Entry>) -> Result<(), Ended> {
        self.note(|status| status.entries += 1);
        let (peeked, path) = {
            let names = self.srm.tree.names().read();
            (self.srm.tree.peek(&names, dir, name), path_of(&names, dir, name))
        };
        let Some(path) = path else { return Ok(()) };
        let (peeked, entry) = match (peeked, entry) {
            (Ok(peeked), Some(entry)) => (peeked, entry),
            (Err(error), None) if is_gone(&error) => return Ok(()),
            (Err(error), _) if is_elsewhere(&error) => return Ok(()),
            _ => return self.doubt(dir, name),
        };
        let mine = Mine::of(&peeked);
        if !self.srm.set().takes(&path, Kind::of(&mine.kind), mine.size) {
            return Ok(());
        }
        if mine.kind != NodeKind::Directory && (peeked.stat.st_nlink > 1 || entry.links > 1) {
            self.links((dir, name), &path, &peeked, entry)?;
        }
        if judge::judge(&mine, entry, None).is_some() {
            return self.doubt(dir, name);
        }
        match mine.kind {
            NodeKind::Directory => {
                self.wait_for_turn(dir, name);
                Ok(())
            }
            NodeKind::File if mine.size > 0 && sample::takes(self.options.sample, self.number, peeked.stat.st_ino) => {
                if mine.size > CHUNK_BYTES {
                    return match self.big(dir, name)? {
                        Some(found) => self.report(Again::Name(Arc::clone(dir), name.clone()), found, None),
                        None => Ok(()),
                    };
                }
                self.small(dir, name, &peeked)
            }
            _ => Ok(()),
        }
    }

    /// Looks at a name exactly, content included, reports what differs, and puts a directory on the list.
    pub(super) fn look_at(&mut self, dir: &Arc<Node>, name: &Name) -> Result<(), Ended> {
        let looked = self.exactly(dir, name, true)?;
        self.take_look(dir, name, looked)
    }

    /// The same, several at a time: the answer is taken later.
    fn doubt(&mut self, dir: &Arc<Node>, name: &Name) -> Result<(), Ended> {
        match self.begin_exactly(dir, name, true)? {
            Begun::Over(looked) => self.take_look(dir, name, looked),
            Begun::Asked(question) => {
                self.doubts.push_back(Doubt { dir: Arc::clone(dir), name: name.clone(), question });
                self.drain_doubts(AHEAD - 1)
            }
        }
    }

    /// Takes answers about names that looked different until no more than so many wait.
    pub(super) fn drain_doubts(&mut self, most: usize) -> Result<(), Ended> {
        while self.doubts.len() > most {
            let Some(Doubt { dir, name, question }) = self.doubts.pop_front() else { break };
            match self.end_exactly(question)? {
                Some(looked) => self.take_look(&dir, &name, looked)?,
                None => self.look_at(&dir, &name)?,
            }
        }
        Ok(())
    }

    fn take_look(&mut self, dir: &Arc<Node>, name: &Name, looked: Looked) -> Result<(), Ended> {
        let mut found = looked.found;
        if looked.big && found.as_ref().is_none_or(|found| found.kind == FindingKind::Attributes) {
            found = self.big(dir, name)?.or(found);
        }
        if looked.directory {
            self.wait_for_turn(dir, name);
        }
        match found {
            Some(found) => self.report(Again::Name(Arc::clone(dir), name.clone()), found, None),
            None => Ok(()),
        }
    }

    fn wait_for_turn(&mut self, dir: &Arc<Node>, name: &Name) {
        let names = self.srm.tree.names().read();
        // Gone, or another file system's: nothing to compare.
        let Ok((node, _)) = self.srm.tree.lookup(&names, dir, name, 0) else { return };
        if node.is_dir() {
            self.dirs.push(node);
        } else {
            self.srm.tree.settle(node);
        }
    }

    /// Reads a small file without locks and asks about it.
    fn small(&mut self, dir: &Arc<Node>, name: &Name, peeked: &Opened) -> Result<(), Ended> {
        let size = size_of(peeked);
        self.pace(size)?;
        let data = open_to_read(peeked.fd.as_fd()).and_then(|fd| read(fd.as_fd(), 0, size));
        let Ok(data) = data else { return self.look_at(dir, name) };
        let digest = hash(&data);
        drop(data);
        let asked = loop {
            self.wait_ready()?;
            let names = self.srm.tree.names().read();
            let Some(path) = dir.path(&names) else { return Ok(()) };
            if let Some(asked) = self.srm.verify_ask(&[Op::Look { path, name: name.clone(), hash: true }]) {
                break asked;
            }
        };
        self.smalls.push_back(Small { dir: Arc::clone(dir), name: name.clone(), size, digest, asked });
        self.drain_smalls(AHEAD - 1)
    }

    /// Takes answers about small files until no more than so many wait.
    pub(super) fn drain_smalls(&mut self, most: usize) -> Result<(), Ended> {
        while self.smalls.len() > most {
            let Some(Small { dir, name, size, digest, asked }) = self.smalls.pop_front() else { break };
            let entry = match self.answers(&asked)? {
                Some(answers) => self.page_of(answers.into_iter().next()),
                None => None,
            };
            let entry = entry.and_then(|page| page.entries.into_iter().next());
            self.note(|status| {
                status.files += 1;
                status.bytes += size;
            });
            if !entry.is_some_and(|entry| entry.size == size && entry.content == Some(digest)) {
                self.doubt(&dir, &name)?;
            }
        }
        Ok(())
    }
}

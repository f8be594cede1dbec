//! The target: applies records in order as `target::apply` does, keeps orphans, what was set aside and what is staged. What it
//! cannot apply is a fault, which in the simulation is a failure.

use super::record::{Answer, At, Content, Ensure, Entry, Gone, Piece, Rec};
use super::store::Store;
use protocol::{Name, RelPath, RenameKind};
use std::collections::BTreeMap;

/// Entries of a page.
const PAGE: usize = 3;

/// See the module.
#[derive(Default)]
pub struct Replica {
    /// The replica.
    pub store: Store,
    /// What was set aside; inodes without a name.
    pub aside: Vec<u64>,
    /// Number of the last record that was applied.
    pub applied: u64,
    /// What the marks say.
    pub coherent: bool,
    files: BTreeMap<u64, u64>,
    orphans: BTreeMap<u64, u64>,
    staging: BTreeMap<u64, Vec<u32>>,
}

type Result<T> = std::result::Result<T, String>;

impl Replica {
    /// The daemon of the target begins anew.
    pub fn restart(&mut self) {
        self.files.clear();
    }

    /// A new run of numbers begins.
    pub fn begin(&mut self, applied: u64) {
        self.applied = applied;
        self.staging.clear();
        for ino in std::mem::take(&mut self.orphans).into_values() {
            self.drop_orphan(ino);
        }
        self.idle();
    }

    /// Takes a piece of content.
    pub fn stage(&mut self, piece: &Piece) {
        let blocks = self.staging.entry(piece.key).or_default();
        if blocks.len() < piece.block + piece.data.len() {
            blocks.resize(piece.block + piece.data.len(), 0);
        }
        blocks[piece.block..piece.block + piece.data.len()].copy_from_slice(&piece.data);
    }

    fn idle(&mut self) {
        self.files.clear();
    }

    fn parent(&self, path: &RelPath) -> Result<(u64, Name)> {
        self.store.parent(path).ok_or_else(|| format!("the directory of {path:?} is not there"))
    }

    fn stamp(&mut self, dir: u64, mtime: u64) {
        self.store.at_mut(dir).mtime = mtime;
    }

    fn set_aside(&mut self, dir: u64, name: &Name) {
        if let Some(ino) = self.store.detach(dir, name) {
            let inode = self.store.at_mut(ino);
            if inode.links == 0 {
                inode.opens += 1;
                self.aside.push(ino);
            }
        }
        self.idle();
    }

    fn remove(&mut self, dir: u64, name: &Name) {
        self.store.unlink(dir, name);
    }

    fn node(&self, node: u64, at: &At) -> Result<u64> {
        if let Some(ino) = self.files.get(&node) {
            return Ok(*ino);
        }
        let found = match at {
            At::Orphan => self.orphans.get(&node).copied(),
            At::Path(path) => self.store.resolve(path),
        };
        found.ok_or_else(|| format!("{at:?} is not there"))
    }

    fn file(&mut self, node: u64, at: &At) -> Result<u64> {
        let ino = self.node(node, at)?;
        if self.store.get(ino).is_none_or(super::store::Inode::is_dir) {
            return Err(format!("{at:?} is no file"));
        }
        self.files.insert(node, ino);
        Ok(ino)
    }

    /// Applies a record; the answer to a question.
    pub fn apply(&mut self, rec: &Rec, tolerant: bool) -> Result<Option<Answer>> {
        // What was freed is known under no descriptor, which a real target would keep open.
        self.files.retain(|_, ino| self.store.get(*ino).is_some());
        if let Rec::Write { node, at, .. } | Rec::SetAttr { node, at, .. } | Rec::Compare { node, at, .. } = rec
            && *at == At::Orphan
            && !self.files.contains_key(node)
            && !self.orphans.contains_key(node)
        {
            return Ok(None);
        }
        match rec {
            Rec::Write { node, at, block, data, mtime } => {
                let ino = self.file(*node, at)?;
                self.store.at_mut(ino).write(*block, data);
                self.stamp(ino, *mtime);
            }
            Rec::SetAttr { node, at, size, mode, mtime } => {
                let ino = if size.is_some() { self.file(*node, at)? } else { self.node(*node, at)? };
                let inode = self.store.at_mut(ino);
                if let Some(size) = size {
                    inode.resize(*size);
                }
                inode.mode = mode.unwrap_or(inode.mode);
                inode.mtime = mtime.unwrap_or(inode.mtime);
            }
            Rec::Create { path, node, directory, mode, mtime, parent_mtime } => {
                let (dir, name) = self.parent(path)?;
                self.clear_way(path, dir, &name, tolerant)?;
                self.files.remove(node);
                let ino = self.store.alloc(*directory, *mode, *mtime);
                self.store.attach(dir, &name, ino);
                if !directory {
                    self.files.insert(*node, ino);
                }
                self.stamp(dir, *parent_mtime);
            }
            Rec::Link { node, at, to, parent_mtime } => self.link(*node, at, to, *parent_mtime, tolerant)?,
            Rec::Unlink { path, gone, directory, parent_mtime } => {
                self.unlink(path, *gone, *directory, *parent_mtime, tolerant)?;
            }
            Rec::Rename { from, to, kind, replaced, mtimes } => {
                self.rename(from, to, *kind, *replaced, *mtimes, tolerant)?;
            }
            Rec::Reap { node } => {
                self.files.remove(node);
                if let Some(ino) = self.orphans.remove(node) {
                    self.drop_orphan(ino);
                }
            }
            Rec::Ensure(ensure) => self.ensure(ensure)?,
            Rec::SetAside { path, parent_mtime } => {
                if let Some((dir, name)) = self.store.parent(path) {
                    self.set_aside(dir, &name);
                    self.stamp(dir, *parent_mtime);
                }
            }
            Rec::List { path, after, only } => return Ok(Some(self.list(path, after.as_ref(), only.as_ref()))),
            Rec::Compare { node, at, block, data } => return self.compare(*node, at, *block, data).map(Some),
            Rec::Coherent(coherent) => self.coherent = *coherent,
        }
        Ok(None)
    }

    fn clear_way(&mut self, path: &RelPath, dir: u64, name: &Name, tolerant: bool) -> Result<()> {
        if self.store.child(dir, name).is_some() {
            if !tolerant {
                return Err(format!("{path:?} exists"));
            }
            self.set_aside(dir, name);
        }
        Ok(())
    }

    fn link(&mut self, node: u64, at: &At, to: &RelPath, parent_mtime: u64, tolerant: bool) -> Result<()> {
        let (dir, name) = self.parent(to)?;
        let source = match at {
            At::Path(path) => self.store.resolve(path),
            At::Orphan => self.orphans.get(&node).copied(),
        };
        let source = source.ok_or_else(|| format!("{at:?}, which is to get the name {to:?}, is not there"))?;
        if self.store.at(source).is_dir() {
            return Err(format!("{at:?} is a directory where a file should be"));
        }
        if self.store.child(dir, &name) != Some(source) {
            self.clear_way(to, dir, &name, tolerant)?;
            self.store.attach(dir, &name, source);
        } else if !tolerant {
            return Err(format!("{to:?} exists"));
        }
        self.stamp(dir, parent_mtime);
        Ok(())
    }

    fn drop_orphan(&mut self, ino: u64) {
        self.store.at_mut(ino).links -= 1;
        self.store.settle(ino);
    }

    fn keep(&mut self, node: u64, ino: u64) {
        if self.orphans.get(&node) != Some(&ino) {
            // Among the orphans it has one more name.
            self.store.at_mut(ino).links += 1;
            if let Some(before) = self.orphans.insert(node, ino) {
                self.drop_orphan(before);
            }
        }
    }

    fn unlink(&mut self, path: &RelPath, gone: Gone, directory: bool, parent_mtime: u64, tolerant: bool) -> Result<()> {
        let (dir, name) = match self.parent(path) {
            Err(_) if tolerant => return Ok(()),
            result => result?,
        };
        let keeps = gone.orphan && !directory;
        if !keeps {
            self.files.remove(&gone.node);
        }
        match self.store.child(dir, &name) {
            None if tolerant => {}
            None => return Err(format!("{path:?}, which is to go, is not there")),
            Some(ino) => {
                let there = self.store.at(ino);
                if there.is_dir() != directory || !self.store.names(ino).is_empty() {
                    if !tolerant {
                        return Err(format!("{path:?} cannot be removed"));
                    }
                    self.set_aside(dir, &name);
                } else {
                    if keeps {
                        self.keep(gone.node, ino);
                    }
                    self.remove(dir, &name);
                }
            }
        }
        self.stamp(dir, parent_mtime);
        Ok(())
    }

    fn rename(
        &mut self,
        from: &RelPath,
        to: &RelPath,
        kind: RenameKind,
        replaced: Option<Gone>,
        mtimes: (u64, u64),
        tolerant: bool,
    ) -> Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(from)?, self.parent(to)?);
        let (moving, there) = (self.store.child(from_dir, &from_name), self.store.child(to_dir, &to_name));
        match moving {
            None if !tolerant => return Err(format!("{from:?}, which is to move, is not there")),
            Some(ino) if self.store.is_within(to_dir, ino) => return Err(format!("{from:?} cannot move into itself")),
            // Two names of one file: nothing happens.
            Some(ino) if there == Some(ino) && kind != RenameKind::Exchange && replaced.is_some() => {}
            Some(_) if kind == RenameKind::Exchange => self.exchange((from_dir, &from_name), (to_dir, &to_name), to)?,
            Some(ino) => {
                if let Some(there) = there {
                    self.replace(ino, there, (to_dir, &to_name), replaced, (to, tolerant))?;
                }
                self.store.detach(from_dir, &from_name);
                self.store.attach(to_dir, &to_name, ino);
            }
            None => {}
        }
        if let Some(gone) = replaced
            && !gone.orphan
        {
            self.files.remove(&gone.node);
        }
        self.stamp(from_dir, mtimes.0);
        self.stamp(to_dir, mtimes.1);
        Ok(())
    }

    fn exchange(&mut self, from: (u64, &Name), to: (u64, &Name), path: &RelPath) -> Result<()> {
        let there =
            self.store.child(to.0, to.1).ok_or_else(|| format!("{path:?}, which is to be exchanged, is not there"))?;
        if self.store.is_within(from.0, there) {
            return Err(format!("{path:?} cannot move into itself"));
        }
        let moved = self.store.detach(from.0, from.1);
        let there = self.store.detach(to.0, to.1);
        for (ino, (dir, name)) in [(moved, to), (there, from)] {
            if let Some(ino) = ino {
                self.store.attach(dir, name, ino);
            }
        }
        Ok(())
    }

    fn replace(
        &mut self,
        moving: u64,
        there: u64,
        (dir, name): (u64, &Name),
        replaced: Option<Gone>,
        (path, tolerant): (&RelPath, bool),
    ) -> Result<()> {
        let Some(gone) = replaced else { return self.clear_way(path, dir, name, tolerant) };
        let kinds_differ = self.store.at(moving).is_dir() != self.store.at(there).is_dir();
        if kinds_differ || !self.store.names(there).is_empty() {
            return self.clear_way(path, dir, name, tolerant);
        }
        if gone.orphan && !self.store.at(there).is_dir() {
            self.keep(gone.node, there);
        }
        self.remove(dir, name);
        Ok(())
    }

    fn ensure(&mut self, wanted: &Ensure) -> Result<()> {
        if wanted.path.is_root() {
            let root = self.store.at_mut(super::store::ROOT);
            (root.mode, root.mtime) = (wanted.mode, wanted.mtime);
            return Ok(());
        }
        self.files.remove(&wanted.node);
        let (dir, name) = self.parent(&wanted.path)?;
        let staged = match &wanted.content {
            Content::Staged(key) => {
                Some(self.staging.remove(key).ok_or_else(|| format!("nothing is staged for {:?}", wanted.path))?)
            }
            _ => None,
        };
        let usable = |ino: u64, store: &Store| {
            store.at(ino).is_dir() == wanted.directory && (wanted.directory || !wanted.fresh) && staged.is_none()
        };
        let ino = match self.store.child(dir, &name) {
            Some(ino) if usable(ino, &self.store) => ino,
            there => {
                if there.is_some() {
                    self.set_aside(dir, &name);
                }
                let ino = self.store.alloc(wanted.directory, wanted.mode, wanted.mtime);
                self.store.attach(dir, &name, ino);
                ino
            }
        };
        let inode = self.store.at_mut(ino);
        if let Some(blocks) = staged {
            inode.write(0, &blocks);
        }
        if let Content::Whole(blocks) = &wanted.content {
            inode.resize(0);
            inode.write(0, blocks);
        }
        inode.resize(wanted.size);
        (inode.mode, inode.mtime) = (wanted.mode, wanted.mtime);
        if !wanted.directory {
            self.files.insert(wanted.node, ino);
        }
        if let Some(mtime) = wanted.parent_mtime {
            self.stamp(dir, mtime);
        }
        Ok(())
    }

    fn list(&self, path: &RelPath, after: Option<&Name>, only: Option<&Name>) -> Answer {
        let Some(dir) = self.store.resolve(path) else { return Answer::Page(Vec::new(), true) };
        let wanted = |name: &Name| after.is_none_or(|after| name > after) && only.is_none_or(|only| name == only);
        let mut names: Vec<Name> = self.store.names(dir).into_iter().filter(wanted).collect();
        let complete = names.len() <= PAGE;
        names.truncate(PAGE);
        let entries = names.into_iter().filter_map(|name| {
            let inode = self.store.child(dir, &name)?;
            let there = self.store.at(inode);
            let (mode, mtime, links) = (there.mode, there.mtime, there.links);
            Some(Entry { name, directory: there.is_dir(), mode, mtime, blocks: there.blocks().to_vec(), links, inode })
        });
        Answer::Page(entries.collect(), complete)
    }

    fn compare(&mut self, node: u64, at: &At, block: usize, data: &[u32]) -> Result<Answer> {
        let ino = self.file(node, at)?;
        let blocks = self.store.at(ino).blocks();
        let differs = |index: &usize| blocks.get(block + index).copied().unwrap_or(0) != data[*index];
        Ok(Answer::Differs((0..data.len()).filter(differs).collect()))
    }

    /// Everything that was set aside, with what is below it: whether a file of this mode is there.
    pub fn has_aside(&self, mode: u32) -> bool {
        self.aside.iter().any(|ino| self.holds(*ino, mode))
    }

    /// Whether a file of this mode is at or below an inode.
    pub fn holds(&self, ino: u64, mode: u32) -> bool {
        let Some(inode) = self.store.get(ino) else { return false };
        let below = || self.store.names(ino).into_iter().filter_map(|name| self.store.child(ino, &name));
        inode.mode == mode || below().any(|sub| self.holds(sub, mode))
    }
}

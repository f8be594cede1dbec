//! What applications do: one system call each, with arguments that fit whatever the tree looks like. The kernel's part (looking
//! up the names of a path) and the FUSE layer's (what a node lost) are here.

use super::live::{Lost, Renamed};
use super::node::H;
use super::record::Rec;
use super::source::Source;
use super::store::{BLOCK_BYTES, ROOT};
use protocol::Name;
use srm::map::{Handle, Touch, Work};

/// Names that applications use.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Directories are no deeper than this.
const DEPTH: usize = 4;

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Create,
    Mkdir,
    Write,
    Truncate,
    Chmod,
    Unlink,
    Rmdir,
    Rename,
    Exchange,
    Link,
    Open,
    WriteOpen,
    LinkOpen,
    Close,
    Forget,
    /// One of the others, on what a worker of the pass has in hand.
    Hit,
}

/// Its arguments: numbers that pick among what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Args(pub u32, pub u32, pub u32);

/// An open file.
pub struct Opened(H);

/// A name in a directory that the kernel has looked up.
struct Place {
    dir: H,
    name: Name,
}

fn name(number: u32) -> Name {
    Name::new(NAMES[number as usize % NAMES.len()].as_bytes()).expect("a valid name")
}

impl Source {
    /// A directory, looked up name by name.
    fn directory(&mut self, number: u32) -> H {
        let all = self.disk.directories();
        let (_, path) = &all[number as usize % all.len()];
        let mut node = self.tree.root();
        for part in path.as_bytes().split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            let part = Name::new(part).expect("a name from a path");
            node = self.kernel_lookup(&node, &part).expect("a directory that is there");
        }
        node
    }

    fn kernel_lookup(&mut self, dir: &H, name: &Name) -> Option<H> {
        let node = self.tree.lookup(&self.disk, dir, name)?;
        node.kernel.set(true);
        self.adopt(&node);
        Some(node)
    }

    /// A place, its directory by the upper bits.
    fn place_of(&mut self, number: u32) -> Place {
        Place { dir: self.directory(number / 8), name: name(number) }
    }

    /// A place where there is something, if there is any: of files, or of directories.
    fn existing(&mut self, number: u32, directory: Option<bool>) -> Option<(Place, H)> {
        let mut all = Vec::new();
        for (dir, _) in self.disk.directories() {
            for name in self.disk.names(dir) {
                if let Some(ino) = self.disk.child(dir, &name)
                    && directory.is_none_or(|directory| self.disk.at(ino).is_dir() == directory)
                {
                    all.push((dir, name));
                }
            }
        }
        let (dir, name) = all.get(number as usize % all.len().max(1))?.clone();
        let index = self.disk.directories().iter().position(|(ino, _)| *ino == dir)?;
        let dir = self.directory(u32::try_from(index).ok()?);
        let node = self.kernel_lookup(&dir, &name)?;
        Some((Place { dir, name }, node))
    }

    /// Carries out a call.
    pub fn call(&mut self, call: Call, args: Args, open: &mut Vec<Opened>) {
        match call {
            Call::Create => self.make(args, false),
            Call::Mkdir => self.make(args, true),
            Call::Write => {
                if let Some((place, node)) = self.existing(args.0, Some(false)) {
                    crate::say!(self, "  write {}", super::source::text(&place.dir, &place.name));
                    self.write(&node, args);
                }
            }
            Call::Truncate => {
                if let Some((_, node)) = self.existing(args.0, Some(false)) {
                    self.truncate(&node, args.1 as usize % 7);
                }
            }
            Call::Chmod => {
                if let Some((_, node)) = self.existing(args.0, None) {
                    self.chmod(&node);
                }
            }
            Call::Unlink => {
                if let Some((place, node)) = self.existing(args.0, Some(false)) {
                    self.remove(&place, &node);
                }
            }
            Call::Rmdir => {
                if let Some((place, node)) = self.existing(args.0, Some(true))
                    && self.disk.names(node.ino()).is_empty()
                {
                    self.remove(&place, &node);
                }
            }
            Call::Rename => self.rename(args),
            Call::Exchange => self.exchange(args),
            Call::Link => {
                if let Some((_, node)) = self.existing(args.0, Some(false)) {
                    let to = self.place_of(args.1);
                    self.link_to(&to, &node);
                }
            }
            Call::Open => {
                if let Some((_, node)) = self.existing(args.0, Some(false)) {
                    self.disk.at_mut(node.ino()).opens += 1;
                    open.push(Opened(node));
                }
            }
            Call::WriteOpen | Call::LinkOpen | Call::Close => self.by_descriptor(call, args, open),
            Call::Hit => self.hit(args),
            Call::Forget => {
                let all = self.tree.forgettable(&self.disk);
                if let Some(node) = all.get(args.0 as usize % all.len().max(1)) {
                    node.kernel.set(false);
                    if node.orphan.get() {
                        let node = node.clone();
                        self.reap(&node);
                    }
                }
            }
        }
    }

    /// Something happens to what a worker has in hand.
    fn hit(&mut self, args: Args) {
        let in_hand = |task: &super::work::Task| match &task.work {
            Work::Name(dir, name) => Some((dir.clone(), name.clone())),
            Work::Copy(node, _) | Work::Mend(node, _) | Work::List(node) => node.link(),
        };
        let all: Vec<(H, Name)> = self.tasks.iter().filter_map(in_hand).collect();
        let Some((dir, name)) = all.get(args.0 as usize % all.len().max(1)).cloned() else { return };
        if !self.tree.is_current(&self.disk, &dir) || !dir.has_name() {
            return;
        }
        let Some(node) = self.kernel_lookup(&dir, &name) else { return };
        dir.chain().iter().for_each(|above| above.kernel.set(true));
        let from = Place { dir, name };
        match args.1 % 8 {
            0..4 if !node.is_dir() => self.write(&node, Args(0, args.2, args.2 / 8)),
            0 | 4 if !node.is_dir() => self.truncate(&node, args.2 as usize % 7),
            1 | 5 if !node.is_dir() => self.remove(&from, &node),
            2 | 6 => self.rename_from(&from, &node, args.2),
            3 | 7 => self.exchange_from(&from, &node, args.2),
            _ => self.chmod(&node),
        }
    }

    fn by_descriptor(&mut self, call: Call, args: Args, open: &mut Vec<Opened>) {
        if open.is_empty() {
            return;
        }
        let index = args.0 as usize % open.len();
        let node = open[index].0.clone();
        match call {
            Call::WriteOpen => {
                crate::say!(self, "  write by descriptor {node:?}");
                self.write(&node, args);
            }
            Call::LinkOpen if self.disk.at(node.ino()).links > 0 => {
                let to = self.place_of(args.1);
                self.link_to(&to, &node);
            }
            Call::Close => {
                open.swap_remove(index);
                self.disk.at_mut(node.ino()).opens -= 1;
                if self.disk.at(node.ino()).opens == 0 {
                    self.reap(&node);
                }
                self.disk.settle(node.ino());
            }
            _ => {}
        }
    }

    fn make(&mut self, args: Args, directory: bool) {
        let place = self.place_of(args.0);
        let depth = place.dir.chain().len();
        if self.disk.child(place.dir.ino(), &place.name).is_some() || (directory && depth > DEPTH) {
            return;
        }
        let (mode, mtime) = (u32::try_from(self.tick()).unwrap_or(0), self.tick());
        let ino = self.disk.alloc(directory, mode, mtime);
        self.disk.attach(place.dir.ino(), &place.name, ino);
        let time = self.tick();
        self.disk.at_mut(place.dir.ino()).mtime = time;
        self.note();
        let Some(node) = self.tree.lookup(&self.disk, &place.dir, &place.name) else { return };
        node.kernel.set(true);
        crate::say!(self, "  make {node:?}{}", if directory { " directory" } else { "" });
        self.created(&place.dir, &place.name, &node);
        if !directory && !args.1.is_multiple_of(3) {
            self.write(&node, Args(0, 0, args.2));
        }
    }

    fn write(&mut self, node: &H, args: Args) {
        let (block, len) = (args.1 as usize % 5, 1 + args.2 as usize % 5);
        let data: Vec<u32> = (0..len)
            .map(|_| {
                self.writes += 1;
                self.writes
            })
            .collect();
        let mtime = self.tick();
        let inode = self.disk.at_mut(node.ino());
        inode.write(block, &data);
        inode.mtime = mtime;
        self.note();
        let range = block as u64 * BLOCK_BYTES..(block + len) as u64 * BLOCK_BYTES;
        self.on_node(node, Touch::Data(range), |at| Rec::Write { node: node.id(), at, block, data, mtime });
    }

    fn truncate(&mut self, node: &H, size: usize) {
        let mtime = self.tick();
        let inode = self.disk.at_mut(node.ino());
        inode.resize(size);
        inode.mtime = mtime;
        self.note();
        crate::say!(self, "  truncate {node:?} to {size}");
        let touch = Touch::Data(size as u64 * BLOCK_BYTES..u64::MAX);
        let (size, mtime) = (Some(size), Some(mtime));
        self.on_node(node, touch, |at| Rec::SetAttr { node: node.id(), at, size, mode: None, mtime });
    }

    fn chmod(&mut self, node: &H) {
        let mode = u32::try_from(self.tick()).unwrap_or(0);
        self.disk.at_mut(node.ino()).mode = mode;
        self.note();
        crate::say!(self, "  chmod {node:?}");
        let mode = Some(mode);
        self.on_node(node, Touch::Attributes, |at| Rec::SetAttr { node: node.id(), at, size: None, mode, mtime: None });
    }

    /// A node loses a name: as the FUSE layer finds out.
    fn lose(&mut self, place: &Place, node: &H, links_before: u32) -> Lost {
        let last = node.remove_link(&place.dir, &place.name);
        let links_left = if node.is_dir() { 0 } else { links_before - 1 };
        let open = self.disk.get(node.ino()).is_some_and(|inode| inode.opens > 0);
        let orphan = last && !node.is_dir() && (open || links_left > 0);
        if orphan {
            node.orphan.set(true);
        }
        Lost { node: node.clone(), links_left, orphan }
    }

    fn remove(&mut self, place: &Place, node: &H) {
        crate::say!(self, "  remove {}: {node:?}", super::source::text(&place.dir, &place.name));
        let before = self.disk.at(node.ino()).links;
        self.disk.unlink(place.dir.ino(), &place.name);
        let time = self.tick();
        self.disk.at_mut(place.dir.ino()).mtime = time;
        self.note();
        let lost = self.lose(place, node, before);
        self.unlinked(&place.dir, &place.name, &lost);
    }

    fn link_to(&mut self, to: &Place, node: &H) {
        if self.disk.child(to.dir.ino(), &to.name).is_some() {
            return;
        }
        crate::say!(self, "  link {node:?} as {}", super::source::text(&to.dir, &to.name));
        self.disk.attach(to.dir.ino(), &to.name, node.ino());
        let time = self.tick();
        self.disk.at_mut(to.dir.ino()).mtime = time;
        self.note();
        let Some(node) = self.tree.lookup(&self.disk, &to.dir, &to.name) else { return };
        self.linked(&to.dir, &to.name, &node);
        self.adopt(&node);
    }

    fn rename(&mut self, args: Args) {
        if let Some((from, node)) = self.existing(args.0, None) {
            self.rename_from(&from, &node, args.1);
        }
    }

    fn rename_from(&mut self, from: &Place, node: &H, to: u32) {
        let to = self.place_of(to);
        let there = self.kernel_lookup(&to.dir, &to.name);
        let into_itself = node.is_dir() && self.disk.is_within(to.dir.ino(), node.ino());
        if into_itself || there.as_ref().is_some_and(|there| there.id() == node.id()) {
            return;
        }
        if let Some(there) = &there
            && (there.is_dir() != node.is_dir() || !self.disk.names(there.ino()).is_empty())
        {
            return;
        }
        let depth = to.dir.chain().len();
        if node.is_dir() && depth > DEPTH {
            return;
        }
        let text = super::source::text;
        crate::say!(self, "  rename {node:?} {} to {}", text(&from.dir, &from.name), text(&to.dir, &to.name));
        let before = there.as_ref().map_or(0, |there| self.disk.at(there.ino()).links);
        if there.is_some() {
            self.disk.unlink(to.dir.ino(), &to.name);
        }
        self.disk.detach(from.dir.ino(), &from.name);
        self.disk.attach(to.dir.ino(), &to.name, node.ino());
        self.stamp(from, &to);
        let replaced = there.map(|there| self.lose(&to, &there, before));
        node.remove_link(&from.dir, &from.name);
        node.add_link(&to.dir, &to.name);
        let (from, to) = ((&from.dir, &from.name), (&to.dir, &to.name));
        self.renamed(&Renamed { from, to, node, other: None, replaced });
    }

    fn exchange(&mut self, args: Args) {
        if let Some((from, node)) = self.existing(args.0, None) {
            self.exchange_from(&from, &node, args.1);
        }
    }

    fn exchange_from(&mut self, from: &Place, node: &H, to: u32) {
        let Some((to, other)) = self.existing(to, None) else { return };
        let within = |dir: &H, node: &H, source: &Self| node.is_dir() && source.disk.is_within(dir.ino(), node.ino());
        if node.id() == other.id() || within(&to.dir, node, self) || within(&from.dir, &other, self) {
            return;
        }
        let text = super::source::text;
        crate::say!(self, "  exchange {node:?} {} {other:?} {}", text(&from.dir, &from.name), text(&to.dir, &to.name));
        self.disk.detach(from.dir.ino(), &from.name);
        self.disk.detach(to.dir.ino(), &to.name);
        self.disk.attach(from.dir.ino(), &from.name, other.ino());
        self.disk.attach(to.dir.ino(), &to.name, node.ino());
        self.stamp(from, &to);
        other.remove_link(&to.dir, &to.name);
        other.add_link(&from.dir, &from.name);
        node.remove_link(&from.dir, &from.name);
        node.add_link(&to.dir, &to.name);
        let (from, to) = ((&from.dir, &from.name), (&to.dir, &to.name));
        self.renamed(&Renamed { from, to, node, other: Some(&other), replaced: None });
    }

    fn stamp(&mut self, from: &Place, to: &Place) {
        for dir in [&from.dir, &to.dir] {
            let time = self.tick();
            self.disk.at_mut(dir.ino()).mtime = time;
        }
        self.note();
    }

    /// The source's daemon begins anew, over the same disk.
    pub fn restart(&mut self, open: &mut Vec<Opened>) {
        self.all_dirty("the source begins anew");
        for Opened(node) in open.drain(..) {
            self.disk.at_mut(node.ino()).opens -= 1;
            self.disk.settle(node.ino());
        }
        self.tree = super::node::Tree::new(&self.disk);
        assert!(self.disk.get(ROOT).is_some(), "SRC is there");
    }
}

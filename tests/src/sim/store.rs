//! A file system in memory: inodes with content in blocks, directories, hard links. Both sides have one. An inode number is
//! used again as soon as it is free.

use protocol::{Name, RelPath};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Bytes that one block of content stands for.
pub const BLOCK_BYTES: u64 = 4096;
/// The inode number of a store's root.
pub const ROOT: u64 = 1;

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file: of each block the write that it comes from, zero for a hole.
    File(Vec<u32>),
    /// Inode numbers by name.
    Directory(BTreeMap<Name, u64>),
}

/// A file or directory.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Told apart from other inodes that had the same number.
    pub generation: u64,
    /// What it is.
    pub kind: Kind,
    /// Attributes, as a number that each change of them makes new.
    pub mode: u32,
    /// Modification time.
    pub mtime: u64,
    /// Names.
    pub links: u32,
    /// Open descriptors.
    pub opens: u32,
}

impl Inode {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    /// A file's content; nothing for a directory.
    pub fn blocks(&self) -> &[u32] {
        match &self.kind {
            Kind::File(blocks) => blocks,
            Kind::Directory(_) => &[],
        }
    }

    /// Writes blocks at an index; the file may grow.
    pub fn write(&mut self, at: usize, data: &[u32]) {
        if let Kind::File(blocks) = &mut self.kind {
            if blocks.len() < at + data.len() {
                blocks.resize(at + data.len(), 0);
            }
            blocks[at..at + data.len()].copy_from_slice(data);
        }
    }

    /// Sets a file's size in blocks.
    pub fn resize(&mut self, len: usize) {
        if let Kind::File(blocks) = &mut self.kind {
            blocks.resize(len, 0);
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Store {
    inodes: BTreeMap<u64, Inode>,
    free: Vec<u64>,
    next: u64,
    generations: u64,
}

impl Default for Store {
    fn default() -> Self {
        let root =
            Inode { generation: 1, kind: Kind::Directory(BTreeMap::new()), mode: 0, mtime: 0, links: 1, opens: 0 };
        Self { inodes: BTreeMap::from([(ROOT, root)]), free: Vec::new(), next: 2, generations: 2 }
    }
}

impl Store {
    /// An inode.
    pub fn get(&self, ino: u64) -> Option<&Inode> {
        self.inodes.get(&ino)
    }

    /// An inode that must be there.
    pub fn at(&self, ino: u64) -> &Inode {
        &self.inodes[&ino]
    }

    /// An inode that must be there.
    pub fn at_mut(&mut self, ino: u64) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("an inode that is in use")
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Whether it holds nothing but its root.
    pub fn is_empty(&self) -> bool {
        self.names(ROOT).is_empty()
    }

    /// Names in a directory.
    pub fn names(&self, dir: u64) -> Vec<Name> {
        match self.get(dir).map(|inode| &inode.kind) {
            Some(Kind::Directory(names)) => names.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// What a name stands for.
    pub fn child(&self, dir: u64, name: &Name) -> Option<u64> {
        match &self.get(dir)?.kind {
            Kind::Directory(names) => names.get(name).copied(),
            Kind::File(_) => None,
        }
    }

    /// What a path stands for.
    pub fn resolve(&self, path: &RelPath) -> Option<u64> {
        match path.split_last() {
            None => Some(ROOT),
            Some((dir, name)) => self.child(self.resolve(&dir)?, &name),
        }
    }

    /// The directory of a path, if there is one, and the last name.
    pub fn parent(&self, path: &RelPath) -> Option<(u64, Name)> {
        let (dir, name) = path.split_last()?;
        let dir = self.resolve(&dir)?;
        self.at(dir).is_dir().then_some((dir, name))
    }

    /// An inode without a name.
    pub fn alloc(&mut self, directory: bool, mode: u32, mtime: u64) -> u64 {
        let ino = self.free.pop().unwrap_or(self.next);
        self.next = self.next.max(ino + 1);
        self.generations += 1;
        let kind = if directory { Kind::Directory(BTreeMap::new()) } else { Kind::File(Vec::new()) };
        self.inodes.insert(ino, Inode { generation: self.generations, kind, mode, mtime, links: 0, opens: 0 });
        ino
    }

    /// Gives an inode a name that is free.
    pub fn attach(&mut self, dir: u64, name: &Name, ino: u64) {
        self.at_mut(ino).links += 1;
        if let Kind::Directory(names) = &mut self.at_mut(dir).kind {
            assert!(names.insert(name.clone(), ino).is_none(), "a name that is free");
        }
    }

    /// Takes a name away, and gives what had it, which may have none left.
    pub fn detach(&mut self, dir: u64, name: &Name) -> Option<u64> {
        let Kind::Directory(names) = &mut self.inodes.get_mut(&dir)?.kind else { return None };
        let ino = names.remove(name)?;
        self.at_mut(ino).links -= 1;
        Some(ino)
    }

    /// An inode that nobody has any more is freed.
    pub fn settle(&mut self, ino: u64) {
        if self.get(ino).is_some_and(|inode| inode.links == 0 && inode.opens == 0) {
            self.inodes.remove(&ino);
            self.free.push(ino);
        }
    }

    /// Takes a name away for good.
    pub fn unlink(&mut self, dir: u64, name: &Name) {
        if let Some(ino) = self.detach(dir, name) {
            self.settle(ino);
        }
    }

    /// Whether `ino` is `dir` or somewhere below it.
    pub fn is_within(&self, ino: u64, dir: u64) -> bool {
        ino == dir
            || self.names(dir).iter().filter_map(|name| self.child(dir, name)).any(|sub| self.is_within(ino, sub))
    }

    /// All directories' inode numbers and paths.
    pub fn directories(&self) -> Vec<(u64, RelPath)> {
        let mut out = vec![(ROOT, RelPath::root())];
        let mut next = 0;
        while let Some((dir, path)) = out.get(next).cloned() {
            next += 1;
            for name in self.names(dir) {
                if let (Some(ino), Ok(path)) = (self.child(dir, &name), path.join(&name))
                    && self.at(ino).is_dir()
                {
                    out.push((ino, path));
                }
            }
        }
        out
    }

    /// Files' inode numbers.
    pub fn files(&self) -> Vec<u64> {
        self.inodes.iter().filter(|(_, inode)| !inode.is_dir()).map(|(ino, _)| *ino).collect()
    }

    /// Everything that can be seen below the root.
    pub fn snapshot(&self) -> Snapshot {
        let mut items = BTreeMap::new();
        let mut first = BTreeMap::new();
        self.walk(ROOT, &RelPath::root(), &mut items, &mut first);
        Snapshot { items }
    }

    fn walk(&self, ino: u64, path: &RelPath, items: &mut BTreeMap<RelPath, Item>, first: &mut BTreeMap<u64, RelPath>) {
        let inode = self.at(ino);
        let first_path = first.entry(ino).or_insert_with(|| path.clone()).clone();
        let directory = inode.is_dir();
        let blocks = inode.blocks().to_vec();
        items.insert(path.clone(), Item { directory, mode: inode.mode, mtime: inode.mtime, blocks, first: first_path });
        for name in self.names(ino) {
            if let (Some(sub), Ok(path)) = (self.child(ino, &name), path.join(&name)) {
                self.walk(sub, &path, items, first);
            }
        }
    }
}

/// What can be seen under one path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Item {
    directory: bool,
    mode: u32,
    mtime: u64,
    blocks: Vec<u32>,
    /// The first path of the same inode.
    first: RelPath,
}

/// What can be seen of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    items: BTreeMap<RelPath, Item>,
}

impl Snapshot {
    /// Differs, in all likelihood, between two that differ.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, item) in &self.items {
            path.as_bytes().hash(&mut hasher);
            (item.directory, item.mode, item.mtime, &item.blocks, item.first.as_bytes()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// How this differs from another, in words.
    pub fn differences(&self, other: &Self) -> String {
        let mut out = Vec::new();
        for path in self.items.keys().chain(other.items.keys().filter(|path| !self.items.contains_key(path))) {
            let (mine, theirs) = (self.items.get(path), other.items.get(path));
            if mine != theirs {
                let text = |item: Option<&Item>| item.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                out.push(format!("{path:?}: {} / {}", text(mine), text(theirs)));
            }
        }
        out.join("; ")
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.directory { "directory".to_owned() } else { format!("{:?}", self.blocks) };
        write!(f, "{kind} mode {} mtime {} as {:?}", self.mode, self.mtime, self.first)
    }
}

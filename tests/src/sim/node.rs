//! The nodes of the source that are known, under the names that are known: what the kernel and others hold. A node that
//! nobody holds is forgotten with all its names, and is another node when it is found again.

use super::store::{ROOT, Store};
use protocol::{Name, RelPath};
use srm::map::Handle;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A known node.
pub struct Node {
    id: u64,
    ino: u64,
    generation: u64,
    directory: bool,
    links: RefCell<BTreeMap<(u64, Name), H>>,
    /// The target keeps it without a name.
    pub orphan: Cell<bool>,
    /// The kernel refers to it.
    pub kernel: Cell<bool>,
}

/// A reference to a known node.
#[derive(Clone)]
pub struct H(Rc<Node>);

impl fmt::Debug for H {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().map_or_else(|| "?".to_owned(), |path| path.to_string());
        write!(f, "#{}(i{} /{path})", self.0.id, self.0.ino)
    }
}

impl std::ops::Deref for H {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.0
    }
}

impl Handle for H {
    fn id(&self) -> u64 {
        self.0.id
    }

    fn ino(&self) -> u64 {
        self.0.ino
    }

    fn is_root(&self) -> bool {
        self.0.ino == ROOT
    }

    fn links(&self) -> Vec<(Self, Name)> {
        self.0.links.borrow().iter().map(|((_, name), dir)| (dir.clone(), name.clone())).collect()
    }
}

impl H {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.0.directory
    }

    /// Told apart from others that had the same inode number.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Whether a name of it is known.
    pub fn has_name(&self) -> bool {
        self.is_root() || !self.0.links.borrow().is_empty()
    }

    /// Whether this is a known name of it.
    pub fn has_link(&self, dir: &Self, name: &Name) -> bool {
        self.0.links.borrow().contains_key(&(dir.id, name.clone()))
    }

    /// A known name.
    pub fn link(&self) -> Option<(Self, Name)> {
        self.links().into_iter().next()
    }

    /// A known name other than this.
    pub fn other_link(&self, dir: &Self, name: &Name) -> Option<(Self, Name)> {
        self.links().into_iter().find(|(d, n)| !(d.id == dir.id && n == name))
    }

    /// Notes a name.
    pub fn add_link(&self, dir: &Self, name: &Name) {
        self.0.links.borrow_mut().insert((dir.id, name.clone()), dir.clone());
    }

    /// A name is gone; whether it was the last that is known.
    pub fn remove_link(&self, dir: &Self, name: &Name) -> bool {
        self.0.links.borrow_mut().remove(&(dir.id, name.clone()));
        self.0.links.borrow().is_empty()
    }

    /// A path by names that are known.
    pub fn path(&self) -> Option<RelPath> {
        if self.is_root() {
            return Some(RelPath::root());
        }
        let (dir, name) = self.link()?;
        dir.path()?.join(&name).ok()
    }

    /// SRC and all directories down to this one.
    pub fn chain(&self) -> Vec<Self> {
        let mut out = vec![self.clone()];
        while let Some((dir, _)) = out.last().and_then(Self::link) {
            out.push(dir);
        }
        out.reverse();
        out
    }
}

/// The path of a name in a directory.
pub fn path_in(dir: &H, name: &Name) -> Option<RelPath> {
    dir.path()?.join(name).ok()
}

/// The nodes that are known.
pub struct Tree {
    table: BTreeMap<u64, H>,
    next: u64,
}

impl Tree {
    /// Only the root is known.
    pub fn new(store: &Store) -> Self {
        let mut tree = Self { table: BTreeMap::new(), next: 1 };
        tree.insert(store, ROOT);
        tree
    }

    /// SRC.
    pub fn root(&self) -> H {
        self.table[&ROOT].clone()
    }

    /// A number for a node.
    pub fn fresh_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A known node.
    pub fn get(&self, ino: u64) -> Option<H> {
        self.table.get(&ino).cloned()
    }

    /// The node of an inode. One that has the number of a known node and is another becomes known in its place.
    pub fn insert(&mut self, store: &Store, ino: u64) -> H {
        let inode = store.at(ino);
        if let Some(node) = self.table.get(&ino)
            && node.generation == inode.generation
        {
            return node.clone();
        }
        let node = Node {
            id: self.fresh_id(),
            ino,
            generation: inode.generation,
            directory: inode.is_dir(),
            links: RefCell::default(),
            orphan: Cell::new(false),
            kernel: Cell::new(false),
        };
        let node = H(Rc::new(node));
        self.table.insert(ino, node.clone());
        node
    }

    /// Whether a node still is what the store has under its number.
    pub fn is_current(&self, store: &Store, node: &H) -> bool {
        store.get(node.ino).is_some_and(|inode| inode.generation == node.generation)
    }

    /// Finds a name and notes it.
    pub fn lookup(&mut self, store: &Store, dir: &H, name: &Name) -> Option<H> {
        if !self.is_current(store, dir) {
            return None;
        }
        let node = self.insert(store, store.child(dir.ino, name)?);
        node.add_link(dir, name);
        Some(node)
    }

    /// Nodes that the kernel may forget: no open file, and nothing below that it knows.
    pub fn forgettable(&self, store: &Store) -> Vec<H> {
        let above: Vec<u64> =
            self.table.values().filter(|n| n.kernel.get()).flat_map(Handle::links).map(|(d, _)| d.id).collect();
        let open = |node: &H| self.is_current(store, node) && store.at(node.ino).opens > 0;
        let may = |node: &&H| node.kernel.get() && !node.is_root() && !open(node) && !above.contains(&node.id);
        self.table.values().filter(may).cloned().collect()
    }

    /// Forgets what nobody holds.
    pub fn sweep(&mut self, store: &Store) {
        loop {
            let open = |node: &H| store.get(node.ino).is_some_and(|i| i.generation == node.generation && i.opens > 0);
            let idle =
                |node: &H| Rc::strong_count(&node.0) == 1 && !node.kernel.get() && !node.is_root() && !open(node);
            let idle: Vec<u64> = self.table.values().filter(|node| idle(node)).map(|node| node.ino).collect();
            if idle.is_empty() {
                return;
            }
            for ino in idle {
                self.table.remove(&ino);
            }
        }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is known, which never is.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

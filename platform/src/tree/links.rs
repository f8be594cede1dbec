//! The names a node is known under, and the paths they make (R8). A name is valid as long as it stands here.

use super::node::Filter;
use super::{Names, Node};
use protocol::{At, Name, NodeId, Place, RelPath};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A directory and a name in it.
pub type Link = (Arc<Node>, Name);

/// Known names of one node. Names that the kernel has not looked up are not among them.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: Known,
    /// It has lost its last known name and lives on as an orphan on the target.
    orphan: bool,
}

/// Nearly every node has one name, and there are as many of these as nodes; a few have tens of thousands.
#[derive(Debug, Default)]
enum Known {
    #[default]
    None,
    One(Link),
    /// By the directory's number and the name.
    Several(BTreeMap<(NodeId, Name), Arc<Node>>),
}

fn key((parent, name): Link) -> ((NodeId, Name), Arc<Node>) {
    ((parent.id(), name), parent)
}

impl Known {
    fn links(&self) -> impl Iterator<Item = (&Arc<Node>, &Name)> {
        let (one, several) = match self {
            Self::None => (None, None),
            Self::One((parent, name)) => (Some((parent, name)), None),
            Self::Several(links) => (None, Some(links.iter().map(|((_, name), parent)| (parent, name)))),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    fn add(&mut self, link: Link) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(link),
            Self::One(first) => Self::Several(BTreeMap::from([key(first), key(link)])),
            Self::Several(mut links) => {
                let (key, parent) = key(link);
                links.insert(key, parent);
                Self::Several(links)
            }
        }
    }

    fn remove(&mut self, parent: &Arc<Node>, name: &Name) {
        match self {
            Self::One((p, n)) if Arc::ptr_eq(p, parent) && n == name => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Several(links) => {
                links.remove(&(parent.id(), name.clone()));
                if links.len() == 1
                    && let Some(((_, name), parent)) = links.pop_first()
                {
                    *self = Self::One((parent, name));
                }
            }
        }
    }

    fn has(&self, parent: &Arc<Node>, name: &Name) -> bool {
        match self {
            Self::None => false,
            Self::One((p, n)) => Arc::ptr_eq(p, parent) && n == name,
            Self::Several(links) => links.contains_key(&(parent.id(), name.clone())),
        }
    }
}

impl Node {
    /// Notes a name that this node has.
    pub fn add_link(self: &Arc<Self>, parent: &Arc<Self>, name: &Name) {
        let mut links = self.links.lock();
        if !links.names.has(parent, name) {
            links.names.add((Arc::clone(parent), name.clone()));
        }
    }

    /// Whether this is a known name of this node.
    pub fn has_link(&self, parent: &Arc<Self>, name: &Name) -> bool {
        self.links.lock().names.has(parent, name)
    }

    /// A known name.
    pub fn link(&self) -> Option<Link> {
        self.links.lock().names.links().next().map(|(parent, name)| (Arc::clone(parent), name.clone()))
    }

    /// All known names.
    pub fn all_links(&self) -> Vec<Link> {
        self.links.lock().names.links().map(|(parent, name)| (Arc::clone(parent), name.clone())).collect()
    }

    /// Known names that are replicated, by the filter that SRC has.
    pub fn taken_links(&self) -> Vec<Link> {
        let mut links = self.all_links();
        let Some(filter) = links.first().and_then(|(parent, _)| parent.filter_above()) else { return links };
        links.retain(|(parent, name)| self.passes(&filter, parent, name));
        links
    }

    /// Whether this name, known or not, would be replicated if the node had it.
    pub fn takes_link(&self, parent: &Arc<Self>, name: &Name) -> bool {
        parent.filter_above().is_none_or(|filter| self.passes(&filter, parent, name))
    }

    fn passes(&self, filter: &Arc<Filter>, parent: &Arc<Self>, name: &Name) -> bool {
        let path = parent.known_path().and_then(|path| path.join(name).ok());
        path.is_some_and(|path| filter(&path, self.kind(), self.size()))
    }

    fn filter_above(self: &Arc<Self>) -> Option<Arc<Filter>> {
        let mut node = Arc::clone(self);
        while !node.is_root() {
            node = node.link()?.0;
        }
        node.filter()
    }

    /// A known name other than this one.
    pub fn other_link(&self, parent: &Arc<Self>, name: &Name) -> Option<Link> {
        let links = self.links.lock();
        let other = links.names.links().find(|(p, n)| !(Arc::ptr_eq(p, parent) && *n == name));
        other.map(|(parent, name)| (Arc::clone(parent), name.clone()))
    }

    /// A name is gone. Says whether it was the last that is known.
    pub fn remove_link(&self, _names: &mut Names, parent: &Arc<Self>, name: &Name) -> bool {
        let mut links = self.links.lock();
        links.names.remove(parent, name);
        links.names.is_empty()
    }

    /// A name has moved.
    pub fn move_link(self: &Arc<Self>, names: &mut Names, from: (&Arc<Self>, &Name), to: (&Arc<Self>, &Name)) {
        self.remove_link(names, from.0, from.1);
        self.add_link(to.0, to.1);
    }

    /// The target keeps this node as an orphan from now on, or no longer.
    pub fn set_orphan(&self, orphan: bool) {
        self.links.lock().orphan = orphan;
    }

    /// Whether the target keeps this node as an orphan.
    pub fn is_orphan(&self) -> bool {
        self.links.lock().orphan
    }

    /// Whether any name of this node is known.
    pub fn has_name(&self) -> bool {
        self.is_root() || !self.links.lock().names.is_empty()
    }

    /// A path of this node below SRC; `None` where no name is known.
    pub fn path(&self, _names: &Names) -> Option<RelPath> {
        self.known_path()
    }

    fn known_path(&self) -> Option<RelPath> {
        if self.is_root() {
            return Some(RelPath::root());
        }
        let mut parts: Vec<Name> = Vec::with_capacity(8);
        let (mut parent, name) = self.link()?;
        parts.push(name);
        while !parent.is_root() {
            let next = {
                let links = parent.links.lock();
                let (above, name) = links.names.links().next()?;
                parts.push(name.clone());
                Arc::clone(above)
            };
            parent = next;
        }
        let mut bytes = Vec::with_capacity(parts.iter().map(|p| p.as_bytes().len() + 1).sum());
        for part in parts.iter().rev() {
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(part.as_bytes());
        }
        RelPath::new(&bytes).ok()
    }

    /// Where this node is, for a record; `None` where no name is known and the target keeps no orphan of it.
    pub fn place(&self, names: &Names) -> Option<Place> {
        let at = match self.path(names) {
            Some(path) => At::Path(path),
            None if self.is_orphan() => At::Orphan,
            None => return None,
        };
        Some(Place { node: self.id(), at })
    }

    /// The parents that this node's known names stand in, nearest first, up to SRC, by its first name. Empty for SRC and
    /// for a node without a known name.
    pub fn ancestors(&self, _names: &Names) -> Vec<Arc<Self>> {
        let mut out: Vec<Arc<Self>> = Vec::new();
        let mut next = self.link().map(|(parent, _)| parent);
        while let Some(node) = next {
            next = node.link().map(|(parent, _)| parent);
            out.push(node);
        }
        out
    }

    pub(super) fn take_parents(&self) -> Vec<Arc<Self>> {
        match std::mem::take(&mut self.links.lock().names) {
            Known::None => Vec::new(),
            Known::One((parent, _)) => vec![parent],
            Known::Several(links) => links.into_values().collect(),
        }
    }
}

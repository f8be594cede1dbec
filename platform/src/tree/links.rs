//! The names a node is known under, and the paths they make (R8). A name is valid as long as it stands here.

use super::{Names, Node};
use protocol::{At, Name, Place, RelPath};
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

/// Nearly every node has one name, and there are as many of these as nodes.
#[derive(Debug, Default)]
enum Known {
    #[default]
    None,
    One(Link),
    Several(Vec<Link>),
}

impl Known {
    fn as_slice(&self) -> &[Link] {
        match self {
            Self::None => &[],
            Self::One(link) => std::slice::from_ref(link),
            Self::Several(links) => links,
        }
    }

    fn add(&mut self, link: Link) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(link),
            Self::One(first) => Self::Several(vec![first, link]),
            Self::Several(mut links) => {
                links.push(link);
                Self::Several(links)
            }
        }
    }

    fn remove(&mut self, parent: &Arc<Node>, name: &Name) {
        if let Self::Several(links) = self {
            links.retain(|link| !is(link, parent, name));
            if links.len() > 1 {
                return;
            }
            *self = links.pop().map_or(Self::None, Self::One);
        } else if self.has(parent, name) {
            *self = Self::None;
        }
    }

    fn has(&self, parent: &Arc<Node>, name: &Name) -> bool {
        self.as_slice().iter().any(|link| is(link, parent, name))
    }
}

fn is((p, n): &Link, parent: &Arc<Node>, name: &Name) -> bool {
    Arc::ptr_eq(p, parent) && n == name
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
        self.links.lock().names.as_slice().first().cloned()
    }

    /// A name is gone. Says whether it was the last that is known.
    pub fn remove_link(&self, _names: &mut Names, parent: &Arc<Self>, name: &Name) -> bool {
        let mut links = self.links.lock();
        links.names.remove(parent, name);
        links.names.as_slice().is_empty()
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
        self.is_root() || !self.links.lock().names.as_slice().is_empty()
    }

    /// A path of this node below SRC; `None` where no name is known.
    pub fn path(&self, _names: &Names) -> Option<RelPath> {
        if self.is_root() {
            return Some(RelPath::root());
        }
        let mut parts: Vec<Name> = Vec::with_capacity(8);
        let (mut parent, name) = self.link()?;
        parts.push(name);
        while !parent.is_root() {
            let next = {
                let links = parent.links.lock();
                let (above, name) = links.names.as_slice().first()?;
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

    /// The known names with their directories.
    pub fn links(&self) -> Vec<Link> {
        self.links.lock().names.as_slice().to_vec()
    }

    pub(super) fn take_parents(&self) -> Vec<Arc<Self>> {
        match std::mem::take(&mut self.links.lock().names) {
            Known::None => Vec::new(),
            Known::One((parent, _)) => vec![parent],
            Known::Several(links) => links.into_iter().map(|(parent, _)| parent).collect(),
        }
    }
}

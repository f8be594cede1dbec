//! The names a node is known under, and the paths they make (R8). A name is valid as long as it stands here.

use super::{Names, Node};
use protocol::{At, Name, Place, RelPath};
use std::sync::Arc;

/// Known names of one node. Names that the kernel has not looked up are not among them.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: Vec<(Arc<Node>, Name)>,
    /// It has lost its last known name and lives on as an orphan on the target.
    orphan: bool,
}

impl Node {
    /// Notes a name that this node has.
    pub fn add_link(self: &Arc<Self>, parent: &Arc<Self>, name: &Name) {
        let mut links = self.links.lock();
        if !links.names.iter().any(|(p, n)| Arc::ptr_eq(p, parent) && n == name) {
            links.names.push((Arc::clone(parent), name.clone()));
        }
    }

    /// A name is gone. Says whether it was the last that is known.
    pub fn remove_link(&self, _names: &mut Names, parent: &Arc<Self>, name: &Name) -> bool {
        let mut links = self.links.lock();
        links.names.retain(|(p, n)| !(Arc::ptr_eq(p, parent) && n == name));
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
        if self.is_root() {
            return Some(RelPath::root());
        }
        let mut parts: Vec<Name> = Vec::with_capacity(8);
        let (mut parent, name) = self.links.lock().names.first()?.clone();
        parts.push(name);
        while !parent.is_root() {
            let next = {
                let links = parent.links.lock();
                let (above, name) = links.names.first()?;
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
        let mut next = self.links.lock().names.first().map(|(parent, _)| Arc::clone(parent));
        while let Some(node) = next {
            next = node.links.lock().names.first().map(|(parent, _)| Arc::clone(parent));
            out.push(node);
        }
        out
    }

    /// The known names with their directories.
    pub fn links(&self) -> Vec<(Arc<Self>, Name)> {
        self.links.lock().names.clone()
    }

    pub(super) fn take_parents(&self) -> Vec<Arc<Self>> {
        std::mem::take(&mut self.links.lock().names).into_iter().map(|(parent, _)| parent).collect()
    }
}

//! What a target would hold after applying records in order: names and content, nothing else. Refuses a record that does
//! not fit what came before it.

use bytes::Bytes;
use protocol::{AllocateMode, At, NodeId, Op, Place, RelPath, RenameKind, Replaced};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Something that has names. A node that the kernel forgot has another id when it is found again; an id never means
/// two inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inode(usize);

#[derive(Default)]
pub struct Model {
    names: BTreeMap<Vec<u8>, Inode>,
    content: Vec<Vec<u8>>,
    known: HashMap<NodeId, Inode>,
    orphans: HashSet<NodeId>,
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |at| &path[..at])
}

impl Model {
    fn take(&mut self, path: &RelPath) -> Inode {
        self.names.remove(path.as_bytes()).unwrap_or_else(|| panic!("{path} is not there"))
    }

    fn check(&mut self, node: NodeId, inode: Inode, what: &dyn std::fmt::Display) {
        let known = *self.known.entry(node).or_insert(inode);
        assert_eq!(known, inode, "{node:?} was another inode before it was {what}");
    }

    fn put(&mut self, path: &RelPath, inode: Inode) {
        let above = parent(path.as_bytes());
        assert!(above.is_empty() || self.names.contains_key(above), "{path} has no parent");
        let old = self.names.insert(path.as_bytes().to_vec(), inode);
        assert_eq!(old, None, "{path} is already there");
    }

    fn lose(&mut self, path: &RelPath, gone: &Replaced) {
        let inode = self.take(path);
        self.check(gone.node, inode, path);
        if gone.orphan {
            assert!(self.orphans.insert(gone.node), "it becomes an orphan once");
        }
    }

    /// Everything below a directory moves with it. A path cannot begin with NUL: that is where things wait.
    fn shift(&mut self, from: &RelPath, to: &[u8]) {
        let prefix = [from.as_bytes(), b"/"].concat();
        let below: Vec<_> = self.names.keys().filter(|path| path.starts_with(&prefix)).cloned().collect();
        for path in below {
            let node = self.names.remove(&path).unwrap();
            self.names.insert([to, b"/", &path[prefix.len()..]].concat(), node);
        }
    }

    fn inode(&mut self, place: &Place) -> Inode {
        match &place.at {
            At::Path(path) => {
                let inode = *self.names.get(path.as_bytes()).unwrap_or_else(|| panic!("{path} is not there"));
                self.check(place.node, inode, path);
                inode
            }
            At::Orphan => {
                assert!(self.orphans.contains(&place.node), "it is no orphan");
                self.known[&place.node]
            }
        }
    }

    fn file(&mut self, place: &Place) -> &mut Vec<u8> {
        let inode = self.inode(place);
        &mut self.content[inode.0]
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath, kind: RenameKind, node: NodeId, replaced: Option<&Replaced>) {
        let moved = self.take(from);
        self.check(node, moved, from);
        if kind == RenameKind::Exchange {
            let other = self.take(to);
            self.shift(from, b"\0");
            self.shift(to, from.as_bytes());
            let aside: Vec<_> = self.names.keys().filter(|path| path.starts_with(b"\0/")).cloned().collect();
            for path in aside {
                let node = self.names.remove(&path).unwrap();
                self.names.insert([to.as_bytes(), &path[1..]].concat(), node);
            }
            self.put(from, other);
        } else {
            if let Some(gone) = replaced {
                self.lose(to, gone);
            }
            self.shift(from, to.as_bytes());
        }
        self.put(to, moved);
    }

    /// Applies one record.
    pub fn apply(&mut self, op: &Op, payload: &Bytes) {
        match op {
            Op::Create { path, node, .. } => {
                let inode = Inode(self.content.len());
                self.content.push(Vec::new());
                self.check(*node, inode, path);
                self.put(path, inode);
            }
            Op::Link { from, to, .. } => {
                let inode = self.inode(from);
                self.put(to, inode);
            }
            Op::Unlink { path, gone, .. } => self.lose(path, gone),
            Op::Rename { from, to, kind, node, replaced, .. } => self.rename(from, to, *kind, *node, replaced.as_ref()),
            Op::Write { place, offset, .. } => {
                let at = usize::try_from(*offset).unwrap();
                let file = self.file(place);
                file.resize(file.len().max(at + payload.len()), 0);
                file[at..at + payload.len()].copy_from_slice(payload);
            }
            Op::SetAttr { place, size: Some(size), .. } => {
                self.file(place).resize(usize::try_from(*size).unwrap(), 0);
            }
            Op::Allocate { place, mode, offset, len, .. } => {
                let (from, to) = (usize::try_from(*offset).unwrap(), usize::try_from(offset + len).unwrap());
                let file = self.file(place);
                if matches!(mode, AllocateMode::Allocate | AllocateMode::Zero) {
                    file.resize(file.len().max(to), 0);
                }
                let to = to.min(file.len());
                if !matches!(mode, AllocateMode::Allocate | AllocateMode::KeepSize) && from < to {
                    file[from..to].fill(0);
                }
            }
            Op::CopyRange { from, from_offset, to, to_offset, len, .. } => {
                let [at, len] = [*from_offset, *len].map(|n| usize::try_from(n).unwrap());
                let bytes = Bytes::copy_from_slice(&self.file(from)[at..at + len]);
                let write = Op::Write {
                    place: to.clone(),
                    offset: *to_offset,
                    mtime: protocol::Time::default(),
                    mode: None,
                    durable: false,
                };
                self.apply(&write, &bytes);
            }
            Op::Reap { node } => assert!(self.orphans.remove(node), "what is reaped is an orphan"),
            _ => {}
        }
    }

    /// Compares with a directory: the same names, the same content, no orphan left.
    pub fn assert_same(&self, dir: &Path) {
        assert!(self.orphans.is_empty(), "orphans are left: {:?}", self.orphans);
        let mut seen = 0;
        self.compare(dir, Path::new(""), &mut seen);
        assert_eq!(seen, self.names.len(), "the records left more names than the directory has");
    }

    fn compare(&self, dir: &Path, below: &Path, seen: &mut usize) {
        for entry in std::fs::read_dir(dir.join(below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            let node = self.names.get(path.to_str().unwrap().as_bytes());
            let node = node.unwrap_or_else(|| panic!("no record made {}", path.display()));
            *seen += 1;
            if entry.file_type().unwrap().is_dir() {
                self.compare(dir, &path, seen);
            } else if entry.file_type().unwrap().is_file() {
                let content = std::fs::read(entry.path()).unwrap();
                assert!(self.content[node.0] == content, "{} has other content", path.display());
            }
        }
    }
}

//! Exact comparison of two trees: whether a replica is what its source is. Looks at names and nodes only, never follows a
//! symbolic link, changes nothing. It shares no code with replfs, so that a mistake there cannot hide here.

mod content;
mod scan;
#[cfg(test)]
mod tests;
mod told;

use anyhow::{Context, Result};
use scan::{Node, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// What kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// In the first tree only.
    Missing,
    /// In the second tree only.
    Extra,
    /// Another kind of node.
    Type,
    /// Permission bits, setuid, setgid and sticky included.
    Mode,
    /// User or group.
    Owner,
    /// Length in bytes.
    Size,
    /// Modification time in nanoseconds, of directories and symbolic links too.
    Mtime,
    /// Where a symbolic link points.
    Symlink,
    /// Device number.
    Device,
    /// The set of names of the same node within the tree.
    HardLink,
    /// An extended attribute that is no ACL.
    Xattr,
    /// An access or default ACL.
    Acl,
    /// Which 4 KiB blocks hold data.
    Holes,
    /// Space allocated, without regard to small amounts of metadata.
    Allocation,
    /// Bytes.
    Content,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its kind.
    pub class: Class,
    /// Where: bytes relative to both roots, empty for the roots themselves.
    pub path: Vec<u8>,
    /// What the first and the second tree have.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} /{}: {}", self.class, self.path.escape_ascii(), self.detail)
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All differences, in path order.
    pub differences: Vec<Difference>,
    /// Entries in the first tree, its root included.
    pub entries: usize,
}

impl Report {
    /// At most `most` differences, one per line, and how many more there are.
    pub fn text(&self, most: usize) -> String {
        let mut lines: Vec<String> = self.differences.iter().take(most).map(ToString::to_string).collect();
        if self.differences.len() > most {
            lines.push(format!("and {} more", self.differences.len() - most));
        }
        lines.push(format!("{} differences in {} entries", self.differences.len(), self.entries));
        lines.join("\n")
    }
}

/// Compares the trees below `a` and `b`, which must be directories and should not change meanwhile. Errors: a node
/// cannot be read; differences are not errors.
pub fn trees(a: &Path, b: &Path) -> Result<Report> {
    compare((a, scan(a)?), (b, scan(b)?))
}

/// The same with a replica of which some is kept that its target, not being root, could not put in force.
pub fn with_replica(a: &Path, replica: &Path) -> Result<Report> {
    let mut second = scan(replica)?;
    second.nodes.values_mut().for_each(told::told);
    compare((a, scan(a)?), (replica, second))
}

fn scan(root: &Path) -> Result<Tree> {
    Tree::scan(root).with_context(|| format!("cannot read the tree {}", root.display()))
}

fn compare((a, first): (&Path, Tree), (b, second): (&Path, Tree)) -> Result<Report> {
    let mut found = Findings::default();
    let names: BTreeSet<&Vec<u8>> = first.nodes.keys().chain(second.nodes.keys()).collect();
    let mut read = BTreeSet::new();
    let mut same_names = BTreeMap::new();
    for path in names {
        match (first.nodes.get(path), second.nodes.get(path)) {
            (Some(x), None) => found.add(Class::Missing, path, format!("{} is not in the second tree", x.kind_name())),
            (None, Some(y)) => found.add(Class::Extra, path, format!("{} is not in the first tree", y.kind_name())),
            (Some(x), Some(y)) if x.kind != y.kind => {
                found.add(Class::Type, path, format!("{} against {}", x.kind_name(), y.kind_name()));
            }
            (Some(x), Some(y)) => {
                found.node(path, x, y);
                // Each node's names are compared once: a node may have thousands.
                if !*same_names.entry((x.id, y.id)).or_insert_with(|| first.names_of(x) == second.names_of(y)) {
                    found.unequal(Class::HardLink, path, &first.names_of(x), &second.names_of(y));
                }
                // Content of a node with several names is read once.
                if x.is_file() && read.insert((x.id, y.id)) {
                    found.file(path, &scan::below(a, path), &scan::below(b, path), x, y)?;
                }
            }
            (None, None) => {}
        }
    }
    Ok(Report { differences: found.0, entries: first.nodes.len() })
}

#[derive(Default)]
struct Findings(Vec<Difference>);

impl Findings {
    fn add(&mut self, class: Class, path: &[u8], detail: String) {
        self.0.push(Difference { class, path: path.to_vec(), detail });
    }

    fn unequal<T: PartialEq + fmt::Debug>(&mut self, class: Class, path: &[u8], x: &T, y: &T) {
        if x != y {
            self.add(class, path, format!("{x:?} against {y:?}"));
        }
    }

    fn node(&mut self, path: &[u8], x: &Node, y: &Node) {
        if x.mode != y.mode {
            self.add(Class::Mode, path, format!("{:04o} against {:04o}", x.mode, y.mode));
        }
        self.unequal(Class::Owner, path, &x.owner, &y.owner);
        self.unequal(Class::Mtime, path, &x.mtime, &y.mtime);
        self.unequal(Class::Size, path, &x.size, &y.size);
        self.unequal(Class::Device, path, &x.device, &y.device);
        let text = |link: &Option<Vec<u8>>| link.as_ref().map(|l| l.escape_ascii().to_string());
        self.unequal(Class::Symlink, path, &text(&x.link), &text(&y.link));
        let names: BTreeSet<&Vec<u8>> = x.xattrs.keys().chain(y.xattrs.keys()).collect();
        for name in names {
            let (v, w) = (x.xattrs.get(name), y.xattrs.get(name));
            if v != w {
                let class = if name.starts_with(b"system.posix_acl_") { Class::Acl } else { Class::Xattr };
                let text = |value: Option<&Vec<u8>>| value.map_or("nothing".into(), |v| v.escape_ascii().to_string());
                self.add(class, path, format!("{}: {} against {}", name.escape_ascii(), text(v), text(w)));
            }
        }
    }

    fn file(&mut self, path: &[u8], a: &Path, b: &Path, x: &Node, y: &Node) -> Result<()> {
        let files = content::Pair::open(a, b)?;
        let maps = files.data_maps()?;
        let (map_a, map_b) = &maps;
        if map_a != map_b {
            let at = map_a.iter().zip(map_b).position(|(s, t)| s != t).unwrap_or(map_a.len().min(map_b.len()));
            let show = |map: &[content::Extent]| map.get(at).map_or("no data".into(), ToString::to_string);
            self.add(Class::Holes, path, format!("data at {} against {}", show(map_a), show(map_b)));
        } else if content::allocation_differs(x.allocated, y.allocated, map_a.len()) {
            self.add(Class::Allocation, path, format!("{} bytes against {}", x.allocated, y.allocated));
        }
        if x.size == y.size
            && let Some(at) = files.first_difference(&maps)?
        {
            self.add(Class::Content, path, format!("differs at byte {at}"));
        }
        Ok(())
    }
}

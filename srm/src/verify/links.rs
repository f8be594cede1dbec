//! Hard links: names that share an inode on the source share one on the target, and others do not. Numbers of links prove
//! nothing (a name may be left out of the set, or lie outside of SRC), so names are compared two by two; a pair that looks wrong
//! is looked at exactly.

use super::run::{Ended, Found, Run};
use super::status::FindingKind;
use crate::{Again, Srm};
use platform::tree::{Names, Node, Snapshot};
use protocol::{Entry, Name, Op, RelPath};
use std::collections::HashMap;
use std::sync::Arc;

/// Files with several names that are remembered until all their names were seen.
const MOST: usize = 1 << 17;

/// Files with several names, by inode on either side: the other side's inode, and a name.
#[derive(Default)]
pub(super) struct Links {
    source: HashMap<u64, (u64, RelPath, u64)>,
    target: HashMap<u64, (u64, RelPath)>,
}

impl Links {
    /// Takes a name with both its inodes and how many names the source's has. A name that it does not go together with, if
    /// there is one.
    fn take(&mut self, path: &RelPath, mine: u64, count: u64, theirs: u64) -> Option<RelPath> {
        let split = self.source.get(&mine).filter(|(other, ..)| *other != theirs).map(|(_, path, _)| path.clone());
        let joined = self.target.get(&theirs).filter(|(other, _)| *other != mine).map(|(_, path)| path.clone());
        let wrong = split.or(joined);
        if wrong.is_some() || self.source.len() >= MOST {
            return wrong;
        }
        let (_, _, left) = self.source.entry(mine).or_insert_with(|| (theirs, path.clone(), count));
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.source.remove(&mine);
            // Who else uses the target's inode is known only as long as this stays.
        }
        if self.target.len() < MOST {
            self.target.entry(theirs).or_insert_with(|| (mine, path.clone()));
        }
        None
    }

    /// What was remembered of a name's inodes is out of date.
    fn forget(&mut self, mine: u64, theirs: u64) {
        self.source.remove(&mine);
        self.target.remove(&theirs);
    }
}

/// Whether two names are one file, on both sides at one moment.
struct Pair {
    path: RelPath,
    source: bool,
    target: bool,
}

impl Run {
    /// Compares the links of a name that is a file of several names on either side.
    pub(super) fn links(
        &mut self,
        (dir, name): (&Arc<Node>, &Name),
        path: &RelPath,
        mine: &Snapshot,
        theirs: &Entry,
    ) -> Result<(), Ended> {
        let (ino, count) = (mine.stat.st_ino, mine.stat.st_nlink);
        let Some(other) = self.links.take(path, ino, count, theirs.inode) else { return Ok(()) };
        if let Some(found) = self.links_differ(dir, name, &other)? {
            return self.report(Again::Name(Arc::clone(dir), name.clone()), found, Some(other));
        }
        self.links.forget(ino, theirs.inode);
        Ok(())
    }

    /// Whether a name and another are one file on one side only.
    pub(super) fn links_differ(
        &mut self,
        dir: &Arc<Node>,
        name: &Name,
        other: &RelPath,
    ) -> Result<Option<Found>, Ended> {
        let Some(pair) = self.pair(dir, name, other)? else { return Ok(None) };
        let detail = match (pair.source, pair.target) {
            (true, false) => format!("a hard link of '{other}' on the source only"),
            (false, true) => format!("a hard link of '{other}' on the target only"),
            _ => return Ok(None),
        };
        Ok(Some(Found::of(pair.path, (FindingKind::Edited, detail))))
    }

    /// `None`: one of them is not there on both sides.
    fn pair(&mut self, dir: &Arc<Node>, name: &Name, other: &RelPath) -> Result<Option<Pair>, Ended> {
        loop {
            self.wait_ready()?;
            let (path, source, asked) = {
                let names = self.srm.tree.names().read();
                let Some(above) = dir.path(&names) else { return Ok(None) };
                let (Ok(path), Some((other_above, other_name))) = (above.join(name), other.split_last()) else {
                    return Ok(None);
                };
                let (Some(one), Some(two)) = (file(&self.srm, &names, dir, name), inode_at(&self.srm, &names, other))
                else {
                    return Ok(None);
                };
                let questions = [
                    Op::Look { path: above, name: name.clone(), hash: false },
                    Op::Look { path: other_above, name: other_name, hash: false },
                ];
                (path, one == two, self.srm.verify_ask(&questions))
            };
            let Some(asked) = asked else { continue };
            let Some(answers) = self.answers(&asked)? else { continue };
            let mut answers = answers.into_iter();
            let (Some(one), Some(two)) = (self.page_of(answers.next()), self.page_of(answers.next())) else {
                continue;
            };
            let (Some(one), Some(two)) = (one.entries.first(), two.entries.first()) else { return Ok(None) };
            return Ok(Some(Pair { path, source, target: one.inode == two.inode }));
        }
    }
}

/// The inode of a name that is no directory.
fn file(srm: &Srm, names: &Names, dir: &Arc<Node>, name: &Name) -> Option<u64> {
    let peeked = srm.tree.peek(names, dir, name).ok()?;
    (peeked.kind != protocol::NodeKind::Directory).then_some(peeked.stat.st_ino)
}

fn inode_at(srm: &Srm, names: &Names, path: &RelPath) -> Option<u64> {
    let (dir, name) = srm.place_of(names, path)?;
    let found = file(srm, names, &dir, &name);
    srm.tree.settle(dir);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a path")
    }

    #[test]
    fn names_of_one_file_are_expected_to_share_one_inode() {
        let mut links = Links::default();
        assert_eq!(links.take(&path("a"), 1, 3, 11), None);
        assert_eq!(links.take(&path("b"), 1, 3, 11), None);
        assert_eq!(links.take(&path("c"), 1, 3, 12), Some(path("a")), "on the source only");
        assert_eq!(links.take(&path("d"), 2, 1, 11), Some(path("a")), "on the target only");
        links.forget(1, 11);
        assert_eq!(links.take(&path("d"), 2, 1, 11), None);
    }

    #[test]
    fn a_file_all_of_whose_names_were_seen_is_forgotten() {
        let mut links = Links::default();
        for name in ["a", "b"] {
            assert_eq!(links.take(&path(name), 1, 2, 11), None);
        }
        assert!(links.source.is_empty());
    }
}

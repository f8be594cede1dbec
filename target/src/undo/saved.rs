//! What the undo log has already: so that each range of a file, each node and each name is saved once. In memory and bounded; what is
//! forgotten is saved again, which is waste and nothing else, because what was saved first counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// Nodes, names and ranges that are remembered.
const MOST: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Saved {
    nodes: HashMap<u64, File>,
    /// Hashes of directory and name.
    names: HashSet<[u8; 16]>,
    /// Nodes that are not of the coherent state.
    new: HashSet<u64>,
    entries: usize,
}

/// The data of one node.
#[derive(Debug, Default)]
struct File {
    /// What there was of it; behind this nothing has to be saved.
    size: u64,
    /// Start and end. `None`: no data was saved.
    ranges: Option<BTreeMap<u64, u64>>,
}

impl Saved {
    fn count(&mut self) {
        self.entries += 1;
        if self.entries > MOST {
            *self = Self::default();
        }
    }

    pub fn is_new(&self, inode: u64) -> bool {
        self.new.contains(&inode)
    }

    pub fn add_new(&mut self, inode: u64) -> bool {
        self.count();
        self.new.insert(inode)
    }

    pub fn has_node(&self, inode: u64) -> bool {
        self.nodes.contains_key(&inode) || self.is_new(inode)
    }

    pub fn add_node(&mut self, inode: u64, size: u64) {
        self.count();
        self.nodes.entry(inode).or_insert(File { size, ranges: None });
    }

    pub fn has_name(&self, dir: u64, name: &[u8]) -> bool {
        self.is_new(dir) || self.names.contains(&key(dir, name))
    }

    pub fn add_name(&mut self, dir: u64, name: &[u8]) {
        self.count();
        self.names.insert(key(dir, name));
    }

    /// Whether no data of a node was saved so far.
    pub fn is_untouched(&self, inode: u64) -> bool {
        self.nodes.get(&inode).is_none_or(|file| file.ranges.is_none())
    }

    pub fn touch(&mut self, inode: u64) {
        if let Some(file) = self.nodes.get_mut(&inode) {
            file.ranges.get_or_insert_default();
        }
    }

    /// What of a range has to be saved.
    pub fn missing(&self, inode: u64, range: &Range<u64>) -> Vec<Range<u64>> {
        if self.is_new(inode) {
            return Vec::new();
        }
        let Some(file) = self.nodes.get(&inode) else { return vec![range.clone()] };
        let end = range.end.min(file.size);
        let mut at = range.start;
        let mut out = Vec::new();
        let ranges = file.ranges.iter().flatten();
        for (start, stop) in ranges.filter(|(start, stop)| **stop > range.start && **start < end) {
            if *start > at {
                out.push(at..*start);
            }
            at = at.max(*stop);
        }
        if at < end {
            out.push(at..end);
        }
        out
    }

    /// A range is saved.
    pub fn add_range(&mut self, inode: u64, range: Range<u64>) {
        self.count();
        let Some(file) = self.nodes.get_mut(&inode) else { return };
        let ranges = file.ranges.get_or_insert_default();
        let (mut start, mut end) = (range.start, range.end);
        // Those that it touches become one with it.
        while let Some((&from, &to)) = ranges.range(..=end).next_back().filter(|(_, to)| **to >= start) {
            ranges.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        ranges.insert(start, end);
    }
}

fn key(dir: u64, name: &[u8]) -> [u8; 16] {
    let mut bytes = dir.to_le_bytes().to_vec();
    bytes.extend_from_slice(name);
    platform::sys::content::hash(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_saved_once_and_nothing_behind_the_end() {
        let mut saved = Saved::default();
        saved.add_node(7, 100);
        assert!(saved.is_untouched(7));
        assert_eq!(saved.missing(7, &(10..20)), vec![Range { start: 10, end: 20 }]);
        saved.add_range(7, 10..20);
        saved.add_range(7, 30..40);
        assert!(!saved.is_untouched(7));
        assert_eq!(saved.missing(7, &(0..200)), [0..10, 20..30, 40..100]);
        assert_eq!(saved.missing(7, &(12..18)), []);
        assert_eq!(saved.missing(7, &(15..35)), vec![Range { start: 20, end: 30 }]);
        saved.add_range(7, 20..30);
        assert_eq!(saved.missing(7, &(5..45)), [5..10, 40..45]);
        assert_eq!(saved.missing(7, &(100..200)), []);
        saved.add_new(8);
        assert_eq!(saved.missing(8, &(0..200)), []);
        assert_eq!(saved.missing(9, &(1..2)), vec![Range { start: 1, end: 2 }]);
    }
}

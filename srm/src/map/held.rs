//! What changes while nothing is sent (bypass, or a backlog that is full), one by one, within a bound.
//!
//! The target stands still meanwhile. Where the source's names have moved on, the map remembers where the target has what
//! the source has elsewhere now (`was`), so that a rename stays a rename; of files that the target has, it remembers which
//! ranges changed. What was made since needs no note of its own but its name: a node all of whose names are dirty, and that
//! is not remembered elsewhere, is not on the target, and neither is anything below it.

use super::ranges::Ranges;
use super::shadow::Kept;
use super::{Handle, Slot, slot};
use protocol::{Name, Op};
use std::collections::HashMap;
use std::ops::Range;

/// The block of nearly every file system; with another only more is sent than need be.
const BLOCK_BYTES: u64 = 4096;

/// What an absorbed operation changes of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Data in a range (to `u64::MAX`: to the end), and with it size and times.
    Data(Range<u64>),
    /// Attributes or extended attributes.
    Attributes,
    /// Nothing that is seen.
    Nothing,
}

impl Touch {
    /// What an operation with so many bytes of payload changes of the node that it names.
    pub fn of(op: &Op, payload: usize) -> Self {
        // Whole blocks: what is cut off of one leaves it allocated, and zeros are no hole.
        let part = |offset: u64, len: u64| {
            let end = offset.saturating_add(len);
            Self::Data(offset - offset % BLOCK_BYTES..end.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX))
        };
        match op {
            Op::Write { offset, .. } => part(*offset, payload as u64),
            Op::SetAttr { size: Some(size), .. } => part(*size, u64::MAX),
            Op::Allocate { offset, len, .. } => part(*offset, *len),
            Op::CopyRange { to_offset, len, .. } => part(*to_offset, *len),
            Op::SetAttr { .. } | Op::SetXattr { .. } | Op::RemoveXattr { .. } => Self::Attributes,
            _ => Self::Nothing,
        }
    }
}

/// Something cannot be remembered: all is to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A node without a known name changed (R8).
    Nameless,
    /// The bound is reached.
    Full,
}

/// What a node that the target has lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirt {
    /// Data.
    pub data: Ranges,
    /// Attributes, extended attributes.
    pub attributes: bool,
}

/// What the target has under a dirty name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// What was deleted on the source; a directory's own entries are dirty names too.
    Deleted {
        /// A directory.
        directory: bool,
    },
    /// A node that the source has under another name now.
    Moved,
    /// Something that is to be out of the way, or may be right.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct DirtyName<H> {
    pub dir: H,
    pub there: There,
}

/// Where the target has a node.
#[derive(Clone, Debug)]
pub(super) struct Was<H> {
    pub node: H,
    pub dir: H,
    pub name: Name,
    /// The source still has it, elsewhere.
    pub alive: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Held<H> {
    /// Entries that it may have.
    pub(super) limit: usize,
    pub(super) names: HashMap<Slot, DirtyName<H>>,
    pub(super) was: HashMap<u64, Was<H>>,
    /// `was` by where it is, with deleted directories.
    pub(super) at: HashMap<Slot, u64>,
    pub(super) files: HashMap<u64, (H, Dirt)>,
    /// Files with several known names: kept, so that these stay known, and a link remains a link.
    pub(super) linked: HashMap<u64, H>,
    /// Directories whose whole content is to be looked at, and of which no names are remembered (see `fold`).
    pub(super) folded: HashMap<u64, H>,
    /// Files without a name that the target keeps and need not keep any more.
    pub(super) reaped: Vec<u64>,
    /// Where all this is queued as well (see `shadow`): what the target keeps without a name by that.
    pub(super) kept: Option<Kept<H>>,
}

impl<H: Handle> Held<H> {
    /// Nothing has changed yet; at most `limit` entries are kept.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            names: HashMap::new(),
            was: HashMap::new(),
            at: HashMap::new(),
            files: HashMap::new(),
            linked: HashMap::new(),
            folded: HashMap::new(),
            reaped: Vec::new(),
            kept: None,
        }
    }

    /// Entries that are remembered: names, nodes whose data or attributes changed, files with several names, marked
    /// directories.
    pub fn entries(&self) -> usize {
        self.names.len() + self.files.len() + self.linked.len() + self.folded.len() + self.reaped.len()
    }

    /// A file without a name, which the target keeps, is closed or changed. (Not bounded by itself: it was open.)
    pub fn reap(&mut self, node: &H) {
        self.reaped.push(node.id());
    }

    /// How many of the entries are such files: as many as were open without a name when this began, or when what was queued was given up for it, at the most.
    pub fn reaped(&self) -> usize {
        self.reaped.len()
    }

    /// Bytes of data that changed, as far as their end is known.
    pub fn bytes(&self) -> u64 {
        let ranges = self.files.values().flat_map(|(_, dirt)| dirt.data.iter());
        ranges.filter(|range| range.end < u64::MAX).map(|range| range.end - range.start).sum()
    }

    /// Whether the target has what the source had under this name, unchanged.
    pub(super) fn is_clean(&self, dir: &H, name: &Name) -> bool {
        !self.is_folded(dir) && !self.names.contains_key(&slot(dir, name)) && self.is_there(dir)
    }

    /// Whether the target has this node, wherever.
    pub fn is_there(&self, node: &H) -> bool {
        node.is_root()
            || self.was.get(&node.id()).is_some_and(|was| was.alive)
            || node.links().iter().any(|(dir, name)| self.is_clean(dir, name))
    }

    /// A node's data or attributes changed. Nodes that have no name at all, known or not, are not told: nobody sees them.
    pub fn touched(&mut self, node: &H, touch: Touch) -> Result<(), Lost> {
        self.touch(node, touch)?;
        self.check()
    }

    fn touch(&mut self, node: &H, touch: Touch) -> Result<(), Lost> {
        if touch == Touch::Nothing {
            return Ok(());
        }
        if !node.is_root() && node.links().is_empty() {
            return Err(Lost::Nameless);
        }
        if self.is_there(node) {
            let (_, dirt) = self.files.entry(node.id()).or_insert_with(|| (node.clone(), Dirt::default()));
            match touch {
                Touch::Data(range) => dirt.data.add(range),
                Touch::Attributes | Touch::Nothing => dirt.attributes = true,
            }
        }
        Ok(())
    }

    /// A name became dirty, if its directory is there; what the target has under a name does not change by that.
    fn soil(&mut self, dir: &H, name: &Name) {
        if !self.is_folded(dir) && self.is_there(dir) {
            let entry = || DirtyName { dir: dir.clone(), there: There::Nothing };
            self.names.entry(slot(dir, name)).or_insert_with(entry);
        }
    }

    /// A node has got a name.
    fn keep(&mut self, node: &H) {
        if node.links().len() > 1 {
            self.linked.insert(node.id(), node.clone());
        }
    }

    /// A directory's names changed, and with them its time.
    fn stamp(&mut self, dir: &H) {
        if self.is_there(dir) {
            self.files.entry(dir.id()).or_insert_with(|| (dir.clone(), Dirt::default())).1.attributes = true;
        }
    }

    /// One more name of a node that has so many now, known or not.
    pub fn linked(&mut self, dir: &H, name: &Name, node: &H, links: u64) -> Result<(), Lost> {
        self.named(dir, name, node)?;
        // The target may have it, under a name that is not known: what changes of it from now on would be forgotten.
        let unknown = node.links().len() < 2 && links > 1 && !self.was.contains_key(&node.id());
        if unknown { Err(Lost::Nameless) } else { Ok(()) }
    }

    /// A new node.
    pub fn named(&mut self, dir: &H, name: &Name, node: &H) -> Result<(), Lost> {
        self.stamp(dir);
        self.soil(dir, name);
        self.keep(node);
        self.check()
    }

    /// A node lost a name, which its links do not contain any more. `last`: it was the last one, known or not.
    pub fn unnamed(&mut self, dir: &H, name: &Name, node: &H, last: bool, directory: bool) -> Result<(), Lost> {
        self.replaced(dir, name, node, last, directory)?;
        self.check()
    }

    /// As [`Held::unnamed`], by a rename to that name, which is told right afterwards. Only then is the bound kept: what moved already stands elsewhere,
    /// and where the target has it is not known yet.
    pub fn replaced(&mut self, dir: &H, name: &Name, node: &H, last: bool, directory: bool) -> Result<(), Lost> {
        self.stamp(dir);
        if self.is_clean(dir, name) {
            self.leave(dir, name, node, last, directory);
        } else if last {
            self.die(node, directory);
        } else if !self.folded.is_empty() && !directory {
            // What changed of it while its names were only such as are not remembered is not remembered either, and by another
            // name, which was not known then, the target may have it.
            if node.links().is_empty() {
                return Err(Lost::Nameless);
            }
            self.touch(node, Touch::Data(0..u64::MAX))?;
        }
        if last {
            self.files.remove(&node.id());
            self.linked.remove(&node.id());
        }
        Ok(())
    }

    /// A name is gone of a node that is not replicated; under a clean one the target may have what it had when it was.
    pub fn forsaken(&mut self, dir: &H, name: &Name) -> Result<(), Lost> {
        self.stamp(dir);
        if self.is_clean(dir, name) {
            let entry = DirtyName { dir: dir.clone(), there: There::Deleted { directory: false } };
            self.names.insert(slot(dir, name), entry);
        }
        self.check()
    }

    /// What the target has under this clean name is not the source's any more.
    fn leave(&mut self, dir: &H, name: &Name, node: &H, last: bool, directory: bool) {
        let elsewhere = node.links().iter().any(|(dir, name)| self.is_clean(dir, name));
        let there = if !last && !elsewhere { There::Moved } else { There::Deleted { directory } };
        if directory || there == There::Moved {
            let was = Was { node: node.clone(), dir: dir.clone(), name: name.clone(), alive: !last };
            if let Some(before) = self.was.insert(node.id(), was) {
                // One name to find it by is enough; the other is one too many.
                let at = slot(&before.dir, &before.name);
                self.at.remove(&at);
                if let Some(entry) = self.names.get_mut(&at) {
                    entry.there = There::Deleted { directory };
                }
            }
            self.at.insert(slot(dir, name), node.id());
        }
        let entry = DirtyName { dir: dir.clone(), there };
        self.names.insert(slot(dir, name), entry);
    }

    /// A node that the target has elsewhere is no more.
    fn die(&mut self, node: &H, directory: bool) {
        let Some(was) = self.was.get_mut(&node.id()) else { return };
        was.alive = false;
        let at = slot(&was.dir, &was.name);
        if let Some(entry) = self.names.get_mut(&at) {
            entry.there = There::Deleted { directory };
        }
        if !directory {
            self.was.remove(&node.id());
            self.at.remove(&at);
        }
    }

    /// A name has moved; the node's links contain the new one already. What stood there was told before by
    /// [`Held::replaced`].
    pub fn moved(&mut self, node: &H, from: (&H, &Name), to: (&H, &Name)) -> Result<(), Lost> {
        let clean = self.is_clean(from.0, from.1);
        self.stamp(from.0);
        self.stamp(to.0);
        self.soil(to.0, to.1);
        self.keep(node);
        if clean {
            self.leave(from.0, from.1, node, false, false);
        }
        self.come_home(node, to);
        self.check()
    }

    /// Two names have changed places.
    pub fn exchanged(&mut self, node: &H, from: (&H, &Name), other: &H, to: (&H, &Name)) -> Result<(), Lost> {
        let clean = [self.is_clean(from.0, from.1), self.is_clean(to.0, to.1)];
        for place in [from, to] {
            self.stamp(place.0);
            self.soil(place.0, place.1);
        }
        self.keep(node);
        self.keep(other);
        for (clean, node, place) in [(clean[0], node, from), (clean[1], other, to)] {
            if clean {
                self.leave(place.0, place.1, node, false, false);
            }
        }
        self.come_home(node, to);
        self.come_home(other, from);
        self.check()
    }

    /// A node that came back to where the target has it is clean there.
    fn come_home(&mut self, node: &H, (dir, name): (&H, &Name)) {
        let here = slot(dir, name);
        if self.at.get(&here) == Some(&node.id()) {
            self.at.remove(&here);
            self.was.remove(&node.id());
            self.names.remove(&here);
        }
    }
}

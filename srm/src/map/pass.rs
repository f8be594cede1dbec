//! What a pass of repair knows: what is right on the target already, what is still to be done, and what touched it
//! meanwhile.
//!
//! A node is *right* from the moment that a record is numbered which makes it exist on the target under one of its names;
//! all later operations on it are sent, because whatever of its content is still to be copied is read later, under its lock,
//! and travels in the same order. What is not right is absorbed, and the pass comes to it. A pass over everything knows the
//! nodes that are right; any other pass knows the names and directories that are not.

use super::held::Dirt;
use super::{Handle, Ranges, Slot, Touch, slot};
use crate::hot::HotSet;
use protocol::Name;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// Something for a pass to do.
#[derive(Clone, Debug)]
pub enum Work<H> {
    /// Compare the names of a directory that is right.
    List(H),
    /// See to one name, whatever is there now on either side.
    Name(H, Name),
    /// Bring the content of a file that is right over.
    Copy(H, Source),
    /// Mend what is dirty of a node that is right.
    Mend(H, Dirt),
}

/// What is known of a file's content on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was just made there: everything is a hole.
    Fresh,
    /// It has content, which may or may not be right.
    Unknown,
}

/// What is known of what the target has under a name that waits for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing is known: the target is asked.
    Ask,
    /// Nothing is there.
    Nothing,
    /// What was deleted on the source, and may serve.
    Deleted,
}

/// What is to be done about a node that lost a name (see [`Pass::bereft`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bereft {
    /// Nothing: the pass comes to it by another name, or it lacks nothing.
    Nothing,
    /// It is right by the names that it has, and is compared in its place.
    Compare,
    /// It has no name that is known: all is to be compared.
    Lost,
}

/// How a name that waits for a look is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// By the hint.
    Hint(Hint),
    /// Anything may be there: the target's own is replaced.
    Anything,
}

/// How far a look at a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    hint: Hint,
    /// The target was asked, and nothing touched the name since.
    untouched: bool,
    /// Times that the target was asked.
    tries: u8,
    /// Of the last look.
    turn: u64,
}

/// What a pass goes over.
#[derive(Debug)]
pub enum Scope {
    /// Everything: inode numbers of the nodes that are right.
    All(HashSet<u64>),
    /// Only some: directories whose names are being compared, by id, with the names in them that are right already. Not the
    /// nodes: of a file with two names in one directory one may be right and the other not.
    Some(HashMap<u64, HashSet<Name>>),
}

/// See the module.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // independent facts, each named where it stands
pub struct Pass<H> {
    /// Tells this pass from others.
    pub number: u64,
    /// The target began empty: it need not be asked.
    pub target_empty: bool,
    /// Compare content, whatever the attributes say.
    pub by_content: bool,
    /// Nodes that changed on the source at or after this time (seconds) are compared by content all the same.
    pub source_clean_secs: i64,
    /// What the target's change times say about its entries does not matter: it has what it acknowledged.
    pub trusts_target: bool,
    /// After a power cut: what is compared by content besides.
    pub hot: Option<HotSet>,
    /// A file is not taken for right because a name of it is that this pass does not go over: its content is compared.
    pub doubts: bool,
    /// Inode numbers of files that were doubted.
    doubted: HashSet<u64>,
    /// Inode numbers of nodes that changed while they were not right, in a pass over some names. By a name that is clean, and was not known then, they may turn
    /// out to be right: but not in what changed.
    absorbed: HashSet<u64>,
    /// Inode numbers of files whose content is compared, whatever attributes and times say.
    suspects: HashSet<u64>,
    scope: Scope,
    /// Names that are right on the target, of right nodes with several links.
    shared: HashMap<u64, Vec<(H, Name)>>,
    /// Names that wait for a look.
    pending: HashMap<Slot, Pending>,
    /// Which node on the source uses an inode with several links on the target.
    claimed: HashMap<u64, u64>,
    /// Nodes that are not right yet and whose content is on its way, and what of it was touched meanwhile.
    staging: HashMap<u64, Ranges>,
    work: Vec<Work<H>>,
    active: usize,
    /// Directories that wait for their listing, or are being listed.
    lists: usize,
    /// Files whose size is in [`super::Progress::total_bytes`].
    weighed: HashSet<u64>,
    /// What could not be read, and when it is tried again.
    later: Vec<(Instant, Work<H>)>,
    /// Files whose names are to stay known.
    kept: Vec<H>,
    /// Directories that were right and have left what is replicated: what lies below counts as right, and the target does not have it.
    pub(super) departed: HashMap<u64, H>,
    /// Right directories of which all that lies below is to be looked at once this pass is over.
    pub(super) below: HashMap<u64, H>,
    /// Looks at names that have begun.
    turns: u64,
}

/// What to do next.
#[derive(Debug)]
pub enum Next<H> {
    /// This.
    Work(Work<H>),
    /// Nothing until something changes, or until then.
    Wait(Option<Instant>),
    /// Everything is done.
    Finished,
}

impl<H: Handle> Pass<H> {
    /// A pass that begins, with nothing to do yet.
    pub fn new(number: u64, scope: Scope) -> Self {
        Self {
            number,
            target_empty: false,
            by_content: false,
            source_clean_secs: i64::MIN,
            trusts_target: false,
            hot: None,
            doubts: false,
            doubted: HashSet::new(),
            absorbed: HashSet::new(),
            suspects: HashSet::new(),
            scope,
            shared: HashMap::new(),
            pending: HashMap::new(),
            claimed: HashMap::new(),
            staging: HashMap::new(),
            work: Vec::new(),
            active: 0,
            lists: 0,
            weighed: HashSet::new(),
            later: Vec::new(),
            kept: Vec::new(),
            departed: HashMap::new(),
            below: HashMap::new(),
            turns: 0,
        }
    }

    /// Files whose names have to stay known while the pass lasts: it tells by their other names whether they are right.
    pub fn keep(&mut self, nodes: Vec<H>) {
        self.kept = nodes;
    }

    /// Whether it goes over everything.
    pub fn is_over_all(&self) -> bool {
        matches!(self.scope, Scope::All(_))
    }

    /// Whether a node exists on the target under one of its names, as far as what is numbered goes.
    pub fn is_right(&self, node: &H) -> bool {
        match &self.scope {
            Scope::All(right) => right.contains(&node.ino()) && self.is_told_of(node),
            Scope::Some(_) => node.is_root() || self.right_link(node).is_some() || node.links().is_empty(),
        }
    }

    /// Whether this name of a node is right on the target.
    pub fn is_right_at(&self, dir: &H, name: &Name, ino: u64) -> bool {
        let is_watched = || self.shared(ino).is_none_or(|names| names.iter().any(|link| is_link(link, dir, name)));
        match &self.scope {
            Scope::All(right) => right.contains(&ino) && is_watched(),
            Scope::Some(listed) => {
                !self.pending.contains_key(&slot(dir, name))
                    && listed.get(&dir.id()).is_none_or(|right| right.contains(name))
                    && self.is_right(dir)
            }
        }
    }

    /// Whether a file that is not right may be sent anew. A pass over some names must not where the file has names that are
    /// not known: under those the target may have it, and this would be another. Then all is to be compared. `links`: names
    /// that it has, known or not.
    pub fn may_send_anew(&self, node: &H, links: u64) -> bool {
        self.is_over_all() || links <= node.links().len() as u64
    }

    /// Whether a file that is right by a name that this pass does not go over is still to be compared: once, and again where it changed while it was not
    /// right.
    pub fn doubt(&mut self, node: &H) -> bool {
        let changed = self.absorbed.remove(&node.ino());
        !self.is_over_all() && (changed | (self.doubts && self.doubted.insert(node.ino())))
    }

    /// What became of a node that changed while it was not right, and has lost a name; `links_left`: those that it has, known or not.
    pub fn bereft(&mut self, node: &H, links_left: u64) -> Bereft {
        if links_left == 0 || !self.absorbed.contains(&node.ino()) {
            return Bereft::Nothing;
        }
        let links = node.links();
        if links.iter().any(|(dir, name)| !self.is_right_at(dir, name, node.ino())) {
            return Bereft::Nothing;
        }
        self.absorbed.remove(&node.ino());
        if links.is_empty() { Bereft::Lost } else { Bereft::Compare }
    }

    /// What this node may lack is known by a name alone that it is losing.
    pub(super) fn set_absorbed(&mut self, ino: u64) {
        self.absorbed.insert(ino);
    }

    /// The content of these files, by inode number, is compared, whatever attributes and times say.
    pub fn suspect(&mut self, inodes: impl IntoIterator<Item = u64>) {
        self.suspects.extend(inodes);
    }

    /// Whether the content of a file is compared, whatever attributes and times say.
    pub fn is_suspect(&self, ino: u64) -> bool {
        self.by_content || self.suspects.contains(&ino)
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Only these names of a right node are right; without any it is not.
    pub(super) fn set_shared(&mut self, ino: u64, names: Vec<(H, Name)>) {
        if names.is_empty() {
            self.set_gone(ino);
        } else {
            self.shared.insert(ino, names);
        }
    }

    /// A name of the node that is right on the target; `None` also where any known one is (a pass over everything, and a
    /// node that has, or had when it became right, one name).
    pub fn right_link(&self, node: &H) -> Option<(H, Name)> {
        let shared = || self.shared(node.ino()).unwrap_or_default();
        match &self.scope {
            Scope::All(_) => shared().iter().find(|link| self.is_held_by(node, link)).cloned(),
            Scope::Some(_) => {
                let right = |link: &(H, Name)| self.is_right_at(&link.0, &link.1, node.ino());
                node.links().into_iter().find(right).or_else(|| shared().iter().find(|link| right(link)).cloned())
            }
        }
    }

    /// A right name other than this one.
    pub fn other_right_link(&self, node: &H, dir: &H, name: &Name) -> Option<(H, Name)> {
        let other = |link: &(H, Name)| !is_link(link, dir, name);
        let shared = || self.shared(node.ino()).unwrap_or_default();
        match &self.scope {
            Scope::All(right) if !right.contains(&node.ino()) => None,
            Scope::All(_) if self.shared(node.ino()).is_some() => {
                shared().iter().find(|link| other(link) && self.is_held_by(node, link)).cloned()
            }
            Scope::All(_) => node.links().into_iter().find(other),
            Scope::Some(_) => {
                let right = |link: &(H, Name)| other(link) && self.is_right_at(&link.0, &link.1, node.ino());
                node.links().into_iter().find(right).or_else(|| shared().iter().find(|link| right(link)).cloned())
            }
        }
    }

    /// A record that makes the node exist under this name is numbered. `several`: it has other names.
    pub fn set_right(&mut self, node: &H, link: Option<(&H, &Name)>, several: bool) {
        if let Some((dir, name)) = link {
            self.pending.remove(&slot(dir, name));
            if several {
                self.add_shared(node.ino(), (dir, name));
            }
        }
        match &mut self.scope {
            Scope::All(right) => {
                right.insert(node.ino());
            }
            Scope::Some(listed) => {
                if let Some((dir, name)) = link
                    && let Some(right) = listed.get_mut(&dir.id())
                {
                    right.insert(name.clone());
                }
            }
        }
    }

    /// The node does not exist on the target any more, or not under a known name.
    pub fn set_gone(&mut self, ino: u64) {
        if let Scope::All(right) = &mut self.scope {
            right.remove(&ino);
        }
        self.shared.remove(&ino);
    }

    /// A directory is right, and its names are still to be compared.
    pub fn set_listing(&mut self, dir: &H) {
        if let Scope::Some(listed) = &mut self.scope {
            listed.entry(dir.id()).or_default();
        }
        self.add(Work::List(dir.clone()));
    }

    /// All names of a directory have been compared, or wait for a look of their own.
    pub fn set_listed(&mut self, dir: &H) {
        if let Scope::Some(listed) = &mut self.scope {
            listed.remove(&dir.id());
        }
    }

    /// A name of a right node with several links is right on the target.
    pub fn add_shared(&mut self, ino: u64, (dir, name): (&H, &Name)) {
        let names = self.shared.entry(ino).or_default();
        if !names.iter().any(|link| is_link(link, dir, name)) {
            names.push((dir.clone(), name.clone()));
        }
    }

    /// A name is gone. `Some(rest)`: the node's names were watched, and so many are left.
    pub fn remove_shared(&mut self, ino: u64, dir: &H, name: &Name) -> Option<usize> {
        let names = self.shared.get_mut(&ino)?;
        names.retain(|link| !is_link(link, dir, name));
        Some(names.len())
    }

    /// Names of a right node with several links that are right; `None`: it has, or had when it became right, one.
    pub fn shared(&self, ino: u64) -> Option<&[(H, Name)]> {
        self.shared.get(&ino).map(Vec::as_slice)
    }

    /// Takes an inode with several links on the target for a node; `false` where another has it. A pass that does not see all
    /// names takes none: one that is clean may be among them.
    pub fn claim(&mut self, target_inode: u64, ino: u64) -> bool {
        self.is_over_all() && *self.claimed.entry(target_inode).or_insert(ino) == ino
    }

    /// Adds something to do.
    pub fn add(&mut self, work: Work<H>) {
        match work {
            Work::Name(dir, name) => self.add_name(&dir, &name, Hint::Ask),
            work => {
                self.lists += usize::from(matches!(work, Work::List(_)));
                self.work.push(work);
            }
        }
    }

    /// A name is to be looked at; one that waits already is looked at once, knowing no more than either.
    pub fn add_name(&mut self, dir: &H, name: &Name, hint: Hint) {
        self.not_right(dir, name);
        let here = slot(dir, name);
        if let Some(pending) = self.pending.get_mut(&here) {
            pending.untouched = false;
            pending.hint = Hint::Ask;
            return;
        }
        self.pending.insert(here, Pending { hint, untouched: true, tries: 0, turn: 0 });
        self.work.push(Work::Name(dir.clone(), name.clone()));
    }

    /// Whether a name waits for a look of its own.
    pub fn is_pending(&self, dir: &H, name: &Name) -> bool {
        self.pending.contains_key(&slot(dir, name))
    }

    /// A look at a name begins; how to take it, and the turn of this look. After the third question nothing is asked any more:
    /// the third try is one that nothing can touch.
    pub fn look(&mut self, dir: &H, name: &Name) -> (Known, u64) {
        self.turns += 1;
        let turn = self.turns;
        let Some(pending) = self.pending.get_mut(&slot(dir, name)) else { return (Known::Hint(Hint::Ask), turn) };
        pending.untouched = true;
        pending.turn = turn;
        pending.tries = pending.tries.saturating_add(1);
        let known = match pending.hint {
            Hint::Ask | Hint::Deleted if pending.tries > 2 => Known::Anything,
            hint => Known::Hint(hint),
        };
        (known, turn)
    }

    /// Whether nothing touched the name since the look of this turn began. A name that was seen to and waits anew was touched.
    pub fn is_untouched(&self, dir: &H, name: &Name, turn: u64) -> bool {
        self.pending.get(&slot(dir, name)).is_some_and(|pending| pending.untouched && pending.turn == turn)
    }

    /// A live operation changed what is under a name on the target.
    pub fn touch_name(&mut self, dir: &H, name: &Name) {
        if let Some(pending) = self.pending.get_mut(&slot(dir, name)) {
            pending.untouched = false;
            pending.hint = Hint::Ask;
        }
    }

    /// A look at a name is over: what happens to it from now on is its own affair.
    pub fn not_pending(&mut self, dir: &H, name: &Name) {
        self.pending.remove(&slot(dir, name));
    }

    /// What was under a name has left it.
    pub(super) fn left(&mut self, dir: &H, name: &Name) {
        self.not_pending(dir, name);
        self.not_right(dir, name);
    }

    fn not_right(&mut self, dir: &H, name: &Name) {
        if let Scope::Some(listed) = &mut self.scope
            && let Some(right) = listed.get_mut(&dir.id())
        {
            right.remove(name);
        }
    }

    /// Content of a node that is not right is on its way from now on; what touches it meanwhile is remembered. `false`: it
    /// is already, under another of its names.
    pub fn stage(&mut self, node: &H) -> bool {
        if self.is_staging(node) {
            return false;
        }
        self.staging.insert(node.ino(), Ranges::default());
        true
    }

    /// Whether its content is on its way.
    pub fn is_staging(&self, node: &H) -> bool {
        self.staging.contains_key(&node.ino())
    }

    /// What was touched since [`Pass::stage`] or the last call.
    pub fn take_touched(&mut self, node: &H) -> Ranges {
        self.staging.get_mut(&node.ino()).map(std::mem::take).unwrap_or_default()
    }

    /// The content is there, or not wanted any more; what was touched last.
    pub fn staged(&mut self, node: &H) -> Ranges {
        self.staging.remove(&node.ino()).unwrap_or_default()
    }

    /// A live operation on a node that is not right.
    pub(super) fn touched(&mut self, node: &H, touch: &Touch) {
        if *touch != Touch::Nothing && !self.is_over_all() {
            self.absorbed.insert(node.ino());
        }
        if let (Some(ranges), Touch::Data(range)) = (self.staging.get_mut(&node.ino()), touch) {
            ranges.add(range.clone());
        }
    }

    /// Takes the next thing to do; each that is taken is given back with [`Pass::finished`] or [`Pass::failed`].
    pub fn next(&mut self, now: Instant) -> Next<H> {
        if self.work.is_empty() {
            let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
            self.later = later;
            self.work = due.into_iter().map(|(_, work)| work).collect();
            self.lists += self.work.iter().filter(|work| matches!(work, Work::List(_))).count();
        }
        match self.work.pop() {
            Some(work) => {
                self.active += 1;
                Next::Work(work)
            }
            None if self.active == 0 && self.later.is_empty() => Next::Finished,
            None => Next::Wait(self.later.iter().map(|(at, _)| *at).min()),
        }
    }

    /// Takes more directories to list, at most so many, that would be next; each is given back as any other work.
    pub fn next_lists(&mut self, most: usize) -> Vec<H> {
        let mut lists = Vec::new();
        while lists.len() < most
            && let Some(Work::List(dir)) = self.work.pop_if(|work| matches!(work, Work::List(_)))
        {
            self.active += 1;
            lists.push(dir);
        }
        lists
    }

    /// Something that was taken is done.
    pub fn finished(&mut self, work: &Work<H>) {
        assert!(self.active > 0, "only what was taken is given back");
        self.active -= 1;
        // A name is no longer pending, or pending anew, by what the look at it did under its locks.
        if let Work::List(dir) = work {
            self.lists -= 1;
            self.set_listed(dir);
        }
    }

    /// Something that was taken could not be done and is tried again.
    pub fn failed(&mut self, work: Work<H>, again: Instant) {
        assert!(self.active > 0, "only what was taken is given back");
        self.active -= 1;
        self.lists -= usize::from(matches!(work, Work::List(_)));
        self.postpone(work, again);
    }

    /// Something that could not be read is left for later.
    pub fn postpone(&mut self, work: Work<H>, again: Instant) {
        if let Work::Name(dir, name) = &work {
            let pending = Pending { hint: Hint::Ask, untouched: true, tries: 0, turn: 0 };
            self.pending.insert(slot(dir, name), pending);
        }
        self.later.push((again, work));
    }

    /// Things known and not done.
    pub fn waiting(&self) -> u64 {
        (self.work.len() + self.active + self.later.len()) as u64
    }

    /// Things that could not be read and are tried again.
    pub fn unreadable(&self) -> u64 {
        self.later.len() as u64
    }

    /// What could not be read and is tried again: a node, or a name in a directory.
    pub fn unreadable_places(&self) -> impl Iterator<Item = (&H, Option<&Name>)> {
        self.later.iter().map(|(_, work)| match work {
            Work::Name(dir, name) => (dir, Some(name)),
            Work::List(node) | Work::Copy(node, _) | Work::Mend(node, _) => (node, None),
        })
    }

    /// Whether directories are still to be listed.
    pub fn is_scanning(&self) -> bool {
        self.lists > 0
    }

    /// Whether the size of a file is to be counted: the first time that its content is found to be wanted.
    pub fn weigh(&mut self, node: &H) -> bool {
        self.weighed.insert(node.ino())
    }

    /// Nothing is left: what was absorbed has been come to.
    pub fn assert_finished(&self) {
        assert!(self.pending.is_empty() && self.staging.is_empty(), "a finished pass left names or content behind");
        if let Scope::Some(listed) = &self.scope {
            assert!(listed.is_empty(), "a finished pass left directories behind");
        }
    }

    /// What it remembers, in entries: bounded by what is known on the source.
    pub fn entries(&self) -> usize {
        let scope = match &self.scope {
            Scope::All(right) => right.len(),
            Scope::Some(listed) => listed.values().map(HashSet::len).sum(),
        };
        scope
            + self.shared.len()
            + self.pending.len()
            + self.claimed.len()
            + self.work.len()
            + self.later.len()
            + self.kept.len()
            + self.departed.len()
            + self.below.len()
            + self.weighed.len()
            + self.doubted.len()
            + self.absorbed.len()
            + self.suspects.len()
    }
}

pub(super) fn is_link<H: Handle>((d, n): &(H, Name), dir: &H, name: &Name) -> bool {
    d.id() == dir.id() && n == name
}

//! Live operations: what the SRM does with each, after the disk has carried it out.

use super::bug::Bug;
use super::node::{H, path_in};
use super::record::{At, Gone, Rec};
use super::source::Source;
use protocol::{Name, RenameKind};
use srm::map::{
    Bereft, Departure, Dirt, Gate, Handle, Held, Lost as Unknown, Pass, Plan, Sides, Source as From, Touch, Work,
};

/// A node that lost a name.
#[derive(Clone)]
pub struct Lost {
    /// The node.
    pub node: H,
    /// Names that it has left, known or not.
    pub links_left: u32,
    /// It is still in use, or has names that are not known.
    pub orphan: bool,
}

/// A rename that was carried out.
pub struct Renamed<'a> {
    /// Old place.
    pub from: (&'a H, &'a Name),
    /// New place.
    pub to: (&'a H, &'a Name),
    /// What moved.
    pub node: &'a H,
    /// What moved the other way.
    pub other: Option<&'a H>,
    /// What was replaced.
    pub replaced: Option<Lost>,
}

/// A node that is right is compared in its place.
fn compare(pass: &mut Pass<H>, node: &H) {
    pass.add(Work::Mend(node.clone(), Dirt { attributes: true, ..Dirt::default() }));
    pass.add(Work::Copy(node.clone(), From::Unknown));
}

impl Lost {
    fn departure(&self) -> Departure {
        let (ino, directory) = (self.node.ino(), self.node.is_dir());
        Departure { ino, links_left: u64::from(self.links_left), orphan: self.orphan, directory }
    }

    fn is_last(&self) -> bool {
        self.links_left == 0
    }
}

impl Source {
    fn open_names(&mut self, dirs: &[&H]) {
        for dir in dirs {
            if matches!(self.gate, Gate::Pass(_)) {
                self.ensure_directories(dir);
            }
        }
    }

    fn settle_orphan(lost: &Lost, kept: bool) {
        if lost.orphan && !kept {
            lost.node.orphan.set(false);
        }
    }

    /// A node was made.
    pub fn created(&mut self, dir: &H, name: &Name, node: &H) {
        self.open_names(&[dir]);
        if matches!(self.gate, Gate::Pass(_) | Gate::Clean)
            && let Some(path) = path_in(dir, name)
        {
            if let Gate::Pass(pass) = &mut self.gate {
                pass.made(dir, name, node);
            }
            let inode = self.disk.at(node.ino());
            let (mode, mtime, directory) = (inode.mode, inode.mtime, inode.is_dir());
            let parent_mtime = self.mtime_of(dir);
            self.push(Rec::Create { path, node: node.id(), directory, mode, mtime, parent_mtime });
        }
        self.tell(|held| held.named(dir, name, node));
        if let Gate::Held(held) = &mut self.gate {
            let result = held.named(dir, name, node);
            self.remembered(result);
        }
    }

    /// A node got one more name.
    pub fn linked(&mut self, dir: &H, name: &Name, node: &H) {
        self.open_names(&[dir]);
        let other = node.other_link(dir, name);
        let links = u64::from(self.nlink(node));
        let from = match &mut self.gate {
            Gate::Due => return,
            Gate::Held(_) => None,
            Gate::Clean => other,
            Gate::Pass(pass) => match pass.linked(dir, name, node, other) {
                Some(from) => Some(from),
                None => return self.touched(dir),
            },
        };
        if matches!(self.gate, Gate::Pass(_) | Gate::Clean) {
            let at = match from.and_then(|(d, n)| path_in(&d, &n)) {
                Some(path) => At::Path(path),
                None if node.orphan.get() => At::Orphan,
                None => return self.nameless(node),
            };
            let parent_mtime = self.mtime_of(dir);
            if let Some(to) = path_in(dir, name) {
                self.push(Rec::Link { node: node.id(), at, to, parent_mtime });
            }
        }
        self.tell(|held| held.linked(dir, name, node, links));
        if let Gate::Held(held) = &mut self.gate {
            let result = held.linked(dir, name, node, links);
            self.remembered(result);
        }
    }

    /// A name is gone.
    pub fn unlinked(&mut self, dir: &H, name: &Name, lost: &Lost) {
        self.open_names(&[dir]);
        let directory = lost.node.is_dir();
        let forgets = !(self.has(Bug::InodeReuse) && lost.is_last());
        let orphan = match &mut self.gate {
            Gate::Pass(pass) if !forgets => {
                pass.not_pending(dir, name);
                false
            }
            Gate::Pass(pass) => pass.lost_name(dir, name, &lost.departure()),
            Gate::Clean => lost.orphan,
            Gate::Due | Gate::Held(_) => false,
        };
        if matches!(self.gate, Gate::Pass(_) | Gate::Clean)
            && let Some(path) = path_in(dir, name)
        {
            let gone = Gone { node: lost.node.id(), orphan };
            let parent_mtime = self.mtime_of(dir);
            self.push(Rec::Unlink { path, gone, directory, parent_mtime });
        }
        Self::settle_orphan(lost, orphan && matches!(self.gate, Gate::Pass(_) | Gate::Clean));
        self.bereaved(&lost.node, lost.links_left);
        self.tell(|held| {
            let _kept = orphan && held.keeps(&lost.node);
            held.unnamed(dir, name, &lost.node, lost.is_last(), directory)
        });
        if let Gate::Held(held) = &mut self.gate {
            let result = held.unnamed(dir, name, &lost.node, lost.is_last(), directory);
            self.remembered(result);
        }
    }

    /// A name has moved, replaced another or changed places with it.
    pub fn renamed(&mut self, rename: &Renamed<'_>) {
        self.open_names(&[rename.from.0, rename.to.0]);
        let bug = self.has(Bug::ForgetRename);
        match &self.gate {
            Gate::Clean => {
                self.send_move(rename, rename.replaced.as_ref().is_some_and(|lost| lost.orphan));
                self.tell(|held| Self::told_move(held, rename, bug));
            }
            Gate::Pass(_) => self.plan_move(rename),
            Gate::Due | Gate::Held(_) => {
                if let Some(lost) = &rename.replaced {
                    Self::settle_orphan(lost, false);
                }
            }
        }
        if matches!(self.gate, Gate::Held(_)) {
            self.hold_move(rename);
        }
    }

    fn hold_move(&mut self, rename: &Renamed<'_>) {
        let bug = self.has(Bug::ForgetRename);
        let Gate::Held(held) = &mut self.gate else { return };
        let result = Self::told_move(held, rename, bug);
        self.remembered(result);
    }

    fn told_move(held: &mut Held<H>, rename: &Renamed<'_>, bug: bool) -> Result<(), Unknown> {
        let mut result = Ok(());
        if let Some(lost) = &rename.replaced {
            let kept = lost.orphan && held.keeps(&lost.node);
            Self::settle_orphan(lost, kept);
            result = held.replaced(rename.to.0, rename.to.1, &lost.node, lost.is_last(), lost.node.is_dir());
        }
        let more = match rename.other {
            Some(other) => held.exchanged(rename.node, rename.from, other, rename.to),
            None if bug => held.named(rename.to.0, rename.to.1, rename.node),
            None => held.moved(rename.node, rename.from, rename.to),
        };
        result.and(more)
    }

    fn mtimes(&self, rename: &Renamed<'_>) -> (u64, u64) {
        (self.mtime_of(rename.from.0), self.mtime_of(rename.to.0))
    }

    /// The record of the rename as it was.
    fn send_move(&mut self, rename: &Renamed<'_>, orphan: bool) {
        let kind = if rename.other.is_some() { RenameKind::Exchange } else { RenameKind::Replace };
        let replaced = rename.replaced.as_ref().map(|lost| Gone { node: lost.node.id(), orphan });
        self.send_rename(rename.from, rename.to, kind, replaced, self.mtimes(rename));
    }

    fn send_rename(
        &mut self,
        from: (&H, &Name),
        to: (&H, &Name),
        kind: RenameKind,
        replaced: Option<Gone>,
        mtimes: (u64, u64),
    ) {
        if let (Some(from), Some(to)) = (path_in(from.0, from.1), path_in(to.0, to.1)) {
            self.push(Rec::Rename { from, to, kind, replaced, mtimes });
        }
    }

    fn plan_move(&mut self, rename: &Renamed<'_>) {
        let Gate::Pass(pass) = &mut self.gate else { return };
        let mut orphan = false;
        if let Some(lost) = &rename.replaced {
            orphan = pass.lost_name(rename.to.0, rename.to.1, &lost.departure());
            Self::settle_orphan(lost, orphan);
        }
        let sides = Sides { from: rename.from, to: rename.to, node: rename.node, other: rename.other };
        let plan = pass.renamed(&sides);
        let mtimes = self.mtimes(rename);
        crate::say!(self, "    plan {plan:?}");
        match plan {
            Plan::Move if rename.other.is_some() => self.send_move(rename, false),
            Plan::Move => {
                self.remove_replaced(rename, orphan);
                self.send_rename(rename.from, rename.to, RenameKind::NoReplace, None, mtimes);
            }
            Plan::MoveOne => self.send_rename(rename.from, rename.to, RenameKind::Replace, None, mtimes),
            Plan::MoveOther => {
                self.send_rename(rename.to, rename.from, RenameKind::Replace, None, (mtimes.1, mtimes.0));
            }
            Plan::LinkAndUnlink(clean) => {
                self.link_and_unlink(rename, orphan, &clean);
                self.owe(rename.node);
            }
            Plan::Nothing => {
                self.touched(rename.from.0);
                self.touched(rename.to.0);
            }
        }
        if let Some(lost) = &rename.replaced {
            self.bereaved(&lost.node, lost.links_left);
        }
    }

    /// A node that is right may lack what changed while it was not.
    fn owe(&mut self, node: &H) {
        if let Some(pass) = self.passing()
            && pass.doubt(node)
        {
            compare(pass, node);
        }
    }

    /// A node has lost a name, and may lack something that only that name was known by.
    fn bereaved(&mut self, node: &H, links_left: u32) {
        let Some(pass) = self.passing().filter(|_| !node.is_dir()) else { return };
        match pass.bereft(node, u64::from(links_left)) {
            Bereft::Nothing => {}
            Bereft::Compare => compare(pass, node),
            Bereft::Lost => self.all_dirty("a node that changed lost its last known name"),
        }
    }

    /// A directory's time changed, by names that are looked at later.
    fn touched(&mut self, dir: &H) {
        if let Some(path) = dir.path() {
            let mtime = Some(self.mtime_of(dir));
            self.push(Rec::SetAttr { node: dir.id(), at: At::Path(path), size: None, mode: None, mtime });
        }
    }

    fn remove_replaced(&mut self, rename: &Renamed<'_>, orphan: bool) {
        if let (Some(lost), Some(path)) = (&rename.replaced, path_in(rename.to.0, rename.to.1)) {
            let gone = Gone { node: lost.node.id(), orphan };
            let parent_mtime = self.mtime_of(rename.to.0);
            self.push(Rec::Unlink { path, gone, directory: lost.node.is_dir(), parent_mtime });
        }
    }

    fn link_and_unlink(&mut self, rename: &Renamed<'_>, orphan: bool, clean: &(H, Name)) {
        let (from, to) = (path_in(rename.from.0, rename.from.1), path_in(rename.to.0, rename.to.1));
        let (Some(from), Some(to), Some(path)) = (from, to, path_in(&clean.0, &clean.1)) else { return };
        let (from_mtime, to_mtime) = self.mtimes(rename);
        self.remove_replaced(rename, orphan);
        let node = rename.node.id();
        self.push(Rec::Link { node, at: At::Path(path), to, parent_mtime: to_mtime });
        let gone = Gone { node: self.tree.fresh_id(), orphan: false };
        self.push(Rec::Unlink { path: from, gone, directory: false, parent_mtime: from_mtime });
    }

    /// An operation on data or attributes of one node.
    pub fn on_node(&mut self, node: &H, touch: Touch, make: impl FnOnce(At) -> Rec) {
        // What has no name, will never have one again and is not kept by the target is nothing to the replica.
        if self.nlink(node) == 0 && !node.has_name() && !node.orphan.get() {
            return;
        }
        if matches!(self.gate, Gate::Clean | Gate::Pass(_)) && self.gate.sends(node) {
            match self.place(node) {
                Some(at) => {
                    self.push(make(at));
                }
                None => return self.nameless(node),
            }
            if !matches!(self.gate, Gate::Held(_)) {
                let nameless = self.nlink(node) == 0;
                let forgets = self.has(Bug::ForgetQueued) && matches!(touch, Touch::Data(_));
                let touch = if forgets { Touch::Nothing } else { touch };
                self.tell(|held| held.queued_touch(node, touch, nameless));
                return;
            }
        }
        if self.has(Bug::ForgetAbsorbed) && matches!(self.gate, Gate::Held(_)) && matches!(touch, Touch::Data(_)) {
            return;
        }
        // What has no name and never gets one again is not seen on the target, whatever it has.
        if self.nlink(node) == 0 {
            return;
        }
        let result = self.gate.absorb(node, touch);
        self.remembered(result);
    }

    /// A node that has names which are not known has changed.
    fn nameless(&mut self, node: &H) {
        if self.nlink(node) > 0 && !matches!(self.gate, Gate::Due) {
            let all = matches!(&self.gate, Gate::Pass(pass) if pass.is_over_all());
            if !all {
                self.all_dirty("a node without a known name has changed");
            }
        }
    }

    /// The target need not keep this orphan any more.
    pub fn reap(&mut self, node: &H) {
        if !node.orphan.get() {
            return;
        }
        node.orphan.set(false);
        if let Gate::Pass(pass) = &mut self.gate
            && !node.has_name()
            && pass.shared(node.ino()).is_none_or(<[_]>::is_empty)
        {
            pass.set_gone(node.ino());
        }
        if matches!(self.gate, Gate::Pass(_) | Gate::Clean) {
            self.push(Rec::Reap { node: node.id() });
            self.tell(|held| {
                held.queued_reap(node);
                Ok(())
            });
        }
    }

    /// An orphan that has a name again is one no longer.
    pub fn adopt(&mut self, node: &H) {
        if node.orphan.get() && node.has_name() {
            self.reap(node);
        }
    }
}

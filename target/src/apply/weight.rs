//! What a record may take of the disk, before it is carried out, and what it has taken, afterwards: by what the nodes concerned take (`crate::quota`).

use super::node::{open_name, stat_name};
use super::{Applier, Fault};
use crate::quota::{Quota, bytes_of};
use platform::sys::{attr, dir, extent};
use protocol::{AllocateMode, Content, Mark, NodeId, NodeKind, Op, Place, RelPath};
use std::collections::HashSet;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Ranges that are longer are not looked through for what they have.
const LOOK_BYTES: u64 = 64 << 20;

/// The nodes that a record concerns, with what they took before.
pub(super) struct Weight {
    nodes: Vec<(Arc<OwnedFd>, i64)>,
    inodes: HashSet<u64>,
    paths: Vec<RelPath>,
    /// What is in the directories for files without a name.
    nameless: Option<(i64, i64)>,
}

impl Applier {
    /// Whether a record may take what it needs.
    pub(super) fn admit(&mut self, op: &Op, payload: u64) -> Result<(), Fault> {
        let (bytes, files) = self.needs(op, payload);
        let Err(fault) = self.home.quota.admit(bytes, files) else { return Ok(()) };
        // It may have most of that already.
        if files == 0
            && let Some((place, range)) = written(op, payload)
            && range.end - range.start <= LOOK_BYTES
            && let Ok(fd) = self.file(&place)
            && let Ok(missing) = missing(fd.as_fd(), &range)
        {
            return self.home.quota.admit(missing, 0);
        }
        self.home.count_again(true);
        Err(fault)
    }

    /// Bytes and inodes that a record takes at most.
    fn needs(&mut self, op: &Op, payload: u64) -> (u64, u64) {
        match op {
            Op::Write { .. } | Op::CopyRange { .. } => {
                (written(op, payload).map_or(0, |(_, range)| Quota::room_for(range.start, range.end - range.start)), 0)
            }
            Op::Allocate { mode: AllocateMode::Punch, .. } => (0, 0),
            Op::Allocate { offset, len, .. } => (Quota::room_for(*offset, *len), 0),
            // What fits the inode takes nothing.
            Op::SetXattr { .. } => (if payload > 64 { payload } else { 0 }, 0),
            Op::Create { kind, .. } => match kind {
                NodeKind::Directory => (Quota::room_for(0, 1), 1),
                // A short one fits the inode.
                NodeKind::Symlink(to) if to.len() >= 60 => (Quota::room_for(0, 1), 1),
                _ => (0, 1),
            },
            Op::Ensure(wanted) => {
                let there = self
                    .parent(&wanted.path)
                    .ok()
                    .and_then(|(dir, name)| stat_name(&dir, name.as_bytes()).ok().flatten());
                let has = there.map_or(0, |stat| u64::try_from(bytes_of(&stat)).unwrap_or(0));
                let content =
                    if wanted.content == Content::Whole { Quota::room_for(0, payload).saturating_sub(has) } else { 0 };
                let staged = matches!(wanted.content, Content::Staged(_));
                (
                    if payload == 0 { 0 } else { content },
                    u64::from((there.is_none() || wanted.fresh) && !staged && !wanted.path.is_root()),
                )
            }
            _ => (0, 0),
        }
    }

    /// What a record concerns, as it is now.
    pub(super) fn weigh(&mut self, op: &Op) -> Weight {
        let mut weight = Weight { nodes: Vec::new(), inodes: HashSet::new(), paths: Vec::new(), nameless: None };
        match op {
            Op::Create { path, .. } | Op::SetAside { path, .. } | Op::Remove { path, .. } => {
                weight.paths.push(path.clone());
            }
            Op::Unlink { path, gone, .. } => {
                weight.paths.push(path.clone());
                self.weigh_orphan(&mut weight, gone.node);
            }
            Op::Link { to, .. } => weight.paths.push(to.clone()),
            Op::Rename { from, to, replaced, .. } => {
                weight.paths.extend([from.clone(), to.clone()]);
                if let Some(gone) = replaced {
                    self.weigh_orphan(&mut weight, gone.node);
                }
            }
            Op::Ensure(wanted) => {
                weight.paths.push(wanted.path.clone());
                if let Content::Staged(stage) = wanted.content
                    && let Ok(fd) = self.home.stages.get(stage)
                {
                    weight.put(fd);
                }
            }
            Op::Reap { node } => self.weigh_orphan(&mut weight, *node),
            Op::Mark(Mark::Coherent | Mark::Restarted) => weight.nameless = self.nameless(),
            _ => {
                if let Some(fd) = op.place().and_then(|place| self.node(place).ok()) {
                    weight.put(fd);
                }
            }
        }
        for path in weight.paths.clone() {
            if path.is_root() {
                self.home.tree.try_clone().map(|tree| weight.put(Arc::new(tree))).ok();
                continue;
            }
            let Ok((dir, name)) = self.parent(&path) else { continue };
            weight.put(dir.clone());
            if let Ok(node) = open_name(&dir, name.as_bytes()) {
                weight.put(Arc::new(node));
            }
        }
        weight
    }

    fn weigh_orphan(&self, weight: &mut Weight, node: NodeId) {
        if let Ok(fd) = open_name(&self.home.orphans, super::node::orphan_name(node).as_bytes()) {
            weight.put(Arc::new(fd));
        }
    }

    /// What is orphaned or staged.
    fn nameless(&self) -> Option<(i64, i64)> {
        let mut sum = (0, 0);
        for place in ["orphan", "stage"] {
            let path = RelPath::new(place.as_bytes()).ok()?;
            let fd =
                platform::sys::resolve::open_beneath(self.home.meta.as_fd(), &path, rustix::fs::OFlags::RDONLY).ok()?;
            for name in dir::names(fd.as_fd()).ok()? {
                let Ok(stat) = attr::stat_at(&fd, name.as_os_str()) else { continue };
                if stat.st_nlink == 1 {
                    sum = (sum.0 + bytes_of(&stat), sum.1 + 1);
                }
            }
        }
        Some(sum)
    }

    /// Counts what has changed.
    pub(super) fn count(&mut self, op: &Op, weight: &Weight) {
        let (mut bytes, mut files) = (0, 0);
        for (fd, before) in &weight.nodes {
            let Ok(stat) = attr::stat(fd) else { continue };
            // Without a name it goes when it is closed.
            let gone = stat.st_nlink == 0;
            bytes += if gone { -before } else { bytes_of(&stat) - before };
            files -= i64::from(gone);
        }
        let mut new: HashSet<u64> = HashSet::new();
        for path in &weight.paths {
            if path.is_root() {
                continue;
            }
            let Ok((dir, name)) = self.parent(path) else { continue };
            if let Ok(Some(stat)) = stat_name(&dir, name.as_bytes())
                && !weight.inodes.contains(&stat.st_ino)
                && !(matches!(op, Op::Link { .. }) && stat.st_nlink > 1)
                && new.insert(stat.st_ino)
            {
                bytes += bytes_of(&stat);
                files += 1;
            }
        }
        if let (Some(before), Some(now)) =
            (weight.nameless, if weight.nameless.is_some() { self.nameless() } else { None })
        {
            bytes += now.0 - before.0;
            files += now.1 - before.1;
            self.home.quota.stages_cleared();
        }
        let quota = &self.home.quota;
        if let Op::Ensure(wanted) = op
            && let Content::Staged(stage) = wanted.content
        {
            quota.stage_placed(stage);
        }
        quota.add(bytes, files);
        quota.undo(self.home.undo.size());
        if matches!(op, Op::Remove { .. }) {
            quota.unsure();
        }
    }
}

impl Weight {
    fn put(&mut self, fd: Arc<OwnedFd>) {
        if let Ok(stat) = attr::stat(&fd)
            && stat.st_nlink > 0
            && self.inodes.insert(stat.st_ino)
        {
            self.nodes.push((fd, bytes_of(&stat)));
        }
    }
}

/// Where a record puts data.
fn written(op: &Op, payload: u64) -> Option<(Place, Range<u64>)> {
    let range = |offset: u64, len: u64| offset..offset.saturating_add(len);
    match op {
        Op::Write { place, offset, .. } => Some((place.clone(), range(*offset, payload))),
        Op::CopyRange { to, to_offset, len, .. } => Some((to.clone(), range(*to_offset, *len))),
        Op::Allocate { place, offset, len, .. } => Some((place.clone(), range(*offset, *len))),
        _ => None,
    }
}

/// What a range of a file takes that it does not have yet.
fn missing(fd: BorrowedFd<'_>, range: &Range<u64>) -> Result<u64, Fault> {
    let size = u64::try_from(attr::stat(fd)?.st_size).unwrap_or(0).next_multiple_of(4096);
    let within = range.end.min(size).saturating_sub(range.start);
    let mut missing =
        if range.end > size { Quota::room_for(range.start.max(size), range.end - range.start.max(size)) } else { 0 };
    if within > 0 {
        for hole in extent::segments(fd, range.start, within)?.iter().filter(|segment| segment.hole) {
            missing += Quota::room_for(hole.offset, hole.len);
        }
    }
    Ok(missing)
}

//! Records of repair, made from what a node is now: read under its lock, or with the namespace lock held exclusive.

use crate::Srm;
use crate::core::Core;
use crate::map::Gate;
use bytes::Bytes;
use platform::sys::attr;
use platform::tree::{Names, Node, Snapshot};
use protocol::{Content, Draft, Ensure, Name, Op, RelPath, Time};
use std::io;
use std::sync::Arc;

/// Modification time of a directory now. The caller holds the namespace lock exclusive, or the directory's until the record with it is numbered: an
/// application may set it.
pub(crate) fn mtime_of(srm: &Srm, names: &Names, dir: &Node) -> io::Result<Time> {
    Ok(attr::mtime(&attr::stat(&*srm.tree.directory(names, dir)?)?))
}

/// What an [`Ensure`] says beyond the node's own state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub fresh: bool,
    pub content: Content,
    pub parent_mtime: Option<Time>,
}

/// The record that makes a node exist on the target as it is on the source.
pub(crate) fn ensure(node: &Node, path: RelPath, snapshot: Snapshot, how: How) -> Op {
    let stat = &snapshot.stat;
    let size = if node.kind() == rustix::fs::FileType::RegularFile { stat.st_size.cast_unsigned() } else { 0 };
    let xattrs = snapshot.xattrs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Op::Ensure(Box::new(Ensure {
        path,
        node: node.id(),
        kind: snapshot.kind,
        fresh: how.fresh,
        attrs: attr::attrs(stat),
        atime: attr::atime(stat),
        size,
        content: how.content,
        xattrs,
        parent_mtime: how.parent_mtime,
    }))
}

impl Srm {
    /// Makes a directory and all above it exist on the target, where they are not right yet, and puts their names on the
    /// work list. The caller holds the namespace lock exclusive and a pass runs.
    pub(crate) fn ensure_directories(&self, names: &mut Names, dir: &Arc<Node>) -> io::Result<()> {
        let mut chain = dir.ancestors(names);
        chain.reverse();
        chain.push(Arc::clone(dir));
        for node in &chain {
            if !self.core.lock().gate.sends(node) {
                self.ensure_directory(names, node)?;
            }
        }
        Ok(())
    }

    /// Makes a directory exist on the target, whose parent does, and puts its names on the work list.
    pub(crate) fn ensure_directory(&self, names: &Names, node: &Arc<Node>) -> io::Result<()> {
        let Some(path) = node.path(names) else { return Ok(()) };
        let snapshot = self.tree.snapshot(names, node)?;
        let link = node.link();
        let parent_mtime = link.as_ref().map(|(parent, _)| mtime_of(self, names, parent)).transpose()?;
        let how = How { fresh: false, content: Content::Keep, parent_mtime };
        let draft = Draft::new(&ensure(node, path, snapshot, how), Bytes::new());
        let mut core = self.core.lock();
        self.send_directory(&mut core, node, link.as_ref(), draft);
        Ok(())
    }

    /// Queues the record of a directory and puts its names on the work list. `link`: its name; SRC itself has none.
    pub(crate) fn send_directory(
        &self,
        core: &mut Core,
        node: &Arc<Node>,
        link: Option<&(Arc<Node>, Name)>,
        draft: Draft,
    ) {
        if !matches!(core.gate, Gate::Pass(_)) {
            return;
        }
        let _no_reply_waits = self.queue(core, draft, 0);
        if let Gate::Pass(pass) = &mut core.gate {
            pass.set_right(node, link.map(|(dir, name)| (dir, name)), false);
            pass.set_listing(node);
            core.progress.repaired += 1;
        }
        self.changed.notify_all();
    }
}

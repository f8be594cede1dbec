//! Mending what is dirty of a node that is right: its attributes, and ranges of its data as they are now.

use super::{Stop, is_gone, unreadable};
use crate::Srm;
use crate::ensure::{How, ensure, mtime_of};
use crate::map::Dirt;
use bytes::Bytes;
use platform::tree::Node;
use protocol::{At, CHUNK_BYTES, Content, Draft};
use rustix::fs::FileType;
use std::sync::Arc;

impl Srm {
    /// Sends attributes, then the ranges, then size and times.
    pub(super) fn mend_node(&self, number: u64, node: &Arc<Node>, dirt: &Dirt) -> Result<(), Stop> {
        if !self.mend_attributes(number, node)? || dirt.data.is_empty() || node.kind() != FileType::RegularFile {
            return Ok(());
        }
        let Some(fd) = self.open_to_copy(node)? else { return Ok(()) };
        for range in dirt.data.iter() {
            let mut at = range.start;
            // To the end, wherever that is by now.
            while at < range.end {
                let len = CHUNK_BYTES.min(range.end - at);
                if !self.send_range(number, node, &fd, at..at + len)? {
                    break;
                }
                at += len;
            }
        }
        self.complete(number, node, &fd)
    }

    /// A file that was to get something has lost the only name that was known of it, and has others, under which the target may have it: nobody can say where, and all is
    /// compared. Without handles a file without a name cannot be told from one that is gone.
    pub(super) fn see_to_names(&self, number: u64, node: &Arc<Node>) {
        let names = self.tree.names().read();
        let _still = node.lock.lock();
        if node.is_root() || node.is_dir() || node.has_name() && self.is_taken(node) {
            return;
        }
        let lives = match self.tree.stat(&names, node) {
            // Where it has only such names as are left out: others.
            Ok(stat) => stat.st_nlink > node.all_links().len() as u64,
            Err(_) => !self.tree.opens_by_handle(),
        };
        let over_some = self.core.lock().gate.pass(number).is_some_and(|pass| !pass.is_over_all());
        if lives && over_some {
            let _nobody_waits = self.nameless(node, 0);
        }
    }

    /// `false`: the node is gone, or not right any more; then its names are looked at.
    fn mend_attributes(&self, number: u64, node: &Arc<Node>) -> Result<bool, Stop> {
        self.wait_for_room(number)?;
        let names = self.tree.names().read();
        let _still = node.lock.lock();
        if !self.is_taken(node) {
            return Ok(false);
        }
        let link = {
            let mut core = self.core.lock();
            let pass = core.gate.pass(number).ok_or(Stop::Over)?;
            if !pass.is_right(node) {
                return Ok(false);
            }
            pass.right_link(node)
        };
        let Some(place) = crate::live::place_by(&names, node, link.as_ref()) else { return Ok(false) };
        let At::Path(path) = place.at else { return Ok(false) };
        let parent = link.or_else(|| node.link()).map(|(parent, _)| parent);
        let _its_time = parent.as_ref().map(|parent| parent.lock.lock());
        let parent_mtime = parent.as_ref().map(|parent| mtime_of(self, &names, parent)).transpose();
        match self.tree.snapshot(&names, node).and_then(|snapshot| Ok((snapshot, parent_mtime?))) {
            Ok((snapshot, parent_mtime)) => {
                let how = How { fresh: false, content: Content::Keep, parent_mtime };
                self.push(number, Draft::new(&ensure(node, path, snapshot, how), Bytes::new()))?;
                self.core.lock().progress.repaired += 1;
                Ok(true)
            }
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(unreadable(node, &names, error)),
        }
    }
}

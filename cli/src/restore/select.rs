//! What is to be restored: all of the replica, or some paths of it with the directories that lead to them.

use super::directory::Directory;
use super::engine::{Engine, Job};
use super::fault::Fault;
use super::tally::What;
use crate::exit::{Code, Failure};
use protocol::{Entry, NodeKind, RelPath};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Directories that lead to what was selected.
type Leading = BTreeMap<RelPath, Arc<Directory>>;

impl Engine {
    /// Queues the first work for these paths, none of which lies below another.
    pub fn select(&self, paths: &[RelPath]) {
        let mut leading = Leading::new();
        // All are looked up before anything is made.
        let found: Result<Vec<Entry>, Fault> = paths.iter().map(|path| self.remote_entry(path)).collect();
        let found = found.unwrap_or_else(|fault| {
            self.failed(&RelPath::root(), fault);
            Vec::new()
        });
        for (path, entry) in paths.iter().zip(found) {
            let queued = match path.split_last() {
                None => self.whole(entry),
                Some((above, _)) => self.part(&above, entry, &mut leading),
            };
            if let Err(fault) = queued {
                self.failed(path, fault);
            }
        }
        // The deepest first: each holds the one above.
        while let Some((_, dir)) = leading.pop_last() {
            self.leave(dir);
        }
    }

    fn whole(&self, entry: Entry) -> Result<(), Fault> {
        if entry.kind != NodeKind::Directory {
            return Err(Fault::nonsense("a replica that is no directory"));
        }
        let dir = Arc::new(self.top(Some(entry))?);
        let listed = self.list(&dir);
        self.leave(dir);
        listed
    }

    fn part(&self, above: &RelPath, entry: Entry, leading: &mut Leading) -> Result<(), Fault> {
        let parent = self.lead(above, leading)?;
        if entry.kind != NodeKind::Directory {
            self.tally.files[1].fetch_add(1, Ordering::Relaxed);
            self.tally.bytes[1].fetch_add(entry.size, Ordering::Relaxed);
        }
        self.queue.push([Job::Entry { parent, entry }]);
        Ok(())
    }

    /// The directory at a path, made as the replica has it where it is missing and left as it is where it is not.
    fn lead(&self, path: &RelPath, leading: &mut Leading) -> Result<Arc<Directory>, Fault> {
        if let Some(dir) = leading.get(path) {
            return Ok(Arc::clone(dir));
        }
        let dir = match path.split_last() {
            None => Arc::new(self.top(None)?),
            Some((above, _)) => {
                let entry = self.remote_entry(path)?;
                if entry.kind != NodeKind::Directory {
                    return Err(Fault::Node(format!("{path} is no directory on the target")));
                }
                let above = self.lead(&above, leading)?;
                let (mut dir, made) = self.enter(&above, &entry)?;
                dir.settle = dir.settle.take().filter(|_| made);
                Arc::new(dir)
            }
        };
        leading.insert(path.clone(), Arc::clone(&dir));
        Ok(dir)
    }

    /// DIR. `settle`: what it becomes in the end.
    fn top(&self, settle: Option<Entry>) -> Result<Directory, Fault> {
        let path = RelPath::root();
        let fd = self.root.as_ref().map(OwnedFd::try_clone).transpose()?;
        if let (Some(fd), Some(entry)) = (&fd, &settle)
            && self.differs(fd.as_fd(), entry)?
        {
            self.tally.note(What::Attributes, &path, None);
        }
        Ok(Directory { path, fd, settle, parent: None })
    }

    fn remote_entry(&self, path: &RelPath) -> Result<Entry, Fault> {
        self.remote.stat(path)?.ok_or_else(|| {
            let text = format!("there is no '{path}' in the replica; nothing was restored");
            Fault::Fatal(Failure::new(Code::NoReplica, text))
        })
    }
}

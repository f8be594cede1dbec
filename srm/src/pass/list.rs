//! Comparing the names of a directory that is right, page by page.

use super::{AGAIN_AFTER, Stop, is_gone, unreadable};
use crate::Srm;
use crate::map::Work;
use platform::tree::Node;
use protocol::{Entry, Name};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl Srm {
    /// Compares the names of a directory.
    pub(super) fn list(&self, number: u64, dir: &Arc<Node>) -> Result<(), Stop> {
        let mut mine = {
            let names = self.tree.names().read();
            match self.tree.list(&names, dir) {
                Ok(list) => list.into_iter().peekable(),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(unreadable(dir, &names, error)),
            }
        };
        let mut after: Option<Name> = None;
        loop {
            let Some(page) = self.page(number, dir, after.as_ref())? else { return Ok(()) };
            let bound = if page.complete { None } else { page.entries.last().map(|entry| entry.name.clone()) };
            let mut both: BTreeMap<Name, Option<&Entry>> =
                page.entries.iter().map(|entry| (entry.name.clone(), Some(entry))).collect();
            while let Some(name) = mine.next_if(|name| bound.as_ref().is_none_or(|bound| name <= bound)) {
                both.entry(name).or_insert(None);
            }
            for (name, entry) in &both {
                match self.look_listed(number, dir, name, *entry) {
                    Err(Stop::Unreadable(path, error)) => self.postpone(number, dir, name, &path, &error)?,
                    result => result?,
                }
            }
            match bound {
                Some(bound) => after = Some(bound),
                None => break,
            }
        }
        self.core.lock().progress.directories += 1;
        Ok(())
    }

    /// One name that cannot be read does not hold up the others.
    fn postpone(&self, number: u64, dir: &Arc<Node>, name: &Name, path: &str, error: &io::Error) -> Result<(), Stop> {
        tracing::warn!(event = "unreadable", path, %error, "cannot be mirrored, is tried again");
        let mut core = self.core.lock();
        let again = Instant::now() + AGAIN_AFTER;
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        pass.postpone(Work::Name(Arc::clone(dir), name.clone()), again);
        core.last_error = Some(format!("cannot mirror {path}: {error}; tried again every 30 s"));
        Ok(())
    }
}

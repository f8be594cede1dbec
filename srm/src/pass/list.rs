//! Comparing the names of directories that are right, page by page. Several directories are asked about at once: most are small,
//! and the way to the target and back would take longer than the comparison.

use super::ask::Asked;
use super::{AGAIN_AFTER, Stop, is_gone, unreadable};
use crate::Srm;
use crate::map::Work;
use platform::machine;
use platform::tree::Node;
use protocol::{Entry, Name};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Directories that one thread asks about at once.
pub(super) const TOGETHER: usize = 16;

impl Srm {
    /// Asks about the first names of these directories, which are then to be listed.
    pub(super) fn ask_first(&self, number: u64, dirs: &[Arc<Node>]) -> Result<Vec<Asked>, Stop> {
        dirs.iter().map(|dir| self.ask_page(number, dir, None)).collect()
    }

    /// Compares the names of a directory; the first of them were asked for.
    pub(super) fn list(&self, number: u64, dir: &Arc<Node>, first: Asked) -> Result<(), Stop> {
        let mut mine = {
            let names = self.tree.names().read();
            match self.tree.list(&names, dir) {
                Ok(list) => list.into_iter().peekable(),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(unreadable(dir, &names, error)),
            }
        };
        let mut asked = first;
        loop {
            let Some(page) = self.page(number, dir, asked)? else { return Ok(()) };
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
                Some(bound) => asked = self.ask_page(number, dir, Some(bound))?,
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
        let again = machine::now() + AGAIN_AFTER;
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        pass.postpone(Work::Name(Arc::clone(dir), name.clone()), again);
        core.last_error = Some(format!("cannot mirror {path}: {error}; tried again every 30 s"));
        Ok(())
    }
}

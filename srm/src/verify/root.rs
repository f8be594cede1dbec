//! What SRC is itself, which no name in a directory tells of: owner, permissions, time, extended attributes.

use super::ask::Asked;
use super::judge::{self, Mine};
use super::run::{Ended, Found, Run};
use protocol::{Name, Op, RelPath};
use std::io;

impl Run {
    /// Compares SRC with the replica's root, as both are at one moment.
    pub(super) fn root(&mut self) -> Result<Option<Found>, Ended> {
        // What is under it does not matter: the answer tells of the root as well.
        let Ok(name) = Name::new(b"-") else { return Ok(None) };
        loop {
            self.wait_ready()?;
            let (mine, asked) = match self.root_moment(&name) {
                Ok((mine, Some(asked))) => (mine, asked),
                Ok((_, None)) => continue,
                Err(error) => return Ok(Some(Found::unreadable(RelPath::root(), &error))),
            };
            let Some(answers) = self.answers(&asked)? else { continue };
            let Some(page) = self.page_of(answers.into_iter().next()) else { continue };
            // A target of before this was told says nothing of it.
            let found = page.own.and_then(|own| judge::attributes(&mine, &own.attrs, own.xattrs));
            return Ok(found.map(|found| Found::of(RelPath::root(), found)));
        }
    }

    fn root_moment(&self, name: &Name) -> io::Result<(Mine, Option<Asked>)> {
        let names = self.srm.tree.names().read();
        let root = self.srm.tree.root();
        let _still = root.lock.lock();
        let mine = Mine::of(&self.srm.tree.snapshot(&names, root)?);
        Ok((mine, self.srm.verify_ask(&[Op::Look { path: RelPath::root(), name: name.clone(), hash: false }])))
    }
}

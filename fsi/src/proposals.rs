//! What every operation that changes something does before and after its system call: in commit mode `remote` it is proposed,
//! what of it stands with the operation.

use crate::fs::{Done, Failed, Fs};
use crate::removed::Patience;
use platform::tree::{Names, Node};
use protocol::{Op, Place};
use rustix::io::Errno;
use srm::{BEGIN_ANEW, Proposed, Ticket};
use std::io;
use std::sync::Arc;

impl Fs {
    /// Runs an operation that changes something, once the target can be asked if it is to be; one that finds under its locks
    /// that it cannot is begun anew, as is one without room that changed nothing, once something removed was let go.
    pub(crate) fn changing<T>(
        &self,
        mut operation: impl FnMut() -> Result<Done<T>, Failed>,
    ) -> Result<Done<T>, Failed> {
        let mut patience = Patience::default();
        loop {
            self.srm.wait_until_proposable()?;
            let seen = self.removed.count();
            match operation() {
                Err(failed) if Errno::from_io_error(&failed.error) == Some(BEGIN_ANEW) => {}
                Err(Failed { error, ticket: Ticket::NONE })
                    if patience.found_room(&error, &self.removed, &self.files, seen) => {}
                outcome => return outcome,
            }
        }
    }

    /// Proposes an operation on a node, as [`Fs::record`] describes it afterwards. The caller holds the node's lock.
    pub(crate) fn propose(
        &self,
        names: &Names,
        node: &Arc<Node>,
        data: &[u8],
        make: impl FnOnce(Place) -> Op,
    ) -> io::Result<Option<Proposed>> {
        if !self.srm.proposes() || self.is_forgotten(names, node)? {
            return Ok(None);
        }
        Ok(self.srm.propose_node(names, node, data, make)?)
    }

    /// Whether it has no name, will never have one again and is not kept by the target.
    fn is_forgotten(&self, names: &Names, node: &Arc<Node>) -> io::Result<bool> {
        Ok(!node.has_name() && !node.is_orphan() && (node.is_dir() || self.stat(names, node)?.st_nlink == 0))
    }

    /// What became here of an operation that the target may have carried out: where it failed, the target is to have what the source has. Otherwise the
    /// proposal is to be kept until the operation is described.
    pub(crate) fn decided<T>(
        &self,
        names: &Names,
        proposed: Option<Proposed>,
        result: io::Result<T>,
    ) -> io::Result<(T, Option<Proposed>)> {
        match result {
            Ok(value) => Ok((value, proposed)),
            Err(error) => {
                self.srm.put_back(names, proposed);
                Err(error)
            }
        }
    }
}

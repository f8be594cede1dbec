//! Mending what was found: a pass by content over just these names (I7: what only the target has is set aside there), and an
//! exact look at each of them afterwards.

use super::run::{Ended, Run, Suspect};
use crate::pass::Again;

/// Names that are mended together.
pub(super) const BATCH: usize = 128;

/// Passes over a name before it is left as it is.
const TRIES: usize = 3;

impl Run {
    /// Mends what waits for it, and waits until that is done.
    pub(super) fn mend(&mut self) -> Result<(), Ended> {
        let mut suspects = std::mem::take(&mut self.suspects);
        for _ in 0..TRIES {
            if suspects.is_empty() {
                break;
            }
            self.mend_once(&suspects)?;
            let mut left = Vec::new();
            for suspect in suspects {
                if self.still_differs(&suspect)? {
                    left.push(suspect);
                    continue;
                }
                self.note(|status| {
                    status.mended += 1;
                    if let Some(finding) = suspect.index.and_then(|index| status.findings.get_mut(index)) {
                        finding.mended = true;
                    }
                });
            }
            suspects = left;
        }
        Ok(())
    }

    fn mend_once(&mut self, suspects: &[Suspect]) -> Result<(), Ended> {
        loop {
            self.wait_ready()?;
            let again: Vec<Again> = suspects.iter().map(|suspect| suspect.place.clone()).collect();
            let begun = self.srm.look_again(&self.srm.tree.names().write(), &again, false);
            if begun {
                break;
            }
        }
        self.wait_ready()
    }

    fn still_differs(&mut self, suspect: &Suspect) -> Result<bool, Ended> {
        let Again::Name(dir, name) = &suspect.place else { return Ok(self.root()?.is_some()) };
        let looked = self.exactly(dir, name, true)?;
        if looked.found.is_some() || (looked.big && self.big(dir, name)?.is_some()) {
            return Ok(true);
        }
        match &suspect.other {
            Some(other) => Ok(self.links_differ(dir, name, other)?.is_some()),
            None => Ok(false),
        }
    }
}

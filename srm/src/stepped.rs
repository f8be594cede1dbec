//! The SRM without its threads, for the simulator of the commit modes: who has it does what they do, a round at a time, when he likes. What a pass would do
//! between its beginning and its end is his to do as well. Nothing here is for a daemon.

use crate::core::Link;
use crate::map::Gate;
use crate::{Config, Srm};
use platform::tree::Tree;
use std::io;
use std::sync::Arc;

impl Srm {
    /// As [`Srm::start`], and no thread is started.
    pub fn stepped(tree: Arc<Tree>, config: Config) -> io::Result<Arc<Self>> {
        Self::assemble(tree, config, true)
    }

    /// What its threads have to do now: replies that were released go out, who waits for SRC's disk waits for it, the journal is prepared, and what is settled is
    /// noted for the next daemon.
    pub fn turn(&self) -> io::Result<()> {
        let released = !self.core.lock().released.is_empty();
        if released {
            let _goes_on = self.tick();
        }
        if self.local.is_awaited() {
            let _goes_on = self.commit_waiting();
        }
        let syncer = self.core.lock().backlog.syncer();
        if let Some(syncer) = syncer {
            syncer.maintain()?;
        }
        self.note_settled();
        Ok(())
    }

    /// Whether a pass is under way: source and target are to be brought together, and then [`Srm::brought_together`].
    pub fn is_in_pass(&self) -> bool {
        matches!(self.core.lock().gate, Gate::Pass(_))
    }

    /// Source and target are the same: the pass that is under way ends.
    pub fn brought_together(&self) {
        let number = self.core.lock().passes_begun;
        self.finish_all(number);
    }

    /// Whether an operation can be asked of the target without waiting for anything.
    pub fn can_propose(&self) -> bool {
        self.core.lock().can_propose()
    }

    /// Whether nobody holds the core: who is woken may look at what there is to send.
    pub fn is_free(&self) -> bool {
        self.core.try_lock().is_some()
    }

    /// Whether the connection stands, as far as is known here.
    pub fn is_up(&self) -> bool {
        matches!(self.core.lock().link, Link::Up)
    }
}

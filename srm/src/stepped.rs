//! The SRM without its threads, for the simulator of the commit modes: who has it does what they do, a round at a time, when he likes. What a pass would do
//! between its beginning and its end is his to do as well. Nothing here is for a daemon.

use crate::core::Link;
use crate::map::{Gate, Work};
use crate::names::path_in;
use crate::{Config, Srm};
use platform::tree::Tree;
use protocol::RelPath;
use std::io;
use std::sync::Arc;

/// What a pass has to do.
#[derive(Clone, Debug)]
pub struct PassWork {
    /// All of the tree is to be compared.
    pub all: bool,
    /// Where it is not: these names, with what is under them. What only attributes differ in is not among them.
    pub paths: Vec<RelPath>,
}

impl Srm {
    /// As [`Srm::start`], and no thread is started.
    pub fn stepped(tree: Arc<Tree>, config: Config) -> io::Result<Arc<Self>> {
        Self::assemble(tree, config, true)
    }

    /// What its threads have to do now: replies that were released go out, who waits for SRC's disk waits for it, and what is settled is noted for the
    /// next daemon. The journal makes its next segment when it needs it.
    pub fn turn(&self) {
        let released = !self.core.lock().released.is_empty();
        if released {
            let _goes_on = self.tick();
        }
        if self.local.is_awaited() {
            let _goes_on = self.commit_waiting();
        }
        self.note_settled();
    }

    /// Whether a pass is under way: source and target are to be brought together, and then [`Srm::brought_together`].
    pub fn is_in_pass(&self) -> bool {
        matches!(self.core.lock().gate, Gate::Pass(_))
    }

    /// What the pass that is under way has to do: whoever asks does it, and then says [`Srm::brought_together`].
    pub fn pass_work(&self) -> PassWork {
        let (number, all) = {
            let core = self.core.lock();
            (core.passes_begun, matches!(&core.gate, Gate::Pass(pass) if pass.is_over_all()))
        };
        let names = self.tree.names().read();
        let mut paths = Vec::new();
        for work in self.take_work(number) {
            match work {
                Work::Name(dir, name) => paths.extend(path_in(&names, &dir, &name)),
                Work::Mend(node, dirt) if !dirt.data.is_empty() => {
                    paths.extend(node.all_links().iter().filter_map(|(dir, name)| path_in(&names, dir, name)));
                }
                Work::Mend(..) | Work::List(_) | Work::Copy(..) => {}
            }
        }
        PassWork { all, paths }
    }

    /// What the pass had to do is done, and it ends.
    pub fn brought_together(&self) {
        let number = self.core.lock().passes_begun;
        let _ended = self.finish(number);
    }

    /// Whether an operation that is carried out now is answered as the mode says.
    pub fn is_in_force(&self) -> bool {
        let core = self.core.lock();
        !core.commit.mode.waits() || core.waits()
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

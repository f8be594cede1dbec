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

    /// What its clock has to do now: what is released goes out, a mode degrades whose time has come, catching up begins, what the target could not carry out is
    /// tried again. `false`: the daemon ends.
    pub fn look_at_clock(self: &Arc<Self>) -> bool {
        let goes_on = self.look_at_time();
        self.catch_up_if_ready();
        self.retry_if_due();
        goes_on
    }

    /// What a thread of the pass that is under way would do next; it waits with [`platform::machine::wait`]. `false`: nothing now, or there is none.
    pub fn work_at_pass(self: &Arc<Self>) -> bool {
        self.work_once()
    }

    /// How long what is noted of names for the next daemon may wait is over.
    pub fn note_names(&self) {
        self.note_held(false);
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
    pub fn brought_together(self: &Arc<Self>) {
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

//! Looking again at some of the tree while everything else goes on: what a verification found, what the target reported as
//! damaged, what a user asks to be mirrored, what comes into the set.

use crate::Srm;
use crate::map::{Gate, Hint, Pass, Scope};
use bytes::Bytes;
use platform::tree::{Names, Node};
use protocol::{Draft, Mark, Name, Op};
use std::collections::HashMap;
use std::sync::Arc;

/// Something to look at again.
#[derive(Clone, Debug)]
pub enum Again {
    /// A name, and all below it.
    Name(Arc<Node>, Name),
    /// All names of SRC.
    All,
}

impl Srm {
    /// Looks at these again beside what happens; the replica is incoherent until that is done. By content, unless `trusting`:
    /// then only what changed just now is. What is all dirty comes anyway. `false`: nothing can be repaired now.
    pub fn look_again(self: &Arc<Self>, names: &Names, again: &[Again], trusting: bool) -> bool {
        let mut places: Vec<(Arc<Node>, Name)> = Vec::new();
        for again in again {
            if let Again::Name(dir, name) = again {
                places.push((Arc::clone(dir), name.clone()));
                // By no other name is it taken for right.
                let known = self.tree.lookup(names, dir, name, 0).map(|(node, _)| node).ok();
                places.extend(known.iter().filter(|node| !node.is_dir()).flat_map(|node| node.all_links()));
            }
        }
        let mut core = self.core.lock();
        let begun = match core.gate {
            Gate::Due => return true,
            Gate::Held(_) => return false,
            Gate::Pass(_) => None,
            Gate::Clean => {
                let number = core.passes_begun + 1;
                let mut pass = Pass::new(number, Scope::Some(HashMap::new()));
                pass.by_content = !trusting;
                pass.trusts_target = trusting;
                pass.source_clean_secs = crate::core::seconds() - 2;
                core.begin_pass(pass);
                core.coherent_at = None;
                if core.push(Draft::new(&Op::Mark(Mark::Incoherent), Bytes::new())).is_none() {
                    return true;
                }
                tracing::info!(event = "pass-begin", number, "looking again at some of the tree");
                Some(number)
            }
        };
        core.release_replies();
        if let Gate::Pass(pass) = &mut core.gate {
            for (dir, name) in &places {
                pass.add_name(dir, name, Hint::Ask);
            }
            if again.iter().any(|again| matches!(again, Again::All)) {
                pass.set_listing(self.tree.root());
            }
        }
        drop(core);
        if let Some(number) = begun {
            self.spawn_pass(number, |_| true);
        }
        self.wake();
        self.changed.notify_all();
        true
    }

    /// The directory and the last name of a path below SRC, with all its nodes known. `None`: there is no such directory.
    pub fn place_of(&self, names: &Names, path: &protocol::RelPath) -> Option<(Arc<Node>, Name)> {
        let (above, name) = path.split_last()?;
        let mut dir = Arc::clone(self.tree.root());
        for part in above.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let part = Name::new(part).ok()?;
            let (next, _) = self.tree.lookup(names, &dir, &part, 0).ok()?;
            if !next.is_dir() {
                return None;
            }
            dir = next;
        }
        Some((dir, name))
    }

    /// Waits until the pass that runs now, if one does, is over; `false` after `timeout`.
    pub fn wait_for_pass(&self, timeout: std::time::Duration) -> bool {
        let deadline = std::time::Instant::now() + timeout;
        let mut core = self.core.lock();
        while !matches!(core.gate, Gate::Clean) && !core.stopped {
            if self.changed.wait_until(&mut core, deadline).timed_out() {
                return matches!(core.gate, Gate::Clean);
            }
        }
        true
    }
}

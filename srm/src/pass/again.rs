//! Looking again at some of the tree while everything else goes on: what a verification found, what the target reported as
//! damaged, what a user asks to be mirrored, what comes into the set.

use crate::Srm;
use crate::core::Link;
use crate::map::{Dirt, Gate, Hint, Pass, Scope, Work};
use bytes::Bytes;
use platform::tree::{Names, Node};
use protocol::{Answer, Draft, Name, Op};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// A look at whether something changed that nobody signals.
const TICK: Duration = Duration::from_millis(200);

/// Whether repair can be asked for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can: what is asked for now is looked at by content.
    Ready,
    /// Not yet: what runs, or is about to run, does not look at content, or is catching up.
    Busy,
    /// Replication is switched off.
    Bypass,
    /// There is no connection to the target; why, as far as is known.
    Away(Option<String>),
}

/// Something to look at again.
#[derive(Clone, Debug)]
pub enum Again {
    /// A name, and all below it.
    Name(Arc<Node>, Name),
    /// A name that the source may not have: what the target has under it goes, as a name does that was deleted.
    Made(Arc<Node>, Name),
    /// What is dirty of a node, which the target has under all its names.
    Node(Arc<Node>, Dirt),
    /// What SRC is itself: its owner, permissions, time, extended attributes.
    Root,
    /// What a directory is itself.
    Directory(Arc<Node>),
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
        let all = again.iter().any(|again| matches!(again, Again::All));
        // What the target keeps without a name is as it is on the source: no name leads to it, so nothing would come to it.
        let kept = if all { self.tree.orphans(names) } else { Vec::new() };
        if !trusting {
            self.hot.forget("some of it is compared by content");
        }
        let mut core = self.core.lock();
        let begun = match core.gate {
            Gate::Due => return true,
            Gate::Held(_) => return false,
            Gate::Pass(_) => {
                // Only what begins after damage makes it good on the target.
                if !trusting && core.push_incoherent().is_none() {
                    return true;
                }
                None
            }
            Gate::Clean => {
                let number = core.passes_begun + 1;
                // A pass over everything takes no name for right because another one is.
                let right = || kept.iter().filter(|node| node.is_orphan()).map(|node| node.ino()).collect();
                let scope = if all { Scope::All(right()) } else { Scope::Some(HashMap::new()) };
                let mut pass = Pass::new(number, scope);
                pass.by_content = !trusting;
                pass.trusts_target = trusting;
                pass.source_clean_secs = crate::core::seconds() - 2;
                core.begin_pass(pass);
                core.coherent_at = None;
                if core.push_incoherent().is_none() {
                    return true;
                }
                tracing::info!(event = "pass-begin", number, all, "looking again at the tree, or some of it");
                Some(number)
            }
        };
        core.release_replies();
        if let Gate::Pass(pass) = &mut core.gate {
            pass.doubts |= !trusting;
            for (dir, name) in &places {
                pass.add_name(dir, name, Hint::Ask);
            }
            let attributes = || Dirt { attributes: true, ..Dirt::default() };
            for again in again {
                match again {
                    Again::Made(dir, name) => pass.add_name(dir, name, Hint::Deleted),
                    Again::Node(node, dirt) => pass.add(Work::Mend(Arc::clone(node), dirt.clone())),
                    Again::Directory(dir) => pass.add(Work::Mend(Arc::clone(dir), attributes())),
                    Again::Root => pass.add(Work::Mend(Arc::clone(self.tree.root()), attributes())),
                    Again::Name(..) | Again::All => {}
                }
            }
            if all && begun.is_none() && !pass.is_over_all() {
                core.all_dirty("all is to be compared");
            }
        }
        drop(core);
        match begun {
            Some(number) if all => self.start_pass(number),
            Some(number) => self.spawn_pass(number, |_| true),
            None => {}
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

    /// Whether [`Self::look_again`] would do what is asked of it, by content.
    pub fn readiness(&self) -> Readiness {
        let core = self.core.lock();
        match (&core.gate, &core.link) {
            _ if core.bypass => Readiness::Bypass,
            (_, Link::Down(_) | Link::Refused | Link::Setup) => Readiness::Away(core.last_error.clone()),
            (Gate::Clean, _) => Readiness::Ready,
            (Gate::Pass(pass), _) if pass.by_content => Readiness::Ready,
            (Gate::Pass(_) | Gate::Held(_) | Gate::Due, _) => Readiness::Busy,
        }
    }

    /// Waits until [`Self::readiness`] is not busy any more; what it is at the end.
    pub fn wait_until_ready(&self, timeout: Duration) -> Readiness {
        let deadline = Instant::now() + timeout;
        loop {
            let readiness = self.readiness();
            if readiness != Readiness::Busy {
                return readiness;
            }
            let mut core = self.core.lock();
            if core.stopped || Instant::now() >= deadline {
                return Readiness::Busy;
            }
            self.changed.wait_until(&mut core, deadline.min(Instant::now() + TICK));
        }
    }

    /// Whether the target has anything under a name; `None`: it did not say so in time.
    pub fn is_on_target(&self, dir: &Arc<Node>, name: &Name, timeout: Duration) -> Option<bool> {
        let (sender, answer) = sync_channel(1);
        {
            let names = self.tree.names().read();
            let path = dir.path(&names)?;
            let mut core = self.core.lock();
            if !matches!(core.gate, Gate::Clean | Gate::Pass(_)) {
                return None;
            }
            let question = Op::Look { path, name: name.clone(), hash: false };
            let seq = core.push(Draft::new(&question, Bytes::new()))?;
            core.tell(|_| Ok(()));
            core.questions.insert(seq, sender);
        }
        self.wake();
        match answer.recv_timeout(timeout) {
            Ok(Answer::Page(page)) => Some(page.entries.iter().any(|entry| entry.name == *name)),
            Ok(Answer::Differs(_) | Answer::Verdict(_)) | Err(_) => None,
        }
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

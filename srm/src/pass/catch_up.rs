//! From what was remembered while nothing was sent to a pass (S16, S3): first the target's names become the source's, in one
//! step with names standing still, then the pass goes over what is left, beside live operations.

use super::look::path_of;
use crate::Srm;
use crate::core::Link;
use crate::ensure::mtime_of;
use crate::map::{Gate, Hint, Pass, Rest, Scope, Step, There, Work, waiting_path};
use bytes::Bytes;
use platform::killpoint::{self, KillPoint};
use platform::tree::{Names, Node};
use protocol::{Draft, Name, NodeId, Op, RelPath, RenameKind, Replaced, Time};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

impl Srm {
    /// Begins to catch up if there is something to catch up with, the target is there, and it has taken most of what was
    /// queued before.
    pub(crate) fn catch_up_if_ready(self: &Arc<Self>) {
        let mut core = self.core.lock();
        let ready = matches!(core.gate, Gate::Held(_))
            && !core.bypass
            && !core.catching_up
            && !core.flags.stuck
            && !core.stopped
            && core.sending.is_open()
            && matches!(core.link, Link::Up)
            && core.backlog.bytes() <= core.backlog.limit_bytes() / 4
            // A journal's room is given back in larger pieces.
            && core.backlog.used_bytes() <= core.backlog.limit_bytes() / 2;
        if !ready {
            return;
        }
        core.catching_up = true;
        drop(core);
        let srm = Arc::clone(self);
        let catch_up = move || {
            let begun = srm.begin_catch_up();
            srm.core.lock().catching_up = false;
            if let Some(number) = begun {
                // Where the target works again what it could not carry out comes first: what follows in those places goes wrong until then.
                srm.try_flagged();
                srm.spawn_pass(number, |_| true);
            }
            srm.wake();
            srm.changed.notify_all();
        };
        if self.stepped {
            return catch_up();
        }
        let started = std::thread::Builder::new().name("catch-up".to_owned()).spawn(catch_up);
        if let Err(error) = started {
            tracing::warn!(event = "pass-thread", %error, "no thread to catch up; tried again");
            self.core.lock().catching_up = false;
        }
    }

    /// The number of the pass that has begun.
    fn begin_catch_up(self: &Arc<Self>) -> Option<u64> {
        let mut names = self.tree.names().write();
        let (number, steps) = {
            let mut core = self.core.lock();
            if core.bypass || !matches!(core.gate, Gate::Held(_)) {
                return None;
            }
            let Gate::Held(held) = std::mem::replace(&mut core.gate, Gate::Due) else { return None };
            let entries = held.entries();
            let Some((steps, rest)) = held.reshape() else {
                // Due it is already; this begins the connection anew.
                core.gate = Gate::Clean;
                core.all_dirty("a path is too long to be brought back; all will be compared");
                return None;
            };
            let number = core.passes_begun + 1;
            let mut pass = Pass::new(number, Scope::Some(HashMap::new()));
            pass.by_content = true;
            add_rest(&mut pass, &rest);
            pass.keep(rest.linked);
            core.begin_pass(pass);
            tracing::info!(event = "pass-begin", number, entries, "catching up with what was remembered");
            core.push_incoherent()?;
            for node in rest.reaped {
                core.push(Draft::new(&Op::Reap { node: NodeId::new(node) }, Bytes::new()))?;
            }
            (number, steps)
        };
        for step in steps {
            killpoint::pass(KillPoint::CatchUpStep);
            if let Err(error) = self.take(number, &mut names, step) {
                let mut core = self.core.lock();
                core.all_dirty(&format!("the source could not be read while catching up: {error}"));
                return None;
            }
        }
        Some(number)
    }

    fn take(&self, number: u64, names: &mut Names, step: Step<Arc<Node>>) -> io::Result<()> {
        match step {
            Step::Make(dir) => self.ensure_directory(names, &dir),
            Step::Remove { path, directory, dir } => {
                let parent_mtime = self.time_of(names, dir.as_ref())?;
                let gone = Replaced { node: self.tree.fresh_id(), orphan: false };
                self.step(number, &Op::Unlink { path, gone, directory, parent_mtime });
                Ok(())
            }
            Step::Aside { path, dir } => {
                let parent_mtime = self.time_of(names, Some(&dir))?;
                self.step(number, &Op::SetAside { path, parent_mtime });
                Ok(())
            }
            Step::Move { node, from, from_dir, to } => {
                self.take_move(number, names, &node, (from, from_dir.as_ref()), to.as_ref())
            }
        }
    }

    fn take_move(
        &self,
        number: u64,
        names: &Names,
        node: &Arc<Node>,
        (from, from_dir): (RelPath, Option<&Arc<Node>>),
        place: Option<&(Arc<Node>, Name)>,
    ) -> io::Result<()> {
        let to = match place {
            Some((dir, name)) => path_of(names, dir, name).ok_or(io::ErrorKind::InvalidFilename)?,
            None => waiting_path(node),
        };
        // A directory was made where a deleted one stood that still held it: it is in its place already.
        let in_place = from == to;
        let root = self.tree.root();
        let to_dir = place.map_or(root, |(dir, _)| dir);
        let op = Op::Rename {
            from,
            to,
            kind: RenameKind::Replace,
            node: node.id(),
            replaced: None,
            from_parent_mtime: self.time_of(names, Some(from_dir.unwrap_or(root)))?,
            to_parent_mtime: self.time_of(names, Some(to_dir))?,
        };
        if !in_place {
            self.step(number, &op);
        }
        if let Some((dir, name)) = place {
            let several = node.link().is_some_and(|_| node.all_links().len() > 1);
            let mut core = self.core.lock();
            if let Some(pass) = core.gate.pass(number) {
                pass.set_right(node, Some((dir, name)), several);
            }
        }
        Ok(())
    }

    /// A directory that is gone has no time that matters.
    fn time_of(&self, names: &Names, dir: Option<&Arc<Node>>) -> io::Result<Time> {
        match dir.filter(|dir| dir.has_name()) {
            Some(dir) => mtime_of(self, names, dir),
            None => Ok(Time { secs: 0, nanos: 0 }),
        }
    }

    fn step(&self, number: u64, op: &Op) {
        let mut core = self.core.lock();
        if core.gate.pass(number).is_some() {
            let _no_reply_waits = self.queue(&mut core, Draft::new(op, Bytes::new()), 0);
        }
    }
}

fn add_rest(pass: &mut Pass<Arc<Node>>, rest: &Rest<Arc<Node>>) {
    // Taken from the end: names before what hangs on them.
    for (node, dirt) in &rest.files {
        pass.add(Work::Mend(Arc::clone(node), dirt.clone()));
    }
    // Of a file in them that is right by a name elsewhere nobody knows what changed: it is compared.
    pass.doubts = rest.doubts;
    for dir in &rest.folded {
        pass.set_listing(dir);
    }
    for (dir, name, there) in &rest.names {
        let hint = match there {
            There::Nothing => Hint::Nothing,
            There::Deleted { .. } => Hint::Deleted,
            There::Moved | There::Unknown => Hint::Ask,
        };
        pass.add_name(dir, name, hint);
    }
}

//! A pass of repair: compares source and target where something is dirty and sends what differs, beside live operations
//! (S7). All that it sends is numbered under the locks of what it read, in the one stream, so a live operation is never
//! lost under it.
//!
//! Here: its threads, and what they take next. `catch_up` begins a pass from what was remembered; `list` compares a
//! directory's names, `look` one name; `stage`, `shift`, `copy` and `mend` bring content; `ask` puts questions to the target; `share` knows what a pass has
//! queued.

mod again;
mod ask;
mod catch_up;
mod copy;
mod index;
mod list;
mod look;
mod mend;
mod share;
mod shift;
mod stage;

pub use again::{Again, Readiness};
pub(crate) use copy::read;
pub(crate) use look::path_of;
pub(crate) use share::Share;

use crate::Srm;
use crate::core::Core;
use crate::map::{Gate, Handle, Hint, Next, Pass, Scope, Work};
use crate::room::Admission;
use bytes::Bytes;
use parking_lot::MutexGuard;
use platform::killpoint::{self, KillPoint};
use platform::machine;
use platform::tree::{Names, Node};
use protocol::{Draft, Mark, Op, SeqNo};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads of a pass.
const WORKERS: usize = 4;
/// A pass sends nothing more while this much of it, or a quarter of the bound, is in the backlog: live operations are not to
/// wait long behind it.
const ROOM_BYTES: u64 = 16 << 20;
/// A pass that waits so long for room, or for an answer, while applications have more queued than it may have, gets half of what the target takes.
const STARVES_AFTER: Duration = Duration::from_secs(1);
/// Of room that is kept for what was not sent then nobody is told.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What could not be read is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What a pass begins with.
pub(crate) type Begin = Box<dyn FnOnce(&Arc<Srm>) -> bool + Send>;

/// Why a piece of work ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The pass is over.
    Over,
    /// Something on the source could not be read.
    Unreadable(String, io::Error),
}

pub(crate) fn unreadable(node: &Node, names: &Names, error: io::Error) -> Stop {
    let path = node.path(names).map_or_else(|| format!("inode {}", node.ino()), |path| path.to_string());
    Stop::Unreadable(path, error)
}

/// Whether it is gone, which is no error: somebody deleted it meanwhile.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::STALE | Errno::NOTDIR))
}

impl Srm {
    /// Starts the threads of the pass over everything that has just begun.
    pub(crate) fn start_pass(self: &Arc<Self>, number: u64) {
        let begin = move |srm: &Arc<Self>| {
            let begun = srm.ensure_directories(&mut srm.tree.names().write(), srm.tree.root());
            if let Err(error) = &begun {
                srm.core.lock().damaged(&format!("the source directory cannot be read: {error}"), machine::now());
            }
            begun.is_ok()
        };
        self.spawn_pass(number, begin);
    }

    /// Starts the threads of a pass, after `begin`.
    fn spawn_pass(self: &Arc<Self>, number: u64, begin: impl FnOnce(&Arc<Self>) -> bool + Send + 'static) {
        if self.stepped {
            self.begins.lock().push(Box::new(begin));
            self.begin_if_free();
            return;
        }
        let srm = Arc::clone(self);
        let first = std::thread::Builder::new().name("pass-0".to_owned()).spawn(move || {
            if !begin(&srm) {
                return;
            }
            for index in 1..WORKERS {
                let more = Arc::clone(&srm);
                let started =
                    std::thread::Builder::new().name(format!("pass-{index}")).spawn(move || more.work(number));
                if let Err(error) = started {
                    tracing::warn!(event = "pass-thread", %error, "the mirror pass goes on with fewer threads");
                }
            }
            srm.work(number);
        });
        if let Err(error) = first {
            let why = format!("no thread could be started for the mirror pass: {error}");
            self.core.lock().damaged(&why, machine::now());
        }
    }

    /// Without threads: what begins a pass runs when who asked for it holds no name any more.
    fn begin_if_free(self: &Arc<Self>) {
        if self.tree.names().try_write().is_some() {
            for begin in std::mem::take(&mut *self.begins.lock()) {
                let _worked_on = begin(self);
            }
        }
    }

    fn work(self: Arc<Self>, number: u64) {
        while let Some(work) = self.next_work(number) {
            self.work_on(number, work);
        }
    }

    /// Does a piece of work that was taken.
    fn work_on(&self, number: u64, work: Work<Arc<Node>>) {
        let result = match &work {
            Work::List(dir) => return self.work_lists(number, Arc::clone(dir)),
            Work::Name(dir, name) => self.look(number, dir, name),
            Work::Copy(file, source) => self.copy(number, file, *source),
            Work::Mend(node, dirt) => self.mend_node(number, node, dirt),
        };
        if let (Ok(()), Work::Copy(node, _) | Work::Mend(node, _)) = (&result, &work) {
            self.see_to_names(number, node);
        }
        self.worked(number, work, result);
    }

    /// What a thread of a pass would do next, where there are none. `false`: nothing now.
    pub(crate) fn work_once(self: &Arc<Self>) -> bool {
        self.begin_if_free();
        let mut core = self.core.lock();
        let number = core.passes_begun;
        let Some(pass) = core.gate.pass(number) else { return false };
        let next = pass.next(machine::now());
        drop(core);
        match next {
            Next::Work(work) => self.work_on(number, work),
            Next::Wait(_) => return false,
            Next::Finished => return self.core.lock().has_heard_all() && self.finish(number),
        }
        true
    }

    /// Lists a directory, and others that wait for it.
    fn work_lists(&self, number: u64, dir: Arc<Node>) {
        let mut dirs = vec![dir];
        if let Some(pass) = self.core.lock().gate.pass(number) {
            // The other threads are to have some, too.
            let share = usize::try_from(pass.waiting()).unwrap_or(0) / WORKERS;
            dirs.extend(pass.next_lists(share.min(list::TOGETHER - 1)));
        }
        match self.ask_first(number, &dirs) {
            Ok(asked) => {
                for (dir, first) in dirs.into_iter().zip(asked) {
                    let result = self.list(number, &dir, first);
                    self.worked(number, Work::List(dir), result);
                }
            }
            // Asking reads nothing on the source: the pass is over.
            Err(_) => dirs.into_iter().for_each(|dir| self.worked(number, Work::List(dir), Err(Stop::Over))),
        }
    }

    /// Gives back what was taken.
    fn worked(&self, number: u64, work: Work<Arc<Node>>, result: Result<(), Stop>) {
        killpoint::pass(KillPoint::PassStep);
        let node = match &work {
            Work::List(node) | Work::Name(node, _) | Work::Copy(node, _) | Work::Mend(node, _) => Arc::clone(node),
        };
        let mut core = self.core.lock();
        if let Some(pass) = core.gate.pass(number) {
            match result {
                Ok(()) | Err(Stop::Over) => {
                    pass.finished(&work);
                    drop(work);
                }
                Err(Stop::Unreadable(path, error)) => {
                    pass.failed(work, machine::now() + AGAIN_AFTER);
                    tracing::warn!(event = "unreadable", path, %error, "cannot be mirrored, is tried again");
                    core.last_error = Some(format!("cannot mirror {path}: {error}; tried again every 30 s"));
                }
            }
        }
        drop(core);
        self.changed.notify_all();
        self.tree.settle(node);
    }

    fn next_work(self: &Arc<Self>, number: u64) -> Option<Work<Arc<Node>>> {
        let mut core = self.core.lock();
        loop {
            let pass = core.gate.pass(number)?;
            match pass.next(machine::now()) {
                Next::Work(work) => return Some(work),
                Next::Wait(until) => {
                    let until = until.unwrap_or_else(|| machine::now() + AGAIN_AFTER);
                    self.changed.wait_until(&mut core, until);
                }
                Next::Finished if !core.has_heard_all() => self.changed.wait(&mut core),
                Next::Finished => {
                    drop(core);
                    if self.finish(number) {
                        return None;
                    }
                    core = self.core.lock();
                }
            }
        }
    }

    /// All that the pass has to do, for who does it himself: it counts as done.
    pub(crate) fn take_work(&self, number: u64) -> Vec<Work<Arc<Node>>> {
        let mut all = Vec::new();
        while let Some(pass) = self.core.lock().gate.pass(number) {
            let Next::Work(work) = pass.next(machine::now()) else { break };
            if let Work::Name(dir, name) = &work {
                pass.not_pending(dir, name);
            }
            pass.finished(&work);
            all.push(work);
        }
        all
    }

    /// Ends the pass if there is still nothing to do once names stand still.
    pub(crate) fn finish(self: &Arc<Self>, number: u64) -> bool {
        let names = self.tree.names().write();
        let mut core = self.core.lock();
        let Some(pass) = core.gate.pass(number) else { return true };
        if pass.waiting() > 0 {
            return false;
        }
        pass.assert_finished();
        killpoint::pass(KillPoint::PassEnd);
        let below = pass.take_below();
        if !below.is_empty() {
            self.go_on_below(&mut core, &below);
            drop(core);
            drop(names);
            self.spawn_pass(number + 1, |_| true);
            return true;
        }
        if !core.flags.are_settled_by(number) {
            core.flags.leave(number);
            core.flags.schedule(machine::now());
        } else if let Some(seq) = core.push(Draft::new(&Op::Mark(Mark::Coherent), Bytes::new())) {
            core.coherent_at = Some(seq);
            core.flags.proof = Some(seq);
            core.incoherent.ends(seq);
        } else {
            return true;
        }
        let settled = core.coherent_at;
        core.gate = Gate::Clean;
        core.passes_done += 1;
        core.absorbed = 0;
        core.absorbed_bytes = 0;
        core.absorbed_since = None;
        core.by_content = false;
        core.same_before = None;
        core.power_was_lost = false;
        if settled.is_some() {
            core.last_error = None;
            core.forgive();
        }
        self.swept(settled);
        core.progress.scanning = false;
        core.progress.complete();
        self.lanes.end_generation();
        if let Some(seq) = settled {
            tracing::info!(event = "pass-done", coherent_at = seq.get(), "source and target are brought together");
        } else {
            tracing::warn!(event = "pass-done", "all is there but what the target cannot carry out");
        }
        if core.bypass {
            core.hold("replication is switched off");
        }
        drop(core);
        drop(names);
        // Nodes that only the pass knew.
        self.tree.sweep();
        self.wake();
        self.changed.notify_all();
        true
    }

    /// A pass over everything is over, but for what lies below these directories: another one goes over that, and only its end is the end of
    /// repair.
    fn go_on_below(&self, core: &mut Core, below: &[Arc<Node>]) {
        let number = core.passes_begun + 1;
        let mut pass = Pass::new(number, Scope::Some(HashMap::new()));
        // What happened there meanwhile may not have been sent.
        pass.by_content = true;
        for (dir, name) in below.iter().flat_map(Handle::links) {
            pass.add_name(&dir, &name, Hint::Ask);
        }
        tracing::info!(
            event = "pass-begin",
            number,
            directories = below.len(),
            "looking below what has moved meanwhile"
        );
        self.lanes.end_generation();
        core.begin_pass(pass);
        core.by_content = false;
        core.same_before = None;
        core.power_was_lost = false;
    }

    /// Waits until the pass may send more, but for data.
    pub(crate) fn wait_for_room(&self, number: u64) -> Result<(), Stop> {
        self.room_for(number, 0).map(drop)
    }

    /// Waits until the pass may send so many bytes of data more; the room is kept until what this returns is dropped.
    fn room_for(&self, number: u64, bytes: u64) -> Result<Admission<'_>, Stop> {
        let begun = machine::now();
        let mut core = self.core.lock();
        loop {
            if core.gate.pass(number).is_none() || core.stopped {
                return Err(Stop::Over);
            }
            // The data itself comes out of what is not for data, so that a pass alone always goes on.
            if core.share.bytes() + self.room.of_pass() < core.pass_room() && self.fits(&core, 0) {
                return Ok(self.let_pass_in(&core, bytes));
            }
            core.waited_since(begun);
            self.wait_for_change(&mut core);
        }
    }

    /// Waits until something changed that a thread of a pass may wait for.
    fn wait_for_change(&self, core: &mut MutexGuard<'_, Core>) {
        if machine::is_simulated() {
            MutexGuard::unlocked(core, || machine::wait(AGAIN_AFTER, false));
        } else {
            self.changed.wait_for(core, LOOK_AGAIN);
        }
    }

    /// Numbers a record of the pass; the caller holds the locks of what it read.
    pub(crate) fn push(&self, number: u64, draft: Draft) -> Result<(), Stop> {
        let mut core = self.core.lock();
        core.gate.pass(number).ok_or(Stop::Over)?;
        let _no_reply_waits = self.queue_of_pass(&mut core, draft);
        Ok(())
    }

    /// Queues a record of a pass.
    fn queue_of_pass(&self, core: &mut Core, draft: Draft) -> Option<SeqNo> {
        let before = core.backlog.bytes();
        let seq = self.queue(core, draft, 0).seq?;
        core.share.queued(seq, core.backlog.bytes() - before);
        Some(seq)
    }
}

impl Core {
    /// Whether the target has said what became of everything before the repair that a pass is, and what was damaged belongs to the pass: its end makes good
    /// whatever was wrong by then.
    fn has_heard_all(&self) -> bool {
        self.applied >= self.repair_began.prev() && !self.damages.is_waiting()
    }

    /// Bytes that a pass may have queued.
    pub(crate) fn pass_room(&self) -> u64 {
        ROOM_BYTES.min(self.backlog.limit_bytes() / 4)
    }

    /// Bytes that are queued and are not of a pass.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.backlog.bytes() - self.share.bytes()
    }

    /// A pass has waited since then.
    fn waited_since(&mut self, begun: Instant) {
        if machine::since(begun) >= STARVES_AFTER && self.live_bytes() > self.pass_room() {
            self.share.starve();
        }
    }
}

/// What a pass shows of itself.
pub(crate) fn progress(core: &Core) -> crate::map::Progress {
    match &core.gate {
        Gate::Pass(pass) => crate::map::Progress {
            waiting: pass.waiting(),
            unreadable: pass.unreadable(),
            scanning: pass.is_scanning(),
            ..core.progress
        },
        _ => core.progress,
    }
}

//! What applications do and are told, and what is looked at after it.

use super::action::act;
use super::bug::Bug;
use super::history::{Checker, Told};
use super::schedule::{Action, What};
use super::snapshot::{Entry, Snapshot};
use super::view::View;
use super::world::{World, lock};
use srm::Ticket;
use srm::status::{CommitMode, TargetState};
use std::rc::Rc;
use std::sync::Arc;

impl World {
    pub(super) fn app(&self, action: &Action) {
        let now = self.history.borrow().source().clone();
        let words = format!("{action:?}");
        let number = self.history.borrow_mut().begins(words);
        lock(&self.answers).push(Told::Nothing);
        let hasty = self.bug == Some(Bug::HastyAnswer);
        if hasty {
            self.reply(number, true)();
        }
        let last = self.source.borrow().as_ref().map_or(0, |daemon| daemon.srm.status().sequence);
        let acted = self.on_source(|daemon| {
            let in_force = daemon.srm.is_in_force();
            let (result, ticket) = act(&daemon.files, &daemon.open, &now, action, number as u64 + 1);
            self.history.borrow_mut().told_in(last, daemon.srm.status().sequence);
            let in_force = in_force && daemon.srm.is_in_force();
            (result, ticket, in_force)
        });
        let after = self.host(Snapshot::of(&self.places.src()));
        let changed = after != now;
        let before = self.history.borrow().view().clone();
        if self.source.borrow().is_some() {
            self.history.borrow_mut().source_is(after);
            self.count_crossings(&before);
        }
        let Some((result, ticket, in_force)) = acted else {
            self.history.borrow_mut().told_in_part(last);
            return;
        };
        let writes = matches!(action.what, What::Write | What::Append);
        let bytes = if writes && result.is_ok() { 16 + (action.a ^ action.b) % 1500 } else { 0 };
        self.history.borrow_mut().carried_out(number, changed, self.sim.time(), bytes);
        self.note(|| format!("{number}: {result:?}, {}", now.difference(self.history.borrow().source())));
        if result.is_err() && ticket == Ticket::NONE {
            lock(&self.answers)[number] = Told::Failed;
        } else if !hasty {
            let reply = self.reply(number, in_force);
            let early = matches!(self.bug, Some(Bug::EarlyAnswer | Bug::UnsyncedAnswer));
            if early {
                reply();
            } else {
                let _answered = self.on_source(|daemon| daemon.srm.commit(ticket, reply));
            }
        }
        self.hear();
    }

    /// Names that came into the set, or left it, and files that have names on both sides.
    fn count_crossings(&self, before: &View) {
        let history = self.history.borrow();
        let after = history.view();
        if self.set.is_everything() || Rc::ptr_eq(&before.full, &after.full) {
            return;
        }
        let mut counts = self.counts.borrow_mut();
        if before.full.0.len() == after.full.0.len() {
            counts.entered += u64::from(after.shown.0.len() > before.shown.0.len());
            counts.left += u64::from(after.shown.0.len() < before.shown.0.len());
        }
        let is_out = |path: &String| !after.shown.0.contains_key(path);
        let split = |(path, entry): (&String, &Entry)| entry.first != *path && is_out(path) != is_out(&entry.first);
        counts.split += u64::from(after.full.0.iter().any(split));
    }

    pub(super) fn reply(&self, number: usize, in_force: bool) -> impl FnOnce() + Send + 'static {
        let (answers, releasing) = (Arc::clone(&self.answers), Arc::clone(&self.releasing));
        move || {
            let told = if !in_force || *lock(&releasing) { Told::Released } else { Told::Done };
            lock(&answers)[number] = told;
        }
    }

    /// What applications have been told since.
    pub(super) fn hear(&self) {
        let told: Vec<Told> = lock(&self.answers).clone();
        let mut history = self.history.borrow_mut();
        let news: Vec<(usize, Told)> =
            told.iter().copied().enumerate().filter(|(number, told)| history.told(*number) != *told).collect();
        for (number, told) in news {
            let checked = history.tell(number, told);
            if let Err((checker, text)) = checked {
                drop(history);
                self.fail(checker, text);
            }
        }
    }

    pub(super) fn turn(&self) {
        let _turned = self.on_source(|daemon| {
            *lock(&self.releasing) = self.plan.mode != CommitMode::Local;
            daemon.srm.look_at_clock();
            daemon.srm.turn();
            *lock(&self.releasing) = false;
            daemon.srm.note_names();
        });
        *lock(&self.releasing) = false;
        let Some(daemon) = self.source.borrow().clone() else { return };
        let status = daemon.srm.status();
        if status.backlog_bytes > status.backlog_limit {
            self.fail(Checker::Bounds, format!("{} bytes are queued", status.backlog_bytes));
        }
        let mut counts = self.counts.borrow_mut();
        if let Some(target) = status.targets.first() {
            counts.degraded += u64::from(target.degraded && target.coherent);
            counts.held += u64::from(target.held.entries > 0);
            counts.blocked += u64::from(target.blocked.is_some());
            counts.due += u64::from(target.mirror_due);
            counts.mirroring += u64::from(target.state == TargetState::Mirroring);
            counts.away += u64::from(target.state == TargetState::Accumulating);
            counts.undecided += u64::from(!target.undecided.is_empty());
        }
    }

    /// What the target has now, if it says that this is a state of the source's.
    pub(super) fn look_at_target(&self, at: usize, coherent: bool) {
        let applied = self.net.borrow().conns[at].aside.as_ref().map_or(0, |aside| aside.syncing().1);
        let tree = self.host(Snapshot::of(&self.places.replica()));
        let checked = self.history.borrow_mut().target_is(coherent, applied, &tree);
        self.check(checked);
    }
}

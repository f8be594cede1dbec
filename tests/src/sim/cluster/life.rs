//! Daemons begin, come to their end at one of the places of what ships, and begin again, also after their machine has lost power.

use super::bug::Bug;
use super::machine::{index, side_of};
use super::schedule::{Loss, Side};
use super::side::{Daemon, left};
use super::snapshot::Snapshot;
use super::world::{World, lock};
use platform::killpoint::{KillPoint, Killed};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use target::Target;

/// What is on the disks of a side for certain, and what a wait for them is about to make so.
#[derive(Default)]
pub(super) struct Disk {
    pub durable: Snapshot,
    pub durable_state: usize,
    pub waited_for: Option<(Snapshot, usize)>,
}

impl World {
    /// Runs something of a side, which may come to its end.
    pub(super) fn on<T>(&self, side: Side, run: impl FnOnce() -> T) -> Option<T> {
        let (frames, before, epoch) = (&self.frames[index(side)], self.sim.side.replace(side), self.epoch(side));
        frames.set(frames.get() + 1);
        let result = catch_unwind(AssertUnwindSafe(run));
        frames.set(frames.get() - 1);
        self.sim.side.set(before);
        match result {
            Ok(value) => Some(value),
            Err(panic) if panic.is::<Killed>() => {
                self.sim.dying.set(false);
                if self.epoch(side) == epoch {
                    self.ended(side);
                }
                None
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs something of the source's daemon; `None`: there is none, or it has come to its end.
    pub(super) fn on_source<T>(&self, run: impl FnOnce(&Rc<Daemon>) -> T) -> Option<T> {
        let daemon = self.source.borrow().clone()?;
        let result = self.on(Side::Source, || run(&daemon));
        self.hear();
        result
    }

    pub(super) fn on_target<T>(&self, run: impl FnOnce(&Arc<Target>) -> T) -> Option<T> {
        let target = self.target.borrow().clone()?;
        self.on(Side::Target, || run(&target))
    }

    pub(super) fn epoch(&self, side: Side) -> u64 {
        self.sim.epochs[index(side)].get()
    }

    /// Whether a side runs the program that knows all there is.
    pub(super) fn is_new(&self, side: Side) -> bool {
        self.plan.wire.program(side).is_new(self.epoch(side))
    }

    /// A kill point is passed.
    pub(super) fn passes(&self, point: KillPoint) {
        let side = side_of(point);
        let lying = side == Side::Source && self.bug == Some(Bug::LyingSource);
        let dir = if side == Side::Source { self.places.src() } else { self.places.replica() };
        let mut disk = self.disks[index(side)].borrow_mut();
        match point {
            // What follows is answered because the disk has failed, and said so.
            KillPoint::LocalSynced if self.sim.unsynced.take() => *lock(&self.releasing) = true,
            KillPoint::LocalGathered | KillPoint::TargetCaptured => {
                disk.waited_for = Snapshot::of(&dir).ok().map(|now| (now, self.history.borrow().now()));
            }
            KillPoint::LocalSynced | KillPoint::TargetSynced => {
                if let Some((now, state)) = disk.waited_for.take().filter(|_| !lying) {
                    (disk.durable, disk.durable_state) = (now, state);
                }
            }
            _ => {}
        }
    }

    /// A daemon is about to unwind.
    pub(super) fn dies(&self, side: Side) {
        if side == Side::Source {
            self.kept.replace(Some(self.places.keep()));
        }
    }

    /// A daemon has come to its end.
    pub(super) fn ended(&self, side: Side) {
        self.note(|| format!("{side:?} ends"));
        let epoch = &self.sim.epochs[index(side)];
        epoch.set(epoch.get() + 1);
        match side {
            Side::Source => {
                *self.source.borrow_mut() = None;
                self.heard.set(lock(&self.answers).len());
                let now = self.host(Snapshot::of(&self.places.src()));
                self.history.borrow_mut().source_is(now);
                let checked = self.history.borrow().source_ends();
                self.check(checked);
            }
            Side::Target => *self.target.borrow_mut() = None,
        }
        self.lose_side(side);
    }

    /// Who is down comes up, unless some of what it did is still unwinding.
    pub(super) fn restart(&self, side: Side) {
        if self.frames[index(side)].get() > 0 {
            return;
        }
        let loss = self.losses[index(side)].take();
        match side {
            Side::Source if self.source.borrow().is_none() => self.restart_source(loss),
            Side::Target if self.target.borrow().is_none() => self.restart_target(loss),
            _ => self.losses[index(side)].set(loss),
        }
    }

    pub(super) fn restart_source(&self, loss: Option<Loss>) {
        if let Some(loss) = loss {
            let mut disk = self.disks[0].borrow_mut();
            let checked = self.history.borrow().source_goes_back(disk.durable_state);
            self.check(checked);
            let now = self.history.borrow().source().clone();
            disk.durable = left(&now, &disk.durable, loss);
            self.host(disk.durable.put_into(&self.places.src()));
            // Its directory has another time now than was asked for, if anything was in the way.
            disk.durable = self.host(Snapshot::of(&self.places.src()));
            self.history.borrow_mut().source_is(disk.durable.clone());
            disk.durable_state = self.history.borrow().now();
            self.places.lose_memory(self.plan.mode);
            self.sim.boots[0].set(self.sim.boots[0].get() + 1);
            self.counts.borrow_mut().source_power += 1;
        } else if let Some(kept) = self.kept.take().filter(|_| self.plan.journal) {
            self.host(self.places.put_back(&kept));
        }
        let boot = self.sim.boots[0].get();
        let (replica, is_new) = (self.replica.get(), self.is_new(Side::Source));
        let started =
            self.on(Side::Source, || self.places.start_source(&self.plan, &self.set, boot, replica, self.bug, is_new));
        if let Some(started) = started {
            let daemon = self.host(started);
            self.counts.borrow_mut().resumed += u64::from(daemon.srm.is_in_pass());
            *self.source.borrow_mut() = Some(Rc::new(daemon));
            self.note(|| "the source is up".to_owned());
        }
    }

    pub(super) fn restart_target(&self, loss: Option<Loss>) {
        let position = self.places.meta().join("position");
        if let Some(loss) = loss.filter(|_| self.places.replica().exists()) {
            self.history.borrow_mut().target_goes_back();
            let now = self.host(Snapshot::of(&self.places.replica()));
            let mut disk = self.disks[1].borrow_mut();
            // Before anything was made durable nothing is there.
            if !disk.durable.0.is_empty() {
                disk.durable = left(&now, &disk.durable, loss);
                self.host(disk.durable.put_into(&self.places.replica()));
            }
            self.sim.boots[1].set(self.sim.boots[1].get() + 1);
            self.counts.borrow_mut().target_power += 1;
        } else if self.bug == Some(Bug::ForgetPosition) {
            let newer = std::fs::read(&position).ok();
            if let Some(older) = self.old_position.replace(newer) {
                self.host(std::fs::write(&position, older));
            }
        }
        if self.bug == Some(Bug::ForgetPosition) {
            self.old_position.replace(std::fs::read(&position).ok());
        }
        if let Some(started) = self.on(Side::Target, || self.places.start_target()) {
            *self.target.borrow_mut() = Some(self.host(started));
            self.note(|| "the target is up".to_owned());
        }
    }

    /// Whoever was about to be ended is not.
    pub(super) fn end_faults(&self) {
        self.sim.mend();
        self.losses.iter().zip([self.source.borrow().is_some(), self.target.borrow().is_some()]).for_each(
            |(loss, up)| {
                if up {
                    loss.set(None);
                }
            },
        );
    }
}

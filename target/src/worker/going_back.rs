//! What a worker keeps of the last coherent state while a repair goes on: an image, or an undo log where the file system cannot share data. How either is made is
//! `image`'s and `undo`'s.

use super::Worker;
use crate::apply::Fault;
use crate::image;
use platform::machine;
use platform::parts::Parts;
use protocol::Record;
use std::io;
use std::os::fd::AsFd;

/// Records that wait, for which the undo log is written at once.
const SAVE_AHEAD: usize = 256;

impl Worker {
    /// Saves what a record, and those behind it, are about to change, where an undo log is written: for a run of records the disk is waited for once.
    pub(super) fn save(&mut self, record: &Record, payload: &Parts) -> Result<(), Fault> {
        let home = self.job.home.clone();
        if !home.undo.is_active() {
            return Ok(());
        }
        let saved = self.save_run(record, payload).and_then(|()| home.undo.sync());
        let given_up = |error| home.give_up_undo(&self.job.facts, &crate::error::text(&error));
        Ok(saved.or_else(given_up)?)
    }

    fn save_run(&mut self, record: &Record, payload: &Parts) -> io::Result<()> {
        self.applier.save(&record.op, payload.len() as u64, false)?;
        self.saved_ahead = self.saved_ahead.saturating_sub(1);
        if self.saved_ahead == 0 {
            let waiting = self.job.queue.waiting(SAVE_AHEAD);
            for (op, payload) in &waiting {
                self.applier.save(op, *payload, true)?;
            }
            self.saved_ahead = waiting.len();
        }
        Ok(())
    }

    /// Repair begins: keeps the replica as it is, if it is a state that the source had. What can be kept only at a cost is not kept: repair goes on all the same.
    pub(super) fn keep_image(&mut self) -> Result<(), Fault> {
        let home = self.job.home.clone();
        let coherent = home.state().filter(|state| home.keeps_images && state.coherent && state.damage == 0);
        let Some(applied) = coherent.map(|state| state.applied) else { return Ok(()) };
        let begun = machine::now();
        let (queue, outbox) = (self.job.queue.clone(), self.job.outbox.clone());
        let mut go_on = || {
            outbox.alive();
            !queue.is_cancelled()
        };
        match image::take(home.meta.as_fd(), home.tree.as_fd(), applied, &mut go_on) {
            Ok(taken) => {
                let millis = u64::try_from(machine::since(begun).as_millis()).unwrap_or(u64::MAX);
                tracing::info!(event = "image", name = %home.name, number = applied, millis, "the last coherent state is kept");
                self.job.facts.update(|s| s.image = Some(taken));
            }
            Err(image::Failed::Unsupported) => self.begin_undo(applied),
            Err(image::Failed::Stopped) => return Err(Fault::retry("the session ends")),
            Err(image::Failed::System(e)) => {
                let text = crate::error::text(&e);
                tracing::warn!(name = %home.name, "the last coherent state cannot be kept: {text}");
                self.job.facts.error(format!("the last coherent state cannot be kept: {text}"));
            }
        }
        Ok(())
    }

    /// The file system cannot share data: what is changed is saved instead, from here on.
    fn begin_undo(&mut self, applied: u64) {
        let home = &self.job.home;
        let run = home.state().map_or(self.job.incarnation, |state| state.incarnation);
        self.saved_ahead = 0;
        match home.undo.begin(home.meta.as_fd(), applied, run) {
            Ok(begun) => {
                tracing::info!(event = "undo", name = %home.name, number = applied, "the undo log begins");
                self.job.facts.update(|s| s.undo = Some(begun));
            }
            Err(e) => {
                let text = crate::error::text(&e);
                tracing::warn!(name = %home.name, "the last coherent state cannot be kept: {text}");
                self.job.facts.error(format!("the last coherent state cannot be kept: {text}"));
            }
        }
    }

    /// Repair is over.
    pub(super) fn forget_image(&self) {
        let home = &self.job.home;
        if home.undo.is_active() {
            home.quota.unsure();
        }
        match image::forget(home.meta.as_fd()).and_then(|()| home.undo.forget(home.meta.as_fd())) {
            Ok(()) => self.job.facts.update(|s| (s.image, s.undo) = (None, None)),
            Err(e) => self.job.facts.error(format!("cannot remove an image: {}", crate::error::text(&e))),
        }
    }
}

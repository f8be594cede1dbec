//! While the target is away (S3, S11): what is queued is remembered as well as if it were held, so that a queue which has become too long is given up
//! whole for what it changed (R1), and what was written over and over travels once. What is remembered stands in `map::Shadow`.
//!
//! What was queued when the connection was lost stays in the queue in any case: the target may have some of it, and nobody knows which.

use crate::backlog::Place;
use crate::core::{Core, held_limit, seconds};
use crate::map::{Gate, Held, Lost, Shadow, Taken};
use crate::stand::StandFile;
use platform::killpoint::{self, KillPoint};
use platform::sys;
use platform::tree::Node;
use std::sync::Arc;

/// What is known of the queue behind a place.
#[derive(Debug)]
pub(crate) struct Away {
    shadow: Shadow<Arc<Node>>,
    place: Place,
    /// What the next daemon was told then; what was changed before that is in the queue before the place.
    since: Option<i64>,
    /// What has not changed since is on the target once it has what is queued before the place.
    same_before: i64,
    stamp: u64,
}

impl Core {
    /// The connection is lost: what is queued from now on is not sent before another greeting.
    pub fn begin_away(&mut self) {
        if !matches!(self.gate, Gate::Clean) || self.away.is_some() {
            return;
        }
        let place = self.backlog.place();
        self.away = Some(Box::new(Away {
            shadow: Shadow::new(held_limit(self.backlog.limit_bytes()), place.newest()),
            place,
            since: self.stand.as_ref().and_then(StandFile::since),
            same_before: seconds() - 2,
            stamp: sys::now_ns(),
        }));
    }

    /// What the record that was numbered last changed. Every record is told of while everything is clean.
    pub fn tell(&mut self, change: impl FnOnce(&mut Held<Arc<Node>>) -> Result<(), Lost>) {
        if let (Some(away), Gate::Clean) = (&mut self.away, &self.gate) {
            away.shadow.tell(self.backlog.newest(), change);
        }
    }

    /// The queue is full: what came into it since the connection was lost is given up for what it changed, and from now on things are held. `false`: what
    /// changed is not known, and the queue is as it was.
    pub fn swallow(&mut self) -> bool {
        let Some(away) = self.away.take() else { return false };
        let Some(Taken { held, forsaken }) = away.shadow.take(self.backlog.newest()) else { return false };
        let (operations, bytes) = (self.backlog.operations(), self.backlog.bytes());
        // Before anything goes from the journal: a daemon that comes after this one looks for it on the source.
        self.note_stand(away.since);
        killpoint::pass(KillPoint::SwallowNoted);
        match self.backlog.cut(&away.place) {
            Ok(true) => {
                self.share.cut(self.backlog.newest());
                killpoint::pass(KillPoint::Swallowed);
            }
            Ok(false) => return false,
            Err(error) => {
                let why = format!("{error}; source and target will be compared");
                self.all_dirty(&why);
                return true;
            }
        }
        let given_up = (operations - self.backlog.operations(), bytes - self.backlog.bytes());
        tracing::warn!(
            event = "swallowed",
            operations = given_up.0,
            bytes = given_up.1,
            entries = held.entries(),
            "the backlog is full; what was queued while the target is away is given up for what it changed"
        );
        self.absorbed += given_up.0;
        self.absorbed_bytes += given_up.1;
        self.absorbed_since = self.absorbed_since.or(Some(away.stamp));
        for node in forsaken {
            node.set_orphan(false);
        }
        self.hold_as(held, away.same_before);
        // Numbers are given out again that stood for something else: who waits for one of them is told, and nobody greets with them.
        let newest = self.backlog.newest();
        self.questions.retain(|seq, _| *seq <= newest);
        self.flags.given_up(newest);
        self.marks = crate::commit::Marks::default();
        self.sending.cut(newest);
        self.generation += 1;
        true
    }
}

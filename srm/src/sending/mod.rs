//! Flow rules (S4): send at once, or hold until a size, an age or a time of day is reached. `rule` is what is said, `state` decides (pure); here is what follows from
//! it: what comes next waits in the backlog, lanes stand still, nothing is repaired, and who waits for the target has everything sent meanwhile.
//!
//! While something is held the target might as well be away: what is queued is remembered as well as if it were held in the map (`away`), so that a queue that is
//! full is given up for what it changed, and no application waits for room. The connection stays; heartbeats are not held.

mod rule;
mod state;

pub use rule::{Rule, is_within};
pub(crate) use state::Sending;

use crate::Srm;
use crate::core::{Core, Link};
use crate::map::Gate;
use crate::status::{CommitMode, SendStatus};
use platform::{machine, sys};
use state::{Amount, Moved, Queue};
use std::time::Duration;

/// Rules that hold something were asked for, and applications wait for the target in this mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in commit mode {0} applications wait for the target, so nothing can be held back from it")]
pub struct NotHeld(pub CommitMode);

impl NotHeld {
    /// Whether these rules go with this mode.
    pub fn check(mode: CommitMode, rules: &[Rule]) -> Result<(), Self> {
        let holds = !rules.is_empty() && !rules.contains(&Rule::Now);
        if holds && mode.waits() { Err(Self(mode)) } else { Ok(()) }
    }
}

/// Nothing is held, as far as this one is concerned, until it is dropped.
#[must_use = "what is held is sent for as long as this is kept"]
#[derive(Debug)]
pub struct Meanwhile<'a> {
    srm: &'a Srm,
    of_a_user: bool,
}

impl Drop for Meanwhile<'_> {
    fn drop(&mut self) {
        self.srm.change_sending(
            |core| {
                if self.of_a_user { core.sending.end_waiting() } else { core.sending.end_working() }
            },
        );
    }
}

impl Core {
    /// Looks at whether what is queued may be sent now, and does what follows from it. To be called when time has passed, and before anything is sent.
    pub(crate) fn look_at_sending(&mut self) -> Moved {
        if self.sending.rules().is_empty() && self.sending.is_open() {
            return Moved::default();
        }
        let (queue, unsent) = (self.queue_now(), self.unsent());
        let moved = self.sending.look(&queue, machine::steady_ns(), unsent);
        let up = matches!(self.link, Link::Up);
        if moved.let_go {
            self.goes_on();
        }
        if moved.opened && up && matches!(self.gate, Gate::Due) && !self.bypass {
            // The greeting begins a pass.
            self.generation += 1;
        }
        self.hold_lanes(!self.sending.lets_repair());
        if up && self.is_held_back() {
            self.begin_away();
        }
        moved
    }

    /// What was held is sent from now on.
    fn goes_on(&mut self) {
        // Who waits for room waits for what the target takes from now on.
        self.progress_at = machine::now();
        if matches!(self.link, Link::Up) {
            // What is behind its place is sent now.
            self.away = None;
        }
    }

    /// What is next in the queue, or would be, is not sent now.
    pub(crate) fn is_held_back(&self) -> bool {
        !self.sending.lets_go(self.backlog.next_to_send())
    }

    /// Something waits for a rule.
    pub(crate) fn waits_for_a_rule(&self) -> bool {
        let repair = !matches!(self.gate, Gate::Clean) && !self.sending.lets_repair();
        repair || self.sending.held().operations > 0
    }

    /// An operation was queued or remembered.
    pub(crate) fn count_held(&mut self, bytes: u64) {
        if !self.sending.is_open() {
            self.sending.add(bytes, machine::steady_ns());
        }
    }

    fn queue_now(&self) -> Queue {
        Queue {
            newest: self.backlog.newest(),
            sent: self.backlog.next_to_send().prev(),
            clean: matches!(self.gate, Gate::Clean),
            repair: matches!(self.gate, Gate::Due | Gate::Pass(_)),
        }
    }

    /// What is queued and was not sent, and what is remembered.
    fn unsent(&self) -> Amount {
        let oldest = [self.backlog.oldest_unsent_stamp(), self.absorbed_since].into_iter().flatten().min();
        let operations = self.backlog.unsent() + self.absorbed;
        // Of what is not in memory nobody knows the age without reading it.
        let age = oldest.map_or(0, |stamp| sys::now_ns().saturating_sub(stamp));
        let since = (operations > 0).then(|| machine::steady_ns().saturating_sub(age));
        Amount { operations, bytes: self.backlog.unsent_bytes() + self.absorbed_bytes, since }
    }

    /// What is to be seen of it.
    pub(crate) fn send_status(&self) -> SendStatus {
        let held = self.sending.held();
        let (now, second) = (machine::steady_ns(), sys::now_ns() / 1_000_000_000 % 60);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let minute = if self.sending.has_windows() { sys::minute_of_day() } else { None };
        SendStatus {
            rules: self.sending.rules().to_vec(),
            holding: self.waits_for_a_rule(),
            operations: held.operations,
            bytes: held.bytes,
            millis: held.since.map_or(0, |since| now.saturating_sub(since) / 1_000_000),
            opens_in_ms: self.sending.lets_go_in(now, minute, second).map(millis),
        }
    }
}

impl Srm {
    /// The rules, and what they hold.
    pub fn send_status(&self) -> SendStatus {
        self.core.lock().send_status()
    }

    /// Other rules from now on. What is queued and was not sent is held by them too.
    pub fn set_send_rules(&self, rules: &[Rule]) -> Result<(), NotHeld> {
        let minute = sys::minute_of_day();
        self.change_sending(|core| {
            NotHeld::check(core.commit.mode, rules)?;
            core.sending.set_rules(rules, minute);
            Ok(())
        })
    }

    /// All that is held now is sent, with the repair that runs or is due.
    pub fn let_go(&self) {
        self.change_sending(|core| {
            let queue = core.queue_now();
            core.sending.let_go(&queue);
            core.goes_on();
        });
        self.wake();
        self.changed.notify_all();
    }

    /// Somebody waits for the target: nothing is held until this is dropped.
    pub fn let_go_meanwhile(&self) -> Meanwhile<'_> {
        self.change_sending(|core| core.sending.begin_waiting());
        Meanwhile { srm: self, of_a_user: true }
    }

    /// The mount itself does something that waits for the target: only windows hold it until this is dropped.
    pub(crate) fn work_meanwhile(&self) -> Meanwhile<'_> {
        self.change_sending(|core| core.sending.begin_working());
        Meanwhile { srm: self, of_a_user: false }
    }

    fn change_sending<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.lock();
        let done = change(&mut core);
        let moved = core.look_at_sending();
        drop(core);
        if moved.let_go {
            self.wake();
            self.changed.notify_all();
        }
        done
    }
}

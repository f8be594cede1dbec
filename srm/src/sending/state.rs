//! Whether what comes next may be sent (S4): a state machine that is told what is queued, how late it is and who waits for the target. Pure. What follows from
//! it for the connection, the lanes and the map stands in `super`.
//!
//! A rule on size or age lets go of what is queued at that moment, by its newest number; what comes after it is held again. Where something is to be repaired then, all
//! of the repair is let go with it. A window of time is open for everything as long as it lasts, and closed for everything after it.

use super::rule::{Rule, is_within};
use protocol::SeqNo;
use std::time::Duration;

/// An amount of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub operations: u64,
    /// As they travel.
    pub bytes: u64,
    /// The oldest of them: nanoseconds on a clock that only goes on.
    pub since: Option<u64>,
}

/// What the queue looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// The newest number.
    pub newest: SeqNo,
    /// The newest that was handed out to be sent.
    pub sent: SeqNo,
    /// Everything is sent: nothing is dirty.
    pub clean: bool,
    /// Source and target are being compared, or are to be, with nothing remembered one by one.
    pub repair: bool,
}

/// What has changed with a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "who sends is woken"]
pub(crate) struct Moved {
    /// Something is let go that was held: whoever sends is to be woken.
    pub let_go: bool,
    /// From now on everything may be sent, which was not so before.
    pub opened: bool,
}

/// See the module.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // independent facts, each named where it stands
pub(crate) struct Sending {
    rules: Vec<Rule>,
    /// A window is open.
    in_window: bool,
    /// A window has closed, or there are other rules: what was let go and was not sent is held again.
    strictly: bool,
    /// Who waits for the target.
    waiting: u32,
    /// Work of the mount's own that waits for the target. Only windows hold it.
    working: u32,
    /// A repair was let go: everything is, until nothing is dirty.
    whole: bool,
    open: bool,
    /// Up to this number all is let go.
    until: SeqNo,
    /// What is not.
    held: Amount,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            in_window: false,
            strictly: false,
            waiting: 0,
            working: 0,
            whole: false,
            open: true,
            until: SeqNo::ZERO,
            held: Amount::default(),
        }
    }
}

impl Sending {
    /// The rules, but for "now".
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Other rules from now on: [`Self::look`] follows. With "now" among them nothing is held.
    pub fn set_rules(&mut self, rules: &[Rule], minute: Option<u32>) {
        self.rules = if rules.contains(&Rule::Now) { Vec::new() } else { rules.to_vec() };
        self.strictly = true;
        self.tell_time(minute);
    }

    /// Whether there is a window, and what is repaired is held too.
    pub fn has_windows(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::Window(..)))
    }

    /// What time of day it is; `None` where nobody knows: then no window is open.
    pub fn tell_time(&mut self, minute: Option<u32>) {
        let was = self.in_window;
        let holds = |rule: &Rule| matches!((rule, minute), (Rule::Window(from, to), Some(minute)) if is_within((*from, *to), minute));
        self.in_window = self.rules.iter().any(holds);
        self.strictly |= was && !self.in_window;
    }

    /// Somebody begins to wait for the target: nothing is held meanwhile.
    pub fn begin_waiting(&mut self) {
        self.waiting += 1;
    }

    /// He does no more.
    pub fn end_waiting(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// The mount itself begins something that waits for the target: nothing but windows hold it.
    pub fn begin_working(&mut self) {
        self.working += 1;
    }

    /// That is over.
    pub fn end_working(&mut self) {
        self.working = self.working.saturating_sub(1);
    }

    /// An operation of so many bytes was queued or remembered.
    pub fn add(&mut self, bytes: u64, now: u64) {
        if !self.open {
            self.held.operations += 1;
            self.held.bytes += bytes;
            self.held.since.get_or_insert(now);
        }
    }

    /// Numbers behind this one were given up for what they changed.
    pub fn cut(&mut self, newest: SeqNo) {
        if self.until > newest {
            // What was let go of them is now something to repair.
            (self.until, self.whole) = (newest, true);
        }
    }

    /// All that is held now is let go: what is queued, and the repair that there is to be.
    pub fn let_go(&mut self, queue: &Queue) {
        if queue.clean {
            self.until = self.until.max(queue.newest);
        } else {
            self.whole = true;
        }
        self.held = Amount::default();
    }

    /// Looks at what is the case now; `unsent`: what is queued and was not sent, and what is remembered.
    pub fn look(&mut self, queue: &Queue, now: u64, unsent: Amount) -> Moved {
        let was = self.open;
        let mut moved = Moved::default();
        if !was && self.is_due(now) {
            self.let_go(queue);
            moved.let_go = true;
        }
        if self.whole && queue.clean {
            self.whole = false;
            // With the mark that ends the repair.
            self.until = queue.newest;
        }
        let own = !self.has_windows() && (queue.repair || self.working > 0);
        self.open = self.rules.is_empty() || self.in_window || self.waiting > 0 || self.whole || own;
        match (was, self.open) {
            (false, true) => {
                self.held = Amount::default();
                (moved.let_go, moved.opened) = (true, true);
            }
            (true, false) if self.strictly => {
                self.until = queue.sent;
                self.held = unsent;
            }
            (true, false) => {
                self.until = queue.newest;
                self.held = Amount::default();
            }
            // Also with other rules: what was let go stays so.
            (false, false) | (true, true) => {}
        }
        if !self.open {
            self.strictly = false;
        }
        moved
    }

    fn is_due(&self, now: u64) -> bool {
        self.rules.iter().any(|rule| match rule {
            Rule::SizeBytes(bytes) => self.held.bytes >= *bytes,
            Rule::AgeMs(_) => self.age_rest(*rule, now).is_some_and(|rest| rest.is_zero()),
            Rule::Now | Rule::Window(..) => false,
        })
    }

    /// How long it is until a rule on age lets go of what is held; `None`: nothing is held, or it is another rule.
    fn age_rest(&self, rule: Rule, now: u64) -> Option<Duration> {
        let old = Duration::from_nanos(now.saturating_sub(self.held.since?));
        Some(rule.age()?.saturating_sub(old))
    }

    /// Whether everything may be sent.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether this number may be sent.
    pub fn lets_go(&self, seq: SeqNo) -> bool {
        self.open || seq <= self.until
    }

    /// Whether a repair may begin or go on.
    pub fn lets_repair(&self) -> bool {
        self.open || !self.has_windows()
    }

    /// What is held.
    pub fn held(&self) -> Amount {
        if self.open { Amount::default() } else { self.held }
    }

    /// How long it is until time alone lets go of what is held; `None`: it never does, or nothing is held. `second`: of the minute.
    pub fn lets_go_in(&self, now: u64, minute: Option<u32>, second: u64) -> Option<Duration> {
        if self.open {
            return None;
        }
        let window = |rule: &Rule| {
            let whole = Duration::from_secs(60 * u64::from(rule.opens_in(minute?)?));
            Some(whole.saturating_sub(Duration::from_secs(second)))
        };
        self.rules.iter().flat_map(|rule| [window(rule), self.age_rest(*rule, now)]).flatten().min()
    }
}

#[cfg(test)]
mod tests;

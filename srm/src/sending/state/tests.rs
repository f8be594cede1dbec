//! Vectors of the rules.

use super::*;

const SECOND: u64 = 1_000_000_000;
const NOON: Option<u32> = Some(12 * 60);
const NIGHT: Rule = Rule::Window(22 * 60, 6 * 60);

/// A queue from which everything that may be sent is, one number at a time, and what was sent of it.
struct Rig {
    sending: Sending,
    queue: Queue,
    now: u64,
}

impl Rig {
    fn new(rules: &[Rule]) -> Self {
        let queue = Queue { newest: SeqNo::ZERO, sent: SeqNo::ZERO, clean: true, repair: false };
        let mut rig = Self { sending: Sending::default(), queue, now: 100 * SECOND };
        rig.sending.set_rules(rules, NOON);
        let _open = rig.look();
        rig
    }

    fn closes(&mut self) {
        assert!(self.sending.is_open());
        assert!(!self.look().let_go && !self.sending.is_open());
    }

    fn look(&mut self) -> Moved {
        let behind = self.queue.newest.get() - self.queue.sent.get();
        let since = (behind > 0).then_some(self.now);
        let amount = Amount { operations: behind, bytes: 10 * behind, since };
        self.sending.look(&self.queue, self.now, amount)
    }

    /// Queues operations of 10 bytes.
    fn queue(&mut self, n: u64) {
        for _ in 0..n {
            self.queue.newest = self.queue.newest.next();
            self.sending.add(10, self.now);
        }
    }

    /// Looks, sends what may be sent, and answers the newest number of it.
    fn sent(&mut self) -> u64 {
        let _moved = self.look();
        while self.queue.sent < self.queue.newest && self.sending.lets_go(self.queue.sent.next()) {
            self.queue.sent = self.queue.sent.next();
        }
        self.queue.sent.get()
    }

    fn at(&mut self, minute: u32) {
        self.sending.tell_time(Some(minute));
    }
}

#[test]
fn without_rules_everything_goes_at_once() {
    for rules in [&[][..], &[Rule::Now], &[Rule::SizeBytes(1 << 40), Rule::Now]] {
        let mut rig = Rig::new(rules);
        rig.queue(3);
        assert_eq!((rig.sent(), rig.sending.held()), (3, Amount::default()));
        assert!(rig.sending.lets_repair() && rig.sending.is_open());
    }
}

#[test]
fn a_size_lets_go_of_what_is_there_and_then_holds_again() {
    let mut rig = Rig::new(&[Rule::SizeBytes(50)]);
    rig.queue(4);
    assert_eq!(rig.sent(), 0);
    assert_eq!(rig.sending.held(), Amount { operations: 4, bytes: 40, since: Some(rig.now) });
    rig.queue(1);
    assert!(rig.look().let_go);
    rig.queue(4);
    assert_eq!(rig.sent(), 5, "what came later is held");
    assert_eq!((rig.sending.held().operations, rig.sending.held().bytes), (4, 40));
    rig.queue(1);
    assert_eq!(rig.sent(), 10);
}

#[test]
fn an_age_lets_go_of_what_is_there_and_time_alone_is_enough() {
    let mut rig = Rig::new(&[Rule::AgeMs(5000)]);
    rig.now += 60 * SECOND;
    assert_eq!((rig.sent(), rig.sending.lets_go_in(rig.now, NOON, 0)), (0, None), "nothing is held");
    rig.queue(1);
    rig.now += 4 * SECOND;
    rig.queue(1);
    assert_eq!(rig.sent(), 0);
    assert_eq!(rig.sending.lets_go_in(rig.now, NOON, 0), Some(Duration::from_secs(1)));
    rig.now += SECOND;
    assert_eq!(rig.sent(), 2);
    rig.queue(1);
    rig.now += SECOND;
    assert_eq!(rig.sent(), 2, "counted anew");
}

#[test]
fn any_rule_lets_go() {
    let mut rig = Rig::new(&[Rule::SizeBytes(50), Rule::AgeMs(5000), NIGHT]);
    rig.queue(5);
    assert_eq!(rig.sent(), 5);
    rig.queue(1);
    rig.now += 5 * SECOND;
    assert_eq!(rig.sent(), 6);
    rig.queue(1);
    assert_eq!(rig.sent(), 6);
    rig.at(22 * 60);
    assert_eq!(rig.sent(), 7);
}

#[test]
fn a_window_is_open_for_everything_and_closed_for_everything_after_it() {
    let mut rig = Rig::new(&[NIGHT]);
    rig.queue(2);
    rig.now += 3600 * SECOND;
    assert_eq!(rig.sent(), 0);
    assert_eq!(rig.sending.lets_go_in(rig.now, NOON, 30), Some(Duration::from_secs(10 * 3600 - 30)));
    rig.at(22 * 60);
    assert_eq!(rig.look(), Moved { let_go: true, opened: true });
    assert_eq!(rig.sent(), 2);
    rig.queue(1);
    assert_eq!(rig.sent(), 3, "it goes on");
    // What is not sent when it closes is held.
    rig.queue(3);
    rig.at(6 * 60);
    rig.closes();
    assert_eq!((rig.sent(), rig.sending.held().operations, rig.sending.held().bytes), (3, 3, 30));
    // What was sent before may be sent again: a connection may have been lost.
    rig.queue.sent = SeqNo::ZERO;
    assert_eq!(rig.sent(), 3);
}

#[test]
fn only_windows_hold_a_repair() {
    for (rules, held) in [(&[Rule::SizeBytes(1000)][..], false), (&[NIGHT], true), (&[Rule::AgeMs(9000), NIGHT], true)]
    {
        let mut rig = Rig::new(rules);
        rig.queue(1);
        (rig.queue.clean, rig.queue.repair) = (false, true);
        assert_eq!((rig.sent(), rig.sending.lets_repair()), (u64::from(!held), !held), "{rules:?}");
        // Its last mark goes with it.
        rig.queue(1);
        (rig.queue.clean, rig.queue.repair) = (true, false);
        assert_eq!(rig.sent(), 2 * u64::from(!held), "{rules:?}");
        rig.queue(1);
        assert_eq!(rig.sent(), 2 * u64::from(!held), "{rules:?}");
    }
}

#[test]
fn a_repair_that_was_let_go_goes_to_its_end() {
    let mut rig = Rig::new(&[Rule::SizeBytes(30), NIGHT]);
    (rig.queue.clean, rig.queue.repair) = (false, true);
    rig.queue(2);
    assert_eq!(rig.sent(), 0);
    rig.queue(1);
    assert_eq!(rig.sent(), 3);
    rig.queue(7);
    assert_eq!(rig.sent(), 10);
    rig.queue(1);
    (rig.queue.clean, rig.queue.repair) = (true, false);
    rig.closes();
    rig.queue(1);
    assert_eq!((rig.sent(), rig.sending.held().operations), (11, 1));
}

#[test]
fn what_is_remembered_counts_and_waits_for_a_rule() {
    let mut rig = Rig::new(&[Rule::SizeBytes(100)]);
    rig.queue(5);
    // The backlog was full: what was queued is given up for what it changed.
    rig.queue.newest = SeqNo::ZERO;
    rig.queue.clean = false;
    rig.sending.cut(SeqNo::ZERO);
    assert!(!rig.look().let_go && !rig.sending.is_open());
    (0..5).for_each(|_| rig.sending.add(10, rig.now));
    assert!(rig.look().opened, "all of it goes, whatever it is by now");
}

#[test]
fn what_was_let_go_and_then_given_up_is_repaired_at_once() {
    let mut rig = Rig::new(&[Rule::SizeBytes(50)]);
    rig.queue(5);
    assert!(rig.look().let_go);
    (rig.queue.newest, rig.queue.clean) = (SeqNo::new(2), false);
    rig.sending.cut(SeqNo::new(2));
    assert!(rig.look().opened);
}

#[test]
fn nothing_is_held_while_somebody_waits() {
    for rule in [NIGHT, Rule::SizeBytes(1 << 30), Rule::AgeMs(1 << 30)] {
        let mut rig = Rig::new(&[rule]);
        rig.queue(1);
        rig.sending.begin_waiting();
        assert!(rig.look().opened);
        rig.queue(1);
        assert_eq!(rig.sent(), 2);
        rig.sending.end_waiting();
        rig.queue(1);
        rig.closes();
        rig.queue(1);
        assert_eq!((rig.sent(), rig.sending.held().operations), (3, 1));
    }
}

#[test]
fn what_the_mount_does_by_itself_waits_for_windows_only() {
    let mut rig = Rig::new(&[Rule::AgeMs(9000)]);
    rig.sending.begin_working();
    rig.queue(1);
    assert_eq!(rig.sent(), 1);
    let mut rig = Rig::new(&[NIGHT]);
    rig.sending.begin_working();
    rig.queue(1);
    assert_eq!(rig.sent(), 0);
}

#[test]
fn other_rules_hold_what_was_not_sent() {
    let mut rig = Rig::new(&[]);
    rig.queue(2);
    assert_eq!(rig.sent(), 2);
    rig.queue(2);
    rig.sending.set_rules(&[Rule::SizeBytes(40)], NOON);
    assert_eq!((rig.sent(), rig.sending.held().bytes), (2, 20));
    rig.queue(2);
    assert_eq!(rig.sent(), 6);
    rig.queue(1);
    rig.sending.set_rules(&[Rule::SizeBytes(10)], NOON);
    assert_eq!(rig.sent(), 7, "what is held counts for other rules too");
    rig.queue(1);
    rig.sending.set_rules(&[NIGHT], NOON);
    assert_eq!(rig.sent(), 7);
    rig.sending.set_rules(&[Rule::Now], NOON);
    assert_eq!(rig.sent(), 8);
}

#[test]
fn where_nobody_knows_the_time_no_window_is_open() {
    let mut rig = Rig::new(&[Rule::Window(0, 24 * 60)]);
    assert!(rig.sending.is_open());
    rig.sending.tell_time(None);
    rig.queue(1);
    assert_eq!((rig.sent(), rig.sending.lets_go_in(rig.now, None, 0)), (0, None));
}

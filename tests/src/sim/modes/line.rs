//! What is between source and target: a connection that takes records there and answers back, one at a time, as long as it holds.

use super::bug::Bug;
use super::check::{Checked, Promise};
use super::moments::Moments;
use super::replica::Replica;
use bytes::Bytes;
use platform::killpoint::{self, KillPoint};
use protocol::frame::{HEAD_BYTES, Head};
use protocol::{Ack, Answer, Frame, Message, Op, Phase, Record, SeqNo, Verdict};
use srm::{Rejected, Srm};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// What the bounds count for a record beyond its bytes (`srm/src/backlog.rs`).
const FRAME_OVERHEAD_BYTES: u64 = 96;
/// Greetings until both agree, at the most.
const GREETINGS: usize = 6;

thread_local! {
    static ASKED: RefCell<Option<(Rc<Line>, Arc<Srm>)>> = const { RefCell::new(None) };
}

/// See the module.
pub struct Line {
    pub target: RefCell<Replica>,
    pub moments: Rc<Moments>,
    pub fault: RefCell<Option<(Promise, String)>>,
    /// Smallest cost of an operation's record, in bytes as the bounds count them.
    least_cost: Cell<u64>,
    up: Cell<bool>,
    busy: Cell<bool>,
    generation: Cell<u64>,
    bug: Option<Bug>,
}

fn record_of(frame: &Frame) -> Option<(Record, Bytes)> {
    let (head, header) = frame.front.split_first_chunk::<HEAD_BYTES>()?;
    match Head::parse(head).ok()?.message(header, frame.payload.clone()).ok()? {
        Message::Record(record, payload) => Some((record, payload)),
        _ => None,
    }
}

impl Line {
    pub fn new(moments: Rc<Moments>, bug: Option<Bug>) -> Self {
        Self {
            target: RefCell::new(Replica::new(bug)),
            moments,
            fault: RefCell::default(),
            least_cost: Cell::new(u64::MAX),
            up: Cell::new(false),
            busy: Cell::new(false),
            generation: Cell::new(0),
            bug,
        }
    }

    /// What an operation's record costs at the least, in bytes; 0: none was seen.
    pub fn cost(&self) -> u64 {
        Some(self.least_cost.get()).filter(|cost| *cost < u64::MAX).unwrap_or(0)
    }

    /// While this runs, what the source wakes the connection for is done at once: it waits for an answer.
    pub fn at_once<T>(self: &Rc<Self>, srm: &Arc<Srm>, run: impl FnOnce() -> T) -> T {
        ASKED.set(Some((Rc::clone(self), Arc::clone(srm))));
        let result = run();
        ASKED.set(None);
        result
    }

    /// Nobody waits any more.
    pub fn forget_who_asked() {
        ASKED.set(None);
    }

    /// For [`Srm::on_wake`].
    pub fn wake() {
        let asked = ASKED.with_borrow(Clone::clone);
        if let Some((line, srm)) = asked
            && srm.is_free()
        {
            line.run(&srm);
        }
    }

    /// Everything that can travel does.
    pub fn run(&self, srm: &Arc<Srm>) {
        if self.busy.replace(true) {
            return;
        }
        while self.deliver(srm) {}
        self.acknowledge(srm);
        self.busy.set(false);
    }

    /// Connects, as often as the two ask for it.
    pub fn connect(&self, srm: &Arc<Srm>) -> Checked {
        self.busy.set(false);
        for _ in 0..GREETINGS {
            let (hello, generation) = srm.hello();
            let ack = self.target.borrow_mut().welcome(&hello);
            match srm.welcomed(generation, &ack) {
                Ok(()) => {
                    self.generation.set(generation);
                    self.up.set(true);
                    // What an earlier run left is not said to one that goes on with another.
                    if !ack.damaged || ack.position.is_none_or(|at| at.incarnation != hello.incarnation) {
                        return Ok(());
                    }
                    srm.lost_track("the target says that it is damaged");
                }
                Err(Rejected::Again) => {}
                Err(Rejected::Replica(text)) => return Err((Promise::Recovery, text)),
            }
        }
        Err((Promise::Recovery, "source and target greet each other without end".to_owned()))
    }

    /// The connection is gone if it is, and the source knows.
    pub fn notice(&self, srm: &Srm) {
        if self.up.get() && self.moments.is_link_down() && srm.is_free() {
            self.up.set(false);
            srm.lost("simulated");
        }
    }

    /// One record goes to the target, which applies it, and answers come back. `false`: there is none, or no connection.
    pub fn deliver(&self, srm: &Srm) -> bool {
        self.notice(srm);
        if !self.up.get() || self.fault.borrow().is_some() {
            return false;
        }
        let Ok(frame) = srm.next_frame(self.generation.get()) else {
            self.up.set(false);
            return false;
        };
        let Some(frame) = frame else { return false };
        killpoint::pass(KillPoint::Sent);
        if self.moments.is_link_down() {
            self.notice(srm);
            return false;
        }
        if self.bug == Some(Bug::EagerAck) {
            let applied = self.target.borrow().ack().applied.next();
            srm.acknowledged(Ack { applied, durable: SeqNo::ZERO });
        }
        let answer = self.moments.on_target(|| self.arrive(&frame));
        self.moments.end_source_if_due();
        if let Some((seq, answer)) = answer {
            self.moments.step("an answer is on its way");
            if !self.moments.is_link_down() || self.moments.is_target_dead() {
                let answer = if self.bug == Some(Bug::DeafToRefusal) {
                    Answer::Verdict(Verdict { errno: 0, unchanged: false })
                } else {
                    answer
                };
                srm.answered(seq, answer);
            }
        }
        self.notice(srm);
        true
    }

    fn arrive(&self, frame: &Frame) -> Option<(SeqNo, Answer)> {
        let Some((record, payload)) = record_of(frame) else {
            *self.fault.borrow_mut() = Some((Promise::Order, "a frame that is no record".to_owned()));
            return None;
        };
        if matches!(record.op, Op::Write { .. } | Op::Create { .. } | Op::Unlink { .. }) && record.phase == Phase::Plain
        {
            self.least_cost.set(self.least_cost.get().min(frame.len() as u64 + FRAME_OVERHEAD_BYTES));
        }
        let mut target = self.target.borrow_mut();
        target.receive(record.seq);
        match target.apply(&record, &payload, &self.moments) {
            Ok(answer) => answer.map(|answer| (record.seq, answer)),
            Err(fault) => {
                *self.fault.borrow_mut() = Some(fault);
                None
            }
        }
    }

    /// What the target has applied is acknowledged.
    pub fn acknowledge(&self, srm: &Srm) {
        self.notice(srm);
        if self.up.get() {
            let ack = self.target.borrow().ack();
            self.moments.step("an acknowledgement is on its way");
            if !self.moments.is_link_down() {
                srm.acknowledged(ack);
            }
            self.notice(srm);
        }
    }
}

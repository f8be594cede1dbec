//! The target, modelled: it carries records out one after the other, notes where it is, and comes back after a kill or a power cut. It finds fault with what
//! comes out of order, means something else than before, or would have an effect twice.

use super::bug::Bug;
use super::check::{Checked, Promise};
use super::moments::{Files, Loss, Moments, Place as Moment, after_power_cut};
use platform::killpoint::KillPoint;
use protocol::{
    Ack, Answer, At, Hello, HelloAck, Incarnation, Mark, NodeId, Op, Phase, Position, Record, RelPath, ReplicaId,
    SeqNo, VERSION, Verdict,
};
use srm::PassWork;
use std::collections::{BTreeMap, HashMap};

/// What an application is told by a target that has no room.
pub const ENOSPC: u32 = 28;

/// What is there, and what is kept without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub files: Files,
    orphans: BTreeMap<NodeId, u64>,
}

/// See the module.
#[derive(Default)]
pub struct Replica {
    pub store: Store,
    pub coherent: bool,
    /// It lost power, and was not repaired since.
    pub damaged: bool,
    /// The next proposal finds no room.
    pub full: bool,
    durable: (Store, SeqNo),
    incarnation: Option<Incarnation>,
    session: Option<Incarnation>,
    applied: SeqNo,
    received: SeqNo,
    /// Noted before it is carried out.
    intended: Option<SeqNo>,
    /// Carried out, and the position does not say so.
    effected: Option<SeqNo>,
    meant: HashMap<(Incarnation, SeqNo), (Op, Vec<u8>)>,
    bug: Option<Bug>,
}

fn text(path: &RelPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

fn value(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Store {
    /// What a pass does: all of the source, or what is under these names.
    pub fn bring_over(&mut self, work: &PassWork, source: &Files) {
        if work.all {
            self.files.clone_from(source);
            return;
        }
        for path in work.paths.iter().map(text) {
            match source.get(&path) {
                Some(content) => _ = self.files.insert(path, *content),
                None => _ = self.files.remove(&path),
            }
        }
    }

    /// Carries a record out. `again`: some of it may have been done. What is wrong with it, if anything is.
    fn carry_out(&mut self, record: &Record, payload: &[u8], again: bool) -> Result<(), String> {
        let strict = !again && !record.tolerant;
        match &record.op {
            _ if record.phase == Phase::Settled => {
                if let Op::Unlink { gone, .. } = &record.op
                    && !gone.orphan
                {
                    self.orphans.remove(&gone.node);
                }
            }
            Op::Write { place, .. } => match &place.at {
                At::Path(path) => match self.files.get_mut(&text(path)) {
                    Some(content) => *content = value(payload),
                    None if strict => return Err(format!("there is no {path} to write to")),
                    None => {}
                },
                At::Orphan => {
                    self.orphans.insert(place.node, value(payload));
                }
            },
            Op::Create { path, .. } => {
                let earlier = self.files.insert(text(path), 0);
                if strict && earlier.is_some() {
                    return Err(format!("{path} is there already"));
                }
            }
            Op::Unlink { path, gone, .. } => match self.files.remove(&text(path)) {
                Some(content) if gone.orphan => _ = self.orphans.insert(gone.node, content),
                None if strict => return Err(format!("there is no {path} to remove")),
                Some(_) | None => {}
            },
            Op::Link { from, to, .. } => match self.orphans.get(&from.node) {
                Some(content) => _ = self.files.insert(text(to), *content),
                // The name was never taken away.
                None if record.tolerant => {}
                None => return Err(format!("nothing is kept for {to}")),
            },
            Op::Reap { node } => _ = self.orphans.remove(node),
            Op::Mark(Mark::Restarted) => self.orphans.clear(),
            _ => {}
        }
        Ok(())
    }
}

impl Replica {
    pub fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    /// Lets the source in.
    pub fn welcome(&mut self, hello: &Hello) -> HelloAck {
        self.session = Some(hello.incarnation);
        let applied = if self.bug == Some(Bug::GreetReceived) { self.received } else { self.applied };
        HelloAck {
            version: VERSION,
            software: "simulated".to_owned(),
            replica: ReplicaId::from_bytes([5; 16]),
            position: self.incarnation.map(|incarnation| Position {
                incarnation,
                applied,
                durable: self.durable.1.min(self.applied),
            }),
            clean: false,
            empty: self.store.files.is_empty(),
            damaged: self.damaged,
            power_lost: self.damaged,
            features: protocol::Features::default(),
        }
    }

    /// What it acknowledges.
    pub fn ack(&self) -> Ack {
        Ack { applied: self.applied, durable: self.durable.1.min(self.applied) }
    }

    /// What was applied is durable.
    pub fn sync(&mut self) {
        self.durable = (self.store.clone(), self.applied);
    }

    /// A record has come.
    pub fn receive(&mut self, seq: SeqNo) {
        self.received = seq;
    }

    /// Applies a record. Answers what it says to it; it may have died meanwhile.
    pub fn apply(
        &mut self,
        record: &Record,
        payload: &[u8],
        moments: &Moments,
    ) -> Result<Option<Answer>, (Promise, String)> {
        let dies = |point| {
            moments.reach(Moment::Point(point));
            moments.is_target_dead()
        };
        let seq = record.seq;
        self.check_place(record, payload)?;
        let again = self.damaged || self.intended == Some(seq) && self.bug != Some(Bug::RepeatRecord);
        if record.phase == Phase::Settled && dies(KillPoint::TargetSettling) {
            return Ok(None);
        }
        self.intended = Some(seq);
        if dies(KillPoint::TargetIntended) {
            return Ok(None);
        }
        let refused = record.phase == Phase::Proposed && std::mem::take(&mut self.full);
        if !refused {
            let before = self.store.clone();
            let fault = |text| (Promise::Order, format!("record {seq}, {}: {text}", record.op.word()));
            self.store.carry_out(record, payload, again).map_err(fault)?;
            if self.effected == Some(seq) && self.store != before {
                return Err((Promise::Order, format!("record {seq} has an effect twice")));
            }
        }
        self.effected = Some(seq).filter(|_| !refused);
        let answer = (record.phase == Phase::Proposed).then(|| {
            let errno = if refused { ENOSPC } else { 0 };
            Answer::Verdict(Verdict { errno, unchanged: refused })
        });
        if answer.is_some() && dies(KillPoint::TargetJudged) {
            return Ok(None);
        }
        if dies(KillPoint::TargetApplied) {
            return Ok(answer.filter(|_| self.bug == Some(Bug::AnswerFirst)));
        }
        self.note(record);
        Ok(if dies(KillPoint::TargetPositioned) { None } else { answer })
    }

    fn note(&mut self, record: &Record) {
        (self.applied, self.intended, self.effected) = (record.seq, None, None);
        match record.op {
            Op::Mark(Mark::Incoherent) => self.coherent = false,
            Op::Mark(Mark::Coherent) => (self.coherent, self.damaged) = (true, false),
            Op::Mark(Mark::Barrier) => self.sync(),
            _ => {}
        }
    }

    /// Whether this is the record that is to come.
    fn check_place(&mut self, record: &Record, payload: &[u8]) -> Checked {
        let seq = record.seq;
        let Some(session) = self.session else {
            return Err((Promise::Order, "a record without a greeting".to_owned()));
        };
        if self.incarnation != Some(session) {
            // A new run of numbers.
            (self.incarnation, self.applied, self.intended, self.effected) = (Some(session), seq.prev(), None, None);
            self.durable.1 = SeqNo::ZERO;
        }
        if seq != self.applied.next() {
            return Err((Promise::Order, format!("record {seq} comes after {}", self.applied)));
        }
        let meant = (record.op.clone(), payload.to_vec());
        let earlier = self.meant.entry((session, seq)).or_insert_with(|| meant.clone());
        if *earlier != meant {
            return Err((Promise::Order, format!("number {seq} meant {:?}, and means {:?}", earlier.0, record.op)));
        }
        Ok(())
    }

    /// It comes back after a kill.
    pub fn restart(&mut self) {
        if self.bug == Some(Bug::LosePosition) && self.applied > SeqNo::ZERO {
            self.applied = self.applied.prev();
        }
    }

    /// It comes back after its machine lost power.
    pub fn power_cut(&mut self, loss: Loss) {
        let (durable, applied) = self.durable.clone();
        self.store.files = after_power_cut(&self.store.files, &durable.files, loss);
        self.store.orphans.clear();
        (self.applied, self.intended, self.effected) = (applied, None, None);
        (self.damaged, self.coherent, self.received) = (true, false, applied);
        self.sync();
    }
}

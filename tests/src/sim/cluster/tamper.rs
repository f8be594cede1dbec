//! The deliberate mistakes that stand in the connection: what is on its way becomes something else, with checksums that are right.

use super::bug::Bug;
use bytes::Bytes;
use protocol::{Frame, Mark, Message, NodeId, Op, Phase, Record};

/// One record in so many is changed.
const EVERY: u64 = 5;

/// What a mistake remembers.
#[derive(Default)]
pub(super) struct Tamper {
    bug: Option<Bug>,
    seen: u64,
    held: Option<(Record, Bytes)>,
    older: Option<(NodeId, Bytes)>,
    begins: bool,
    /// The next write is broken.
    pub break_next: bool,
}

fn encode(record: Record, payload: Bytes) -> Frame {
    Frame::encode(&Message::Record(record, payload))
}

impl Tamper {
    pub fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    /// What is sent in place of a record.
    pub fn sent(&mut self, mut record: Record, payload: Bytes) -> Vec<Frame> {
        let plain = record.phase == Phase::Plain && !matches!(record.op, Op::Mark(_));
        let write = plain && matches!(record.op, Op::Write { .. });
        self.seen += u64::from(plain);
        let due = plain && self.seen.is_multiple_of(EVERY);
        match self.bug {
            Some(Bug::SkipRecord) if due => record.op = Op::Mark(Mark::Barrier),
            Some(Bug::ZeroTail) if write && due => {
                let half = payload.len() / 2;
                let zeros = [&payload[..half], &vec![0; payload.len() - half]].concat();
                return vec![encode(record, zeros.into())];
            }
            Some(Bug::MendChecksum) if write && self.break_next => {
                self.break_next = false;
                let mut broken = payload.to_vec();
                broken[0] ^= 0x40;
                return vec![encode(record, broken.into())];
            }
            Some(Bug::RepeatOlder) if write => {
                let Op::Write { place, .. } = &record.op else { return vec![encode(record, payload)] };
                let older = self.older.replace((place.node, payload.clone()));
                if let Some((node, bytes)) = older.filter(|_| self.seen.is_multiple_of(3))
                    && node == place.node
                {
                    return vec![encode(record, bytes)];
                }
            }
            Some(Bug::SwapTwo) => return self.swapped(record, payload, plain),
            Some(Bug::FalseCoherent) if record.op == Op::Mark(Mark::Incoherent) && record.seq.get() > 1 => {
                record.op = Op::Mark(Mark::Barrier);
            }
            Some(Bug::LooseBeside) if record.seq.get() > u64::from(record.beside) + 1 => record.beside += 1,
            Some(Bug::EarlyCoherent) => {
                let first = std::mem::replace(&mut self.begins, record.op == Op::Mark(Mark::Incoherent));
                if first {
                    record.op = Op::Mark(Mark::Coherent);
                    return vec![encode(record, Bytes::new())];
                }
            }
            _ => {}
        }
        let payload = if matches!(record.op, Op::Mark(_)) { Bytes::new() } else { payload };
        vec![encode(record, payload)]
    }

    /// Every fourth pair of records that follow each other.
    fn swapped(&mut self, record: Record, payload: Bytes, plain: bool) -> Vec<Frame> {
        match self.held.take() {
            None if plain && self.seen.is_multiple_of(4) => {
                self.held = Some((record, payload));
                Vec::new()
            }
            None => vec![encode(record, payload)],
            Some((mut first, first_payload)) if plain => {
                let mut second = record;
                std::mem::swap(&mut first.op, &mut second.op);
                vec![encode(first, payload), encode(second, first_payload)]
            }
            Some((first, first_payload)) => vec![encode(first, first_payload), encode(record, payload)],
        }
    }

    /// A connection begins: nothing is held back.
    pub fn begin(&mut self) {
        self.held = None;
        self.begins = false;
    }

    /// What is heard in place of a message; `None`: nothing.
    pub fn heard(&mut self, mut message: Message) -> Option<Message> {
        match (self.bug, &mut message) {
            (Some(Bug::DeafToTrouble), Message::Trouble(_)) => return None,
            (Some(Bug::GreetAhead), Message::HelloAck(ack)) => {
                if let Some(position) = &mut ack.position {
                    position.applied = position.applied.next();
                }
            }
            _ => {}
        }
        Some(message)
    }
}

//! The source's end of a connection, as its session lets it (`scm/src/session.rs`).

use super::bug::Bug;
use super::history::Checker;
use super::net::{Conn, next_message, part};
use super::schedule::Side;
use super::wire::known_to_old;
use super::world::World;
use platform::killpoint::{self, KillPoint};
use protocol::frame::{HEAD_BYTES, Head};
use protocol::{BlockKind, Frame, HelloAck, Message};
use scm::stepped::{GATHER, HEARTBEAT, Stepped};
use srm::Rejected;
use std::time::Duration;

/// A source that hears nothing for so long takes its connection for lost.
const SILENCE: Duration = Duration::from_secs(4);

fn message_of(frame: &Frame) -> Option<Message> {
    let (head, header) = frame.front.split_first_chunk::<HEAD_BYTES>()?;
    Head::parse(head).ok()?.message(header, frame.payload.clone()).ok()
}

impl World {
    /// The source greets, unless it has a connection.
    pub(super) fn dial(&self) {
        if self.net.borrow_mut().open().is_some() {
            return;
        }
        let greeting = self.on_source(|daemon| daemon.srm.pause_before_hello().is_zero().then(|| daemon.srm.hello()));
        let Some(Some((mut hello, generation))) = greeting else { return };
        let run = u128::from_le_bytes(hello.incarnation.to_bytes());
        let packing = self.source.borrow().as_ref().and_then(|daemon| daemon.packing.clone());
        if packing.is_none() {
            hello.features = known_to_old(hello.features);
        }
        let (teller, greeting) = Stepped::greet(packing, hello);
        let mut conn = Conn::new(generation, run, teller, self.sim.time());
        conn.up.push(&greeting);
        self.tamper.borrow_mut().begin();
        self.net.borrow_mut().conns.push(conn);
        self.counts.borrow_mut().connections += 1;
    }

    /// Whether what there is waits for what comes next: it may for a while.
    pub(super) fn holds_back(&self) -> bool {
        let gathers = self.is_new(Side::Source) && self.on_source(|daemon| daemon.srm.gathers()) == Some(true);
        let (now, mut net) = (self.sim.time(), self.net.borrow_mut());
        let Some(conn) = net.open().filter(|conn| conn.welcomed) else { return false };
        if self.bug == Some(Bug::HeldForever) && conn.gathers_since.is_some() {
            return true;
        }
        if !gathers {
            conn.gathers_since = None;
            return false;
        }
        now.saturating_duration_since(*conn.gathers_since.get_or_insert(now)) < GATHER
    }

    /// Frames go into the connection.
    pub(super) fn send(&self, many: u64) {
        if self.holds_back() {
            self.counts.borrow_mut().gathered += 1;
            return;
        }
        let mut block = Vec::new();
        for _ in 0..many {
            let found =
                self.net.borrow_mut().open().filter(|conn| conn.welcomed && !conn.broken).map(|conn| conn.generation);
            let Some(generation) = found else { return };
            match self.on_source(|daemon| daemon.srm.next_frame(generation)) {
                None => return,
                Some(Err(_)) => return self.close(None),
                Some(Ok(None)) => break,
                Some(Ok(Some(frame))) => block.extend(self.told(&frame)),
            }
            if !self.net.borrow_mut().open().is_some_and(|conn| conn.teller.sends_blocks()) {
                self.leave(std::mem::take(&mut block));
            }
        }
        self.leave(block);
        self.beat();
        let _passed = self.on_source(|_| killpoint::pass(KillPoint::Sent));
    }

    /// Frames leave together.
    fn leave(&self, frames: Vec<Frame>) {
        if let Some(conn) = self.net.borrow_mut().open().filter(|_| !frames.is_empty()) {
            let (several, blocks) = (frames.len() > 1, conn.teller.sends_blocks());
            let sent = conn.teller.send(frames);
            if blocks && several && sent[0] == BlockKind::Plain as u8 {
                conn.up.push_plain(&sent);
            } else {
                conn.up.push(&sent);
            }
            (conn.sent_at, conn.gathers_since) = (self.sim.time(), None);
        }
    }

    /// Who has said nothing for long says that.
    fn beat(&self) {
        let (now, mut net) = (self.sim.time(), self.net.borrow_mut());
        let silent = |conn: &&mut Conn| {
            conn.welcomed && !conn.broken && now.saturating_duration_since(conn.sent_at) >= HEARTBEAT
        };
        if let Some(conn) = net.open().filter(silent) {
            let beat = conn.teller.beat();
            conn.up.push(&beat);
            conn.sent_at = now;
        }
    }

    /// The frames that go out for one.
    fn told(&self, frame: &Frame) -> Vec<Frame> {
        let Some(Message::Record(record, payload)) = message_of(frame) else {
            self.fail(Checker::Order, "what is sent is no record".to_owned());
        };
        let number = record.seq.get();
        let (run, last) = {
            let mut net = self.net.borrow_mut();
            let Some(conn) = net.open() else { return Vec::new() };
            conn.besides.insert(number, record.beside.into());
            (conn.run, conn.sent.replace(number))
        };
        let checked = self.history.borrow_mut().sends(run, last, number, &[&frame.front, &frame.payload]);
        self.check(checked);
        self.note(|| format!("-> {number} {}", record.op.word()));
        match self.bug {
            Some(_) => self.tamper.borrow_mut().sent(record, payload),
            None => vec![frame.clone()],
        }
    }

    /// Bytes arrive at the source. `locked`: somebody waits with locks for them, and what would take those is left for later.
    pub(super) fn down(&self, eighths: usize, locked: bool) {
        {
            let mut net = self.net.borrow_mut();
            if net.cut_down {
                return;
            }
            let Some(conn) = net.open() else { return };
            let bytes = part(&mut conn.down, eighths);
            conn.heard.extend(bytes);
        }
        loop {
            let read = {
                let mut net = self.net.borrow_mut();
                let Some(conn) = net.open() else { return };
                let before = conn.heard.clone();
                let read = next_message(&mut conn.heard);
                if locked && matches!(read, Ok(Some(Message::Trouble(_) | Message::HelloAck(_)))) {
                    conn.heard = before;
                    return;
                }
                if matches!(read, Ok(Some(_))) {
                    conn.heard_at = self.sim.time();
                }
                read
            };
            match read {
                Ok(Some(message)) => {
                    let message = self.tamper.borrow_mut().heard(message);
                    if let Some(message) = message {
                        self.hears(message);
                    }
                }
                Ok(None) => break,
                Err(error) => return self.close(Some(&format!("unreadable answer: {error}"))),
            }
        }
        let over = self.net.borrow_mut().open().is_some_and(|conn| conn.down_over && conn.down.is_empty());
        if over {
            self.close(Some("the target closed the connection"));
        }
    }

    pub(super) fn hears(&self, message: Message) {
        match message {
            Message::HelloAck(ack) => {
                let generation = self.net.borrow_mut().open().map(|conn| conn.generation);
                let Some(generation) = generation else { return };
                self.agree(&ack);
                let welcomed = self.on_source(|daemon| daemon.srm.welcomed(generation, &ack));
                match welcomed {
                    Some(Ok(())) => {
                        self.replica.set(Some(ack.replica));
                        if let Some(conn) = self.net.borrow_mut().open() {
                            conn.welcomed = true;
                            let (short, blocks) = (conn.teller.is_short(), conn.teller.sends_blocks());
                            let mut counts = self.counts.borrow_mut();
                            counts.welcomed += 1;
                            counts.short += u64::from(short);
                            counts.packed += u64::from(blocks);
                            counts.plain += u64::from(!short && !blocks);
                        }
                    }
                    Some(Err(Rejected::Again)) => self.close(None),
                    Some(Err(Rejected::Replica(text))) => self.fail(Checker::Convergence, text),
                    None => {}
                }
            }
            Message::Ack(ack) => _ = self.on_source(|daemon| daemon.srm.acknowledged(ack)),
            Message::Answer(seq, answer) => _ = self.on_source(|daemon| daemon.srm.answered(seq, answer)),
            Message::Trouble(trouble) => {
                self.note(|| format!("trouble: {trouble:?}"));
                self.counts.borrow_mut().trouble(trouble.kind);
                let _heard = self.on_source(|daemon| daemon.srm.trouble(&trouble));
            }
            Message::Busy(busy) => _ = self.on_source(|daemon| daemon.srm.busy(busy)),
            Message::Refused(refused) => {
                let _heard = self.on_source(|daemon| daemon.srm.refused(&refused));
                self.close(Some("refused"));
            }
            _ => {}
        }
    }

    fn agree(&self, ack: &HelloAck) {
        let mut net = self.net.borrow_mut();
        if self.bug == Some(Bug::StaleFronts)
            && let [.., earlier, conn] = &mut net.conns[..]
            && earlier.welcomed
        {
            std::mem::swap(&mut earlier.teller, &mut conn.teller);
        } else if let Some(conn) = net.open() {
            conn.teller.agree(ack);
        }
    }

    /// The source gives its connection up; with a reason it is lost.
    pub(super) fn close(&self, lost: Option<&str>) {
        if let Some(conn) = self.net.borrow_mut().open() {
            (conn.open, conn.up_over, conn.broken) = (false, true, true);
        }
        if let Some(reason) = lost {
            self.note(|| format!("lost: {reason}"));
            self.counts.borrow_mut().lost += 1;
            let _heard = self.on_source(|daemon| daemon.srm.lost(reason));
        }
    }

    pub(super) fn notice_silence(&self) {
        let now = self.sim.time();
        let silent =
            self.net.borrow_mut().open().is_some_and(|conn| now.saturating_duration_since(conn.heard_at) >= SILENCE);
        if silent {
            self.counts.borrow_mut().silences += 1;
            self.close(Some("the target was silent"));
        }
    }
}

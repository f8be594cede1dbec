//! The target's end of a connection, as its session lets it (`target/src/session.rs`).

use super::bug::Bug;
use super::history::Checker;
use super::net::{bytes_of, next_message};
use super::schedule::Side;
use super::wire::{Part, known_to_old};
use super::world::World;
use protocol::{Ack, Hello, Message, Refused, SeqNo};
use std::time::Duration;

/// The key of the source.
const PEER: &str = "SHA256:simulated";
/// A target says at least so often that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Of what arrived so much is kept, to arrive again.
const MOST_AGAIN: usize = 64 << 10;

impl World {
    /// Bytes arrive at the target.
    pub(super) fn up(&self, part: Part) {
        let at = {
            let net = self.net.borrow();
            if net.cut_up || net.conns.last().is_none_or(|conn| conn.lost) {
                return;
            }
            net.conns.len() - 1
        };
        self.arrive(at, part);
    }

    pub(super) fn arrive(&self, at: usize, part: Part) {
        let (bytes, over) = {
            let mut net = self.net.borrow_mut();
            let conn = &mut net.conns[at];
            if conn.greeted && conn.session.is_none() {
                // It is at something, or gone.
                return;
            }
            let bytes = conn.up.take(part);
            conn.whole = conn.up.is_empty();
            conn.delivered.extend(&bytes);
            let old = conn.delivered.len().saturating_sub(MOST_AGAIN);
            if old > 0 {
                conn.delivered.clear();
            }
            (bytes, conn.up_over && conn.up.is_empty())
        };
        self.counts.borrow_mut().parts += u64::from(part != Part::ALL);
        if self.target.borrow().is_none() {
            return;
        }
        let greeted = self.net.borrow().conns[at].greeted;
        let rest = if greeted { Some(bytes) } else { self.greeted(at, bytes) };
        let Some(rest) = rest else { return };
        self.received(at, &rest, over);
    }

    pub(super) fn received(&self, at: usize, bytes: &[u8], over: bool) {
        let Some(mut session) = self.net.borrow_mut().conns[at].session.take() else { return };
        let arrived = self.on_target(|_| session.arrive(bytes, over));
        let Some(arrived) = arrived else { return };
        self.net.borrow_mut().conns[at].session = Some(session);
        if let Err(refused) = arrived {
            self.refuse(at, &refused);
        }
        if self.bug == Some(Bug::AckReceived) {
            let (generation, sent) = {
                let net = self.net.borrow();
                (net.conns[at].open, net.conns[at].sent.unwrap_or(0))
            };
            if generation {
                let ack = Ack { applied: SeqNo::new(sent), durable: SeqNo::ZERO };
                let _heard = self.on_source(|daemon| daemon.srm.acknowledged(ack));
            }
        }
    }

    /// Bytes of a connection whose greeting the target has not read; what is behind that.
    pub(super) fn greeted(&self, at: usize, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let (read, rest) = {
            let mut net = self.net.borrow_mut();
            let greeting = &mut net.conns[at].greeting;
            greeting.extend(bytes);
            let read = next_message(greeting);
            (read, std::mem::take(greeting))
        };
        match read {
            Ok(None) => {
                self.net.borrow_mut().conns[at].greeting = rest;
                None
            }
            Ok(Some(Message::Hello(mut hello))) => {
                if !self.is_new(Side::Target) {
                    hello.features = known_to_old(hello.features);
                }
                self.net.borrow_mut().conns[at].greeted = true;
                self.admit(at, &hello).then_some(rest)
            }
            Ok(Some(_)) | Err(_) => {
                let mut net = self.net.borrow_mut();
                let conn = &mut net.conns[at];
                (conn.greeted, conn.down_over, conn.broken) = (true, true, true);
                self.counts.borrow_mut().refused += 1;
                None
            }
        }
    }

    pub(super) fn admit(&self, at: usize, hello: &Hello) -> bool {
        let mut earlier = Vec::new();
        {
            let mut net = self.net.borrow_mut();
            // One that is at something stops first.
            if net.conns.iter().any(|conn| conn.aside.is_some() && conn.session.is_none()) {
                net.conns[at].down_over = true;
                net.conns[at].broken = true;
                return false;
            }
            for conn in &mut net.conns {
                conn.aside = None;
                earlier.extend(conn.session.take());
                conn.down_over |= conn.greeted;
            }
            net.conns[at].down_over = false;
        }
        for mut session in earlier {
            let _ended = self.on_target(|_| session.end());
        }
        let Some(admitted) = self.on_target(|target| target.step(PEER, hello)) else { return false };
        match admitted {
            Ok(session) => {
                let coherent = session.is_coherent();
                {
                    let mut net = self.net.borrow_mut();
                    net.conns[at].aside = Some(session.aside());
                    net.conns[at].session = Some(session);
                }
                self.look_at_target(at, coherent);
                true
            }
            Err(refused) => {
                self.refuse(at, &refused);
                false
            }
        }
    }

    pub(super) fn refuse(&self, at: usize, refused: &Refused) {
        self.note(|| format!("refused: {}", refused.text));
        self.counts.borrow_mut().refused += 1;
        self.say(at);
        let mut net = self.net.borrow_mut();
        let conn = &mut net.conns[at];
        conn.down.extend(bytes_of(&Message::Refused(refused.clone())));
        (conn.down_over, conn.broken) = (true, true);
    }

    /// The target applies a record. `false`: there was none.
    pub(super) fn apply(&self) -> bool {
        let Some((at, mut session)) = ({
            let mut net = self.net.borrow_mut();
            net.applying().and_then(|at| Some((at, net.conns[at].session.take()?)))
        }) else {
            return false;
        };
        if self.target.borrow().is_none() {
            return false;
        }
        let applied = self.on_target(|_| {
            let applied = session.apply();
            (session, applied)
        });
        let Some((session, applied)) = applied else { return false };
        let coherent = session.is_coherent();
        {
            let mut net = self.net.borrow_mut();
            let conn = &mut net.conns[at];
            conn.down_over |= session.is_over();
            conn.session = Some(session);
        }
        if applied {
            self.look_at_syncs(at);
            self.look_at_target(at, coherent);
            self.counts.borrow_mut().applied += 1;
        }
        applied
    }

    /// The target makes durable what it has applied.
    pub(super) fn sync(&self) {
        let Some((at, session)) = ({
            let mut net = self.net.borrow_mut();
            net.applying().and_then(|at| Some((at, net.conns[at].session.take()?)))
        }) else {
            return;
        };
        let synced = self.on_target(|_| {
            session.sync();
            session
        });
        if let Some(session) = synced {
            self.net.borrow_mut().conns[at].session = Some(session);
        }
    }

    /// What the target has to say goes into the connection.
    pub(super) fn back(&self) {
        let count = self.net.borrow().conns.len();
        (0..count).for_each(|at| self.say(at));
    }

    pub(super) fn say(&self, at: usize) {
        let mut net = self.net.borrow_mut();
        let (now, up) = (self.sim.time(), self.target.borrow().is_some());
        let conn = &mut net.conns[at];
        let Some(session) = conn.aside.as_ref().filter(|_| up) else { return };
        let messages = session.take();
        if conn.lost {
            // Nobody hears it.
            return;
        }
        let silent = messages.is_empty() && now.saturating_duration_since(conn.said_at) >= HEARTBEAT;
        let mut messages = if silent && conn.welcomed { vec![session.alive()] } else { messages };
        if messages.is_empty() {
            return;
        }
        conn.said_at = now;
        let (under_way, applied) = session.syncing();
        if self.bug == Some(Bug::AckPastSync) {
            for message in &mut messages {
                if let Message::Ack(ack) = message {
                    ack.applied = ack.applied.max(SeqNo::new(applied));
                }
            }
        }
        let past = |ack: &Ack| under_way.iter().find(|seq| **seq <= ack.applied.get()).copied();
        let mut acks =
            messages.iter().filter_map(|message| if let Message::Ack(ack) = message { Some(ack) } else { None });
        if let Some(seq) = acks.find_map(past) {
            drop(net);
            self.fail(Checker::Syncs, format!("record {seq} is acknowledged and its sync is under way"));
        }
        for message in &messages {
            conn.down.extend(bytes_of(message));
        }
    }
}

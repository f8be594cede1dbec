//! How what travels does not arrive, or not as it was sent, or once more.

use super::bug::Bug;
use super::net::{Conn, next_message};
use super::schedule::Side;
use super::wire::Part;
use super::world::World;

impl World {
    /// A side is gone, and its ends of the connections with it.
    pub(super) fn lose_side(&self, side: Side) {
        let mut net = self.net.borrow_mut();
        for conn in &mut net.conns {
            match side {
                Side::Source => (conn.open, conn.up_over, conn.broken) = (false, true, true),
                Side::Target => {
                    if let Some(aside) = conn.aside.take() {
                        self.counts.borrow_mut().cut_off += aside.syncing().0.len() as u64;
                        aside.finish();
                    }
                    (conn.session, conn.down_over) = (None, true);
                }
            }
        }
        if side == Side::Source {
            // Whoever waits for it at the target is to go on.
            let at_something = net.conns.iter().filter(|conn| conn.session.is_none());
            at_something.filter_map(|conn| conn.aside.as_ref()).for_each(target::stepped::Aside::finish);
        }
    }

    /// The connection is lost.
    pub(super) fn lose(&self, up: Part, down: usize, source: bool, target: bool) {
        let count = self.net.borrow().conns.len();
        let Some(at) = count.checked_sub(1) else { return };
        self.up(up);
        self.down(down, false);
        {
            let mut net = self.net.borrow_mut();
            let conn = &mut net.conns[at];
            (conn.broken, conn.lost) = (true, true);
            conn.down.clear();
        }
        if source {
            self.close(Some("simulated"));
        }
        if target {
            self.received(at, &[], true);
        }
    }

    /// What is still on its way of connections that are gone arrives.
    pub(super) fn stale(&self) {
        let count = self.net.borrow().conns.len().saturating_sub(1);
        for at in 0..count {
            let left = self.net.borrow().conns[at].up.len();
            if left == 0 {
                continue;
            }
            self.counts.borrow_mut().stale += 1;
            self.arrive(at, Part::ALL);
        }
    }

    /// What arrived on the connection before this one arrives on this one too.
    pub(super) fn again(&self) {
        let mut net = self.net.borrow_mut();
        let Some(at) = net.conns.len().checked_sub(1) else { return };
        let earlier = if at > 0 && net.conns[at].delivered.is_empty() { at - 1 } else { at };
        let mut bytes: Vec<u8> = net.conns[earlier].delivered.iter().copied().collect();
        // Without its greeting.
        if !matches!(next_message(&mut bytes), Ok(Some(_))) {
            return;
        }
        let conn = &mut net.conns[at];
        if conn.open && conn.greeted && conn.up.is_empty() && conn.whole && !bytes.is_empty() {
            conn.up.push(&bytes);
            self.counts.borrow_mut().repeated += 1;
        }
    }

    /// A length that became greater is waited for, which no check can know; QUIC would have ended the connection.
    pub(super) fn end_corrupted(&self) {
        let waits = |conn: &mut Conn| conn.corrupted && !conn.broken && conn.up.is_empty();
        if self.net.borrow_mut().open().is_some_and(waits) {
            self.close(Some("a byte became another one"));
        }
    }

    /// A byte on its way to the target is another one.
    pub(super) fn corrupt(&self, bits: u64) {
        self.tamper.borrow_mut().break_next = true;
        if self.bug == Some(Bug::MendChecksum) {
            return;
        }
        let mut net = self.net.borrow_mut();
        let Some(conn) = net.open() else { return };
        if conn.up.flip(bits) {
            conn.corrupted = true;
            self.counts.borrow_mut().corrupted += 1;
        }
    }
}

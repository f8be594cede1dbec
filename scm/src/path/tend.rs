//! Follows a connection as long as it lives: a path that does not answer any more is noticed long before the connection would be given up, and the connection
//! goes on over another one. It is the same connection then (QUIC's migration), so nothing that was sent is lost or sent in another order.

use super::Paths;
use quinn::{Connection, ConnectionError, ConnectionStats, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// How often a connection is looked at.
const TICK: Duration = Duration::from_millis(50);
/// A path fails that leaves what was sent unanswered for so long, or for four round trips, but at most for `MOST_QUIET`.
const QUIET: Duration = Duration::from_millis(500);
const MOST_QUIET: Duration = Duration::from_millis(1500);

/// Which path a connection is on; it counts there.
pub(super) struct Seat {
    paths: Arc<Paths>,
    lane: bool,
    on: AtomicUsize,
}

impl Seat {
    /// One on path `n`.
    pub fn take(paths: Arc<Paths>, lane: bool, n: usize) -> Self {
        paths.table.lock().enters(n, lane);
        Self { paths, lane, on: AtomicUsize::new(n) }
    }

    fn on(&self) -> usize {
        self.on.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.paths.table.lock().leaves(self.on(), self.lane);
    }
}

/// Ends the following of a connection when it goes: that holds the connection open.
#[derive(Debug)]
pub(super) struct Tended(AbortHandle);

impl Drop for Tended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows a connection, to whose target `logical` is the address.
pub(super) fn begin(seat: Seat, endpoint: Endpoint, connection: Connection, logical: SocketAddr) -> Tended {
    let pulse = Pulse::of(&connection.stats());
    let tender = Tender { seat, endpoint, connection, logical, pulse, since: None };
    Tended(tokio::spawn(tender.follow()).abort_handle())
}

struct Tender {
    seat: Seat,
    endpoint: Endpoint,
    connection: Connection,
    logical: SocketAddr,
    pulse: Pulse,
    /// Since when it wants to be on another path.
    since: Option<Instant>,
}

impl Tender {
    async fn follow(mut self) {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                end = self.connection.closed() => {
                    if let ConnectionError::TimedOut = end {
                        self.seat.paths.died(self.seat.on(), "the target did not answer any more");
                    }
                    return;
                }
                () = sleep(TICK) => {}
            }
            let now = Instant::now();
            self.look(now, now.saturating_duration_since(last));
            last = now;
        }
    }

    fn look(&mut self, now: Instant, passed: Duration) {
        let (stats, on, lane) = (self.connection.stats(), self.seat.on(), self.seat.lane);
        let paths = Arc::clone(&self.seat.paths);
        if self.pulse.beats(&stats, passed) {
            paths.heard(on);
        }
        if !paths.several() {
            return;
        }
        // Where others are answered it is not the path: what was sent waits behind theirs, or this connection did not get over when it moved, and ends as one that is lost.
        let recently = now.checked_sub(QUIET).unwrap_or(now);
        let fails = self.pulse.quiet >= bound(stats.path.rtt) && !paths.was_heard_since(on, recently);
        if fails || paths.is_dead(on) {
            let since = *self.since.get_or_insert(now);
            paths.ask((0..paths.all.len()).filter(|n| *n != on), since);
            let there = paths.table.lock().away(on, lane, since);
            if let Some((to, addr)) = there {
                if fails {
                    paths.died(on, &format!("nothing was answered over it for {} ms", self.pulse.quiet.as_millis()));
                }
                self.go(on, to, addr);
            }
        } else if let Some(to) = paths.better(on, lane) {
            let since = *self.since.get_or_insert(now);
            paths.ask(std::iter::once(to), since);
            let there = paths.table.lock().goes(on, to, lane, since, now);
            if let Some(addr) = there {
                self.go(on, to, addr);
            }
        } else {
            self.since = None;
        }
    }

    /// From now on everything travels over path `to`, where the target is at `addr`.
    fn go(&mut self, on: usize, to: usize, addr: SocketAddr) {
        let paths = &self.seat.paths;
        self.seat.on.store(to, Ordering::Relaxed);
        self.since = None;
        self.pulse.restart();
        let moved = paths.way(to, addr, self.logical).and_then(|way| self.endpoint.rebind_abstract(way));
        match moved {
            Ok(()) => {
                let (from, to) = (&paths.all[on].local, &paths.all[to].local);
                tracing::info!(event = "path-taken", %from, %to, lane = self.seat.lane, "a connection goes on over another path");
            }
            Err(error) => paths.died(to, &format!("cannot begin at {}: {error}", paths.all[to].local)),
        }
    }
}

/// How long what was sent may be unanswered.
fn bound(rtt: Duration) -> Duration {
    (rtt * 4).clamp(QUIET, MOST_QUIET)
}

/// Whether what is sent is answered. Looked at are frames that the other side has to acknowledge at once, and the round trip, which is another one (to the
/// nanosecond) whenever something new was acknowledged: so a path that carries one way only does not pass for one that lives. What arrives says less, and
/// so do acknowledgements: they are repeated beside whatever is sent.
#[derive(Debug)]
struct Pulse {
    asked: u64,
    trip: Duration,
    /// For how long what was sent after the last answer has been unanswered.
    quiet: Duration,
}

impl Pulse {
    fn of(stats: &ConnectionStats) -> Self {
        Self { asked: asked(stats), trip: stats.path.rtt, quiet: Duration::ZERO }
    }

    /// Looks after so much time. `true`: there was an answer.
    fn beats(&mut self, stats: &ConnectionStats, passed: Duration) -> bool {
        self.beat(asked(stats), stats.path.rtt, passed)
    }

    fn beat(&mut self, asked: u64, trip: Duration, passed: Duration) -> bool {
        if trip != self.trip {
            *self = Self { asked, trip, quiet: Duration::ZERO };
            return true;
        }
        if asked != self.asked {
            // A process that was stopped, or had no processor, was not listening meanwhile.
            self.quiet += passed.min(2 * TICK);
        }
        false
    }

    /// What was sent before does not count.
    fn restart(&mut self) {
        self.quiet = Duration::ZERO;
    }
}

fn asked(stats: &ConnectionStats) -> u64 {
    let sent = &stats.frame_tx;
    sent.stream + sent.ping + sent.max_data + sent.max_stream_data
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_micros(90);

    #[test]
    fn what_nobody_was_asked_nobody_owes_an_answer_to() {
        let mut pulse = Pulse { asked: 3, trip: TRIP, quiet: Duration::ZERO };
        for _ in 0..100 {
            assert!(!pulse.beat(3, TRIP, TICK));
        }
        assert_eq!(pulse.quiet, Duration::ZERO);
        for _ in 0..10 {
            assert!(!pulse.beat(4, TRIP, TICK));
        }
        assert_eq!(pulse.quiet, QUIET);
        assert!(pulse.beat(5, 2 * TRIP, TICK));
        assert_eq!(pulse.quiet, Duration::ZERO);
    }

    #[test]
    fn a_process_that_was_stopped_does_not_take_its_path_for_dead() {
        let mut pulse = Pulse { asked: 0, trip: TRIP, quiet: Duration::ZERO };
        assert!(!pulse.beat(1, TRIP, Duration::from_secs(60)));
        assert!(pulse.quiet < bound(TRIP));
    }

    #[test]
    fn far_targets_get_four_round_trips() {
        assert_eq!(bound(Duration::from_millis(1)), QUIET);
        assert_eq!(bound(Duration::from_millis(200)), Duration::from_millis(800));
        assert_eq!(bound(Duration::from_secs(9)), MOST_QUIET);
    }
}

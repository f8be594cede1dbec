//! What is known of each path, and which one a connection should be on. Pure: no clock is read and nothing is sent.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A path that nobody has used is tried so long after the first connection was begun.
const FIRST_TRY: Duration = Duration::from_millis(300);
/// A path that lives and carries nothing is tried so often; one that has just come back more often.
const QUIET_TRY: Duration = Duration::from_secs(10);
const PROBATION_TRY: Duration = Duration::from_secs(1);
/// Pauses between attempts on a dead one, as a session's.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// So long a path that was dead has to live before what left it comes back; twice as long each time it dies within [`SOON`].
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_PATIENCE: Duration = Duration::from_secs(64);
const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Untried,
    Alive,
    Dead,
}

/// How one path stands.
#[derive(Debug)]
pub(super) struct Stand {
    pub life: Life,
    /// Since when, by both clocks.
    since: Instant,
    pub since_ms: u64,
    /// Why it is dead.
    pub reason: String,
    pub sessions: u64,
    pub lanes: u64,
    /// Where the target showed the right key.
    addr: Option<SocketAddr>,
    /// When the target was heard of over it last.
    heard: Option<Instant>,
    /// Somebody wants to know whether it lives, as of then.
    wanted: Option<Instant>,
    /// When the last attempt began, and until when the next one waits.
    tried: Option<Instant>,
    rests_until: Instant,
    pause: Duration,
    patience: Duration,
}

impl Stand {
    /// It lives, and has for long enough.
    fn is_steady(&self, now: Instant) -> bool {
        self.life == Life::Alive && now.saturating_duration_since(self.since) >= self.patience
    }

    pub fn heard_since(&self, since: Instant) -> bool {
        self.life == Life::Alive && self.heard.is_some_and(|heard| heard >= since)
    }

    fn carried(&mut self, lane: bool) -> &mut u64 {
        if lane { &mut self.lanes } else { &mut self.sessions }
    }
}

#[derive(Debug)]
pub(super) struct Table(Vec<Stand>);

impl Table {
    pub fn new(paths: usize, now: Instant, now_ms: u64) -> Self {
        let stand = || Stand {
            life: Life::Untried,
            since: now,
            since_ms: now_ms,
            reason: String::new(),
            sessions: 0,
            lanes: 0,
            addr: None,
            heard: None,
            wanted: None,
            tried: None,
            rests_until: now,
            pause: FIRST_PAUSE,
            patience: Duration::ZERO,
        };
        Self((0..paths).map(|_| stand()).collect())
    }

    pub fn stand(&self, n: usize) -> &Stand {
        &self.0[n]
    }

    pub fn is_dead(&self, n: usize) -> bool {
        self.0[n].life == Life::Dead
    }

    /// The target showed the right key there. `true`: that is new.
    pub fn proved(&mut self, n: usize, addr: SocketAddr, now: Instant, now_ms: u64) -> bool {
        self.0[n].addr = Some(addr);
        self.heard(n, now, now_ms)
    }

    /// The target was heard of over it. `true`: it was not alive before.
    pub fn heard(&mut self, n: usize, now: Instant, now_ms: u64) -> bool {
        let stand = &mut self.0[n];
        (stand.heard, stand.pause) = (Some(now), FIRST_PAUSE);
        if stand.life == Life::Alive {
            return false;
        }
        (stand.life, stand.since, stand.since_ms) = (Life::Alive, now, now_ms);
        true
    }

    /// Nothing gets over it. `true`: that is new.
    pub fn died(&mut self, n: usize, reason: &str, now: Instant, now_ms: u64) -> bool {
        let stand = &mut self.0[n];
        reason.clone_into(&mut stand.reason);
        stand.rests_until = now + stand.pause;
        stand.pause = (stand.pause * 2).min(LONGEST_PAUSE);
        if stand.life == Life::Dead {
            return false;
        }
        let soon = stand.life == Life::Alive && now.saturating_duration_since(stand.since) < SOON;
        let longer = (stand.patience * 2).clamp(PATIENCE, MOST_PATIENCE);
        stand.patience = if soon { longer } else { PATIENCE };
        (stand.life, stand.since, stand.since_ms) = (Life::Dead, now, now_ms);
        true
    }

    /// Whether it lives is to be found out. `true`: it was not heard of since then, and that was not wanted yet.
    pub fn want(&mut self, n: usize, since: Instant) -> bool {
        let stand = &mut self.0[n];
        if stand.heard_since(since) || stand.wanted.is_some_and(|wanted| wanted >= since) {
            return false;
        }
        stand.wanted = Some(since);
        true
    }

    /// How long until it is to be tried; zero: now.
    pub fn due_in(&self, n: usize, now: Instant) -> Duration {
        let stand = &self.0[n];
        let is_known = |wanted| stand.heard.max(stand.tried).is_some_and(|known| known >= wanted);
        if stand.wanted.is_some_and(|wanted| !is_known(wanted)) {
            return Duration::ZERO;
        }
        let at = match stand.life {
            Life::Untried => stand.since + FIRST_TRY,
            Life::Dead => stand.rests_until,
            Life::Alive => {
                stand.heard.unwrap_or(stand.since) + if stand.is_steady(now) { QUIET_TRY } else { PROBATION_TRY }
            }
        };
        at.saturating_duration_since(now)
    }

    /// An attempt begins.
    pub fn tries(&mut self, n: usize, now: Instant) {
        self.0[n].tried = Some(now);
    }

    /// In which order to try them for a new connection.
    pub fn order(&self, lane: bool, now: Instant) -> Vec<usize> {
        let rank = |n: &usize| {
            let stand = &self.0[*n];
            let hope = match stand.life {
                // The first lanes are opened before every path was tried.
                Life::Untried => 0,
                Life::Alive if stand.is_steady(now) => 0,
                Life::Alive => 1,
                Life::Dead => 2,
            };
            (hope, self.burden(*n, lane), *n)
        };
        let mut order: Vec<_> = (0..self.0.len()).collect();
        order.sort_by_key(rank);
        order
    }

    /// What speaks against one more there: lanes keep out of each other's way, and rather out of the session's.
    fn burden(&self, n: usize, lane: bool) -> (u64, u64) {
        if lane { (self.0[n].lanes, self.0[n].sessions) } else { (0, 0) }
    }

    /// A connection is on path `n` from now on.
    pub fn enters(&mut self, n: usize, lane: bool) {
        *self.0[n].carried(lane) += 1;
    }

    /// A connection that was on path `n` has ended or moved.
    pub fn leaves(&mut self, n: usize, lane: bool) {
        let carried = self.0[n].carried(lane);
        *carried = carried.saturating_sub(1);
    }

    /// A path where one on a path that is failing goes, once it was heard of since then; it is counted there from now on.
    pub fn away(&mut self, on: usize, lane: bool, since: Instant) -> Option<(usize, SocketAddr)> {
        let lives = |n: &usize| *n != on && self.0[*n].addr.is_some() && self.0[*n].heard_since(since);
        let to = (0..self.0.len()).filter(lives).min_by_key(|n| (self.burden(*n, lane), *n))?;
        self.moves(on, to, lane)
    }

    /// A path that is better than this one, which is no bad one: the session likes the first that lives, lanes those that have fewest.
    pub fn better(&self, on: usize, lane: bool, now: Instant) -> Option<usize> {
        let steady = |n: &usize| *n != on && self.0[*n].addr.is_some() && self.0[*n].is_steady(now);
        if !lane {
            return (0..on).find(steady);
        }
        let least = (0..self.0.len()).filter(steady).min_by_key(|n| (self.0[*n].lanes, Reverse(*n)))?;
        (self.0[least].lanes + 2 <= self.0[on].lanes).then_some(least)
    }

    /// Goes to a better path, if it still is one and was heard of since then.
    pub fn goes(&mut self, on: usize, to: usize, lane: bool, since: Instant, now: Instant) -> Option<SocketAddr> {
        if self.better(on, lane, now) != Some(to) || !self.0[to].heard_since(since) {
            return None;
        }
        self.moves(on, to, lane).map(|(_, addr)| addr)
    }

    fn moves(&mut self, on: usize, to: usize, lane: bool) -> Option<(usize, SocketAddr)> {
        let addr = self.0[to].addr?;
        self.leaves(on, lane);
        self.enters(to, lane);
        Some((to, addr))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

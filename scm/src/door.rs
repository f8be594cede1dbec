//! Who may come in: what a listener asks of those who know. And how many may knock: what costs something before anybody has
//! proved who he is, is bounded here.

use crate::key::Fingerprint;
use crate::keyring::Keyring;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a listener asks. Called from threads of the runtime; answers at once.
pub trait Door: std::fmt::Debug + Send + Sync + 'static {
    /// This node's keys, as they are now.
    fn keyring(&self) -> Arc<Keyring>;
    /// Whether the node with this key may connect.
    fn knows(&self, key: Fingerprint) -> bool;
    /// Whether a node that nobody knows may connect to be paired: an invitation is open.
    fn pairs(&self) -> bool;
    /// A known node connected with the key `peer`. It expected our key `expects`, where it said so, and announced `next` as
    /// the key that follows its own.
    fn met(&self, peer: Fingerprint, expects: Option<Fingerprint>, next: Option<Fingerprint>);
}

/// Handshakes that one address may begin at once, and in a second after that. A node with 16 lanes stays below.
const BURST: u32 = 128;
const PER_SECOND: u32 = 32;
/// The same for all addresses together.
const BURST_ALL: u32 = 512;
const PER_SECOND_ALL: u32 = 128;
/// Handshakes that are under way at once, of all and of one address.
const MOST_PENDING: usize = 128;
const MOST_PENDING_OF_ONE: usize = 32;
/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

/// So many at once, so many in a second after that.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    /// Since when nothing was added.
    since: Instant,
}

impl Bucket {
    fn full(burst: u32, now: Instant) -> Self {
        Self { left: burst, since: now }
    }

    fn take(&mut self, burst: u32, per_second: u32, now: Instant) -> bool {
        let each = Duration::from_secs(1) / per_second;
        let due = now.saturating_duration_since(self.since).as_nanos() / each.as_nanos();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        if due >= burst - self.left {
            *self = Self::full(burst, now);
        } else {
            self.left += due;
            self.since += each * due;
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

/// Counts handshakes that begin, by address.
#[derive(Debug)]
pub(crate) struct Knocks {
    all: Bucket,
    by_address: HashMap<IpAddr, Bucket>,
}

impl Knocks {
    pub fn new(now: Instant) -> Self {
        Self { all: Bucket::full(BURST_ALL, now), by_address: HashMap::new() }
    }

    /// Whether one more may begin.
    pub fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        let from = network(from);
        if self.by_address.len() >= ADDRESSES && !self.by_address.contains_key(&from) {
            let refilled = Duration::from_secs(u64::from(BURST / PER_SECOND));
            self.by_address.retain(|_, bucket| now.saturating_duration_since(bucket.since) < refilled);
            if self.by_address.len() >= ADDRESSES {
                return false;
            }
        }
        let own = self.by_address.entry(from).or_insert_with(|| Bucket::full(BURST, now));
        own.take(BURST, PER_SECOND, now) && self.all.take(BURST_ALL, PER_SECOND_ALL, now)
    }
}

/// Handshakes that are under way, by address: one that is slow on purpose takes nobody else's place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One handshake, until it is dropped.
#[derive(Debug)]
pub(crate) struct Begun {
    pending: Pending,
    from: IpAddr,
}

impl Pending {
    /// Notes one more, if there is room for it.
    pub fn begin(&self, from: IpAddr) -> Option<Begun> {
        let from = network(from);
        let mut pending = self.0.lock();
        if pending.values().sum::<usize>() >= MOST_PENDING
            || pending.get(&from).is_some_and(|n| *n >= MOST_PENDING_OF_ONE)
        {
            return None;
        }
        *pending.entry(from).or_default() += 1;
        Some(Begun { pending: self.clone(), from })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut pending = self.pending.0.lock();
        if let Some(n) = pending.get_mut(&self.from) {
            *n -= 1;
            if *n == 0 {
                pending.remove(&self.from);
            }
        }
    }
}

/// One customer's network: of IPv6 a /64, from which one machine has as many addresses as it wants.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn one_address_is_stopped_and_others_go_on() {
        let now = Instant::now();
        let mut knocks = Knocks::new(now);
        let let_in = (0..1000).filter(|_| knocks.admit(v4(1), now)).count();
        assert_eq!(let_in, BURST as usize);
        assert!(knocks.admit(v4(2), now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| knocks.admit(v4(1), later)).count(), PER_SECOND as usize);
    }

    #[test]
    fn all_together_are_bounded_and_so_is_what_is_remembered() {
        let now = Instant::now();
        let mut knocks = Knocks::new(now);
        assert_eq!((0..100_000).filter(|n| knocks.admit(v4(*n), now)).count(), BURST_ALL as usize);
        assert!(knocks.by_address.len() <= ADDRESSES);
        let later = now + Duration::from_secs(60);
        assert!(knocks.admit(v4(7_000_000), later), "those that are quiet are forgotten");
    }

    #[test]
    fn one_address_that_is_slow_leaves_room_for_others() {
        let pending = Pending::default();
        let slow: Vec<_> = (0..1000).filter_map(|_| pending.begin(v4(1))).collect();
        assert_eq!(slow.len(), MOST_PENDING_OF_ONE);
        let other = pending.begin(v4(2));
        assert!(other.is_some());
        let many: Vec<_> = (3..1000).filter_map(|n| pending.begin(v4(n))).collect();
        assert_eq!(slow.len() + 1 + many.len(), MOST_PENDING);
        drop((slow, other, many));
        assert!(pending.0.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let now = Instant::now();
        let mut knocks = Knocks::new(now);
        let address = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        assert_eq!((0..1000).filter(|n| knocks.admit(address(*n), now)).count(), BURST as usize);
    }
}

//! Several network paths to one target (C6): what a path is, and what is known of those that a mount has. Which one a connection should be on is the
//! `table`'s; connections are made in `dial`, followed and moved in `tend`. What travels over them is not known here.

mod dial;
mod socket;
mod table;
mod tend;

use crate::datagrams;
use parking_lot::Mutex;
use socket::Way;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use table::{Life, Table};
use tokio::sync::Notify;

/// Paths of one mount at most.
pub const MOST_PATHS: usize = 16;

/// The name of an interface is shorter than this (`IFNAMSIZ`).
const INTERFACE_BYTES: usize = 16;

/// Where a path begins on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// An address of this machine.
    Address(IpAddr),
    /// An interface, whatever addresses it has.
    Interface(String),
}

impl FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return match address {
                address if address.is_unspecified() || address.is_multicast() => {
                    Err(format!("'{text}' is no address of one interface; give one, or the interface's name"))
                }
                IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80 => {
                    Err(format!("'{text}' is an address of one link only; give the name of the interface"))
                }
                address => Ok(Self::Address(address)),
            };
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        let named = text.chars().any(|c| c.is_ascii_alphabetic()) && text.chars().all(plain);
        if named && text.len() < INTERFACE_BYTES {
            return Ok(Self::Interface(text.to_owned()));
        }
        Err(format!("'{text}' is neither an address nor the name of an interface"))
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// A way to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where it begins.
    pub local: Local,
    /// Where the target is reached over it (name or address, UDP port); `None`: where it is reached anyway.
    pub target: Option<(String, u16)>,
}

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where it begins.
    pub local: String,
    /// Where the target is reached over it, `HOST:PORT`.
    pub target: String,
    /// Whether the target answers over it with the right key; `None`: not tried yet.
    pub alive: Option<bool>,
    /// Since when it is so, in milliseconds since 1970.
    pub since_ms: u64,
    /// Of a dead one: why.
    pub reason: Option<String>,
    /// The session runs over it.
    pub session: bool,
    /// So many lanes do.
    pub lanes: u64,
    /// Bytes that left over it, headers of UDP and IP left out.
    pub sent_bytes: u64,
}

/// The paths of one mount.
pub struct Paths {
    all: Vec<Path>,
    table: Mutex<Table>,
    /// By path: somebody wants to know whether it lives.
    wanted: Vec<Notify>,
    sent: Vec<Arc<AtomicU64>>,
}

impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paths").field("all", &self.all).finish_non_exhaustive()
    }
}

impl Paths {
    /// These, the one that the session prefers first. None of them was tried.
    pub fn new(all: Vec<Path>) -> Arc<Self> {
        let table = Mutex::new(Table::new(all.len(), Instant::now(), now_ms()));
        let wanted = all.iter().map(|_| Notify::new()).collect();
        let sent = all.iter().map(|_| Arc::default()).collect();
        Arc::new(Self { all, table, wanted, sent })
    }

    /// Those that cannot begin where they should now, and why. They may later.
    pub fn missing(&self) -> Vec<(String, String)> {
        let why = |path: &Path| socket::begins(&path.local).err().map(|e| (path.local.to_string(), e.to_string()));
        self.all.iter().filter_map(why).collect()
    }

    /// What is known of them, in their order; those without a place of their own reach the target at `place`.
    pub(crate) fn known(&self, place: &(String, u16)) -> Vec<Known> {
        let table = self.table.lock();
        let one = |(n, path): (usize, &Path)| {
            let stand = table.stand(n);
            let (host, port) = path.target.as_ref().unwrap_or(place);
            Known {
                local: path.local.to_string(),
                target: shown(host, *port),
                alive: (stand.life != Life::Untried).then_some(stand.life == Life::Alive),
                since_ms: stand.since_ms,
                reason: (stand.life == Life::Dead).then(|| stand.reason.clone()),
                session: stand.sessions > 0,
                lanes: stand.lanes,
                sent_bytes: self.sent[n].load(Ordering::Relaxed),
            }
        };
        self.all.iter().enumerate().map(one).collect()
    }

    pub(crate) fn several(&self) -> bool {
        self.all.len() > 1
    }

    /// A socket on path `n` to the target at `real`, which the connection knows as `logical`.
    fn way(&self, n: usize, real: SocketAddr, logical: SocketAddr) -> io::Result<Arc<Way>> {
        let socket = socket::bind(&self.all[n].local, real)?;
        let inner = datagrams::wrap(socket)?;
        Ok(Arc::new(Way::new(inner, real, logical, Arc::clone(&self.sent[n]))))
    }

    /// The target answered over path `n` from `addr`, with the right key.
    fn proved(&self, n: usize, addr: SocketAddr) {
        if self.table.lock().proved(n, addr, Instant::now(), now_ms()) {
            self.say_alive(n);
        }
    }

    /// A connection that is on path `n` was answered.
    fn heard(&self, n: usize) {
        if self.table.lock().heard(n, Instant::now(), now_ms()) {
            self.say_alive(n);
        }
    }

    fn say_alive(&self, n: usize) {
        tracing::info!(event = "path-up", path = %self.all[n].local, "the target answers over this path");
    }

    /// Nothing gets over path `n`.
    fn died(&self, n: usize, reason: &str) {
        if self.table.lock().died(n, reason, Instant::now(), now_ms()) {
            // Who tries it waits as for one that lives.
            self.wanted[n].notify_one();
            tracing::warn!(event = "path-down", path = %self.all[n].local, reason, "a path to the target is dead; it is tried again by itself");
        }
    }

    fn is_dead(&self, n: usize) -> bool {
        self.table.lock().is_dead(n)
    }

    fn was_heard_since(&self, n: usize, since: Instant) -> bool {
        self.table.lock().stand(n).heard_since(since)
    }

    /// A path that is better for a connection than the one where it is.
    fn better(&self, on: usize, lane: bool) -> Option<usize> {
        self.table.lock().better(on, lane, Instant::now())
    }

    /// Whether each of these lives is to be found out, unless it was heard of since.
    fn ask(&self, which: impl Iterator<Item = usize>, since: Instant) {
        let mut table = self.table.lock();
        for n in which.filter(|n| *n < self.all.len()) {
            if table.want(n, since) {
                self.wanted[n].notify_one();
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `HOST:PORT`, an IPv6 address in brackets.
pub(crate) fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_an_address_or_an_interface() {
        for (text, shown) in [("127.0.0.2", "127.0.0.2"), ("[fd00::1]", "fd00::1"), ("fd00::1", "fd00::1")] {
            let local: Local = text.parse().unwrap();
            assert!(matches!(local, Local::Address(_)) && local.to_string() == shown, "{text}");
        }
        for text in ["eth0", "wlp2s0", "bond0.7", "veth@a"] {
            assert_eq!(text.parse::<Local>().unwrap(), Local::Interface(text.to_owned()));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "300.1.1.1",
            "1.2.3",
            "eth0:1",
            "a b",
            "a/b",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "sixteen-bytes-it",
            "eth\u{e4}",
        ] {
            assert!(text.parse::<Local>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_that_cannot_begin_is_named() {
        let path = |local: &str| Path { local: local.parse().unwrap(), target: None };
        let paths = Paths::new(vec![path("127.0.0.2"), path("203.0.113.77"), path("lo"), path("no-such-if")]);
        let missing: Vec<_> = paths.missing().into_iter().map(|(local, _)| local).collect();
        assert_eq!(missing, ["203.0.113.77", "no-such-if"]);
    }
}

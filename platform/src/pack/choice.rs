//! Whether a stream is packed, and by what: as the user says, or where nothing is said by what costs the least time.

use super::line::{FAST, Line};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is smaller goes as it is: heads and heartbeats.
const LEAST_BYTES: usize = 256;
/// So much is tried both ways.
pub(super) const PROBE_BYTES: usize = 64 << 10;
/// It is tried again after so much.
const PROBE_EVERY: u64 = 16 << 20;
/// What does not shrink by this is not worth it.
const LEAST_RATIO: f64 = 1.1;
/// What came of packing is looked at over so much.
const WINDOW_BYTES: u64 = 1 << 20;
/// The level of Zstandard that is worth trying by itself.
const LEVEL: i32 = 1;
/// The slowest level of Zstandard that may be asked for: those above need much memory on both ends.
const SLOWEST: i32 = 19;

/// What the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is packed.
    #[default]
    Off,
    /// Where it pays.
    Auto,
    /// By LZ4, whatever shrinks.
    Lz4,
    /// By Zstandard at this level (1 to 19), whatever shrinks.
    Zstd(i32),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd(LEVEL)),
            _ => text
                .strip_prefix("zstd:")
                .and_then(|level| level.parse().ok())
                .filter(|level| (1..=SLOWEST).contains(level))
                .map(Self::Zstd)
                .ok_or_else(|| {
                    format!("unknown compression '{text}'; use off, auto, lz4, or zstd:1 to zstd:{SLOWEST}")
                }),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Auto => f.write_str("auto"),
            Self::Lz4 => Method::Lz4.fmt(f),
            Self::Zstd(level) => Method::Zstd(*level).fmt(f),
        }
    }
}

/// How a block is to be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Plain,
    /// LZ4.
    Lz4,
    /// Zstandard at this level.
    Zstd(i32),
}

impl Method {
    /// Those that are tried.
    pub(super) const CANDIDATES: [Self; 2] = [Self::Lz4, Self::Zstd(LEVEL)];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// What a method was seen to do.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    raw: u64,
    packed: u64,
    took: Duration,
}

impl Seen {
    fn add(&mut self, raw: usize, packed: usize, took: Duration) {
        self.raw += raw as u64;
        self.packed += packed as u64;
        self.took += took;
    }

    #[allow(clippy::cast_precision_loss)] // megabytes
    fn ratio(&self) -> f64 {
        self.raw as f64 / self.packed.max(1) as f64
    }

    /// Seconds for a raw byte on a line of so many bytes per second: packing and sending go on at the same time. `None`: not worth it.
    fn cost(&self, goodput: f64) -> Option<f64> {
        let worth_it = self.raw > 0 && self.ratio() >= LEAST_RATIO;
        worth_it.then(|| (1.0 / rate(self.raw, self.took)).max(1.0 / (self.ratio() * goodput)))
    }
}

/// Bytes per second.
#[allow(clippy::cast_precision_loss)] // a rate
pub(super) fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64().max(1e-9)
}

/// See the module. One for each stream.
#[derive(Debug)]
pub struct Choice {
    mode: Mode,
    line: Line,
    /// What is done now.
    now: Method,
    /// What came of the last probe, of each candidate; then of what was packed since.
    seen: [Seen; 2],
    /// What the probe that goes on gave; its raw bytes are the same for each.
    probe: Option<[Seen; 2]>,
    /// What was packed lately.
    lately: Seen,
    until_probe: u64,
}

impl Choice {
    /// Nothing is known yet.
    pub fn new(mode: Mode) -> Self {
        let now = match mode {
            Mode::Off | Mode::Auto => Method::Plain,
            Mode::Lz4 => Method::Lz4,
            Mode::Zstd(level) => Method::Zstd(level),
        };
        let seen = [Seen::default(); 2];
        Self { mode, line: Line::default(), now, seen, probe: None, lately: Seen::default(), until_probe: 0 }
    }

    /// What is done with what comes now.
    pub fn now(&self) -> Method {
        self.now
    }

    /// What the path is said to carry, in bytes per second.
    pub fn path(&mut self, bytes_per_second: Option<u64>) {
        self.line.path(bytes_per_second);
    }

    /// So many bytes, as they travel, were handed on within `busy`, of which the line was waited for during `waited`.
    pub fn passed(&mut self, bytes: u64, busy: Duration, waited: Duration) {
        self.line.passed(bytes, busy, waited);
    }

    /// The goodput where packing may pay.
    fn slow(&self) -> Option<f64> {
        self.line.goodput().filter(|goodput| *goodput < FAST)
    }

    /// So many raw bytes come: whether some of them are to be tried before it is said what is done with them.
    pub(super) fn wants_probe(&self, raw: usize) -> bool {
        self.mode == Mode::Auto && raw >= LEAST_BYTES && self.until_probe == 0 && self.slow().is_some()
    }

    /// What trying gave, of each candidate in its order; packed bytes that are no fewer say that it does not shrink.
    pub(super) fn probed(&mut self, raw: usize, results: [(usize, Duration); 2]) {
        let probe = self.probe.get_or_insert_default();
        for (seen, (packed, took)) in probe.iter_mut().zip(results) {
            seen.add(raw, packed, took);
        }
        if probe[0].raw >= PROBE_BYTES as u64 {
            (self.seen, self.until_probe) = (*probe, PROBE_EVERY);
            (self.probe, self.lately) = (None, Seen::default());
        }
    }

    /// What is done with the so many raw bytes that come.
    pub(super) fn decide(&mut self, raw: usize) -> Method {
        if self.mode == Mode::Auto {
            self.until_probe = self.until_probe.saturating_sub(raw as u64);
            self.now = self.slow().map_or(Method::Plain, |goodput| self.cheapest(goodput));
        }
        if raw < LEAST_BYTES { Method::Plain } else { self.now }
    }

    fn cheapest(&self, goodput: f64) -> Method {
        let seen = self.probe.as_ref().unwrap_or(&self.seen);
        let mut best = (Method::Plain, 1.0 / goodput);
        for (method, seen) in Method::CANDIDATES.into_iter().zip(seen) {
            if let Some(cost) = seen.cost(goodput).filter(|cost| *cost < best.1) {
                best = (method, cost);
            }
        }
        best.0
    }

    /// What came of packing so many bytes: how many they are now, and what of that time the stream spent on them. Where it is not what the probe said, that holds
    /// from now on.
    pub fn packed(&mut self, method: Method, raw: usize, packed: usize, took: Duration) {
        self.lately.add(raw, packed, took);
        if self.lately.raw < WINDOW_BYTES {
            return;
        }
        let lately = std::mem::take(&mut self.lately);
        for (candidate, seen) in Method::CANDIDATES.into_iter().zip(&mut self.seen) {
            // What does not shrink for one does not for the other.
            if candidate == method || lately.ratio() < LEAST_RATIO {
                *seen = lately;
            }
        }
    }
}

//! What is done with any bytes at all, for each format that replfs reads of a peer, a disk or a user. The fuzzers (`fuzz/`) and the tests on stable
//! (`tests/tests/fuzzed.rs`) call the same functions; each panics where a promise is broken: no parser panics, and what was believed is the same
//! when it is written and read again.
//!
//! Formats with checksums are tried twice: as the bytes are, and with the checksums made right, or nothing would ever get behind them.

mod blocks;
mod control;
mod frame;
mod invitation;
mod journal;
mod mutate;
mod set;
mod short;
mod state;
mod undo;

pub use mutate::Mutator;

/// One format.
pub struct Target {
    /// The name of its fuzzer and of its corpus, a directory of `fuzz/corpus/`.
    pub name: &'static str,
    /// Tries these bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "frame", run: frame::frame },
    Target { name: "record", run: frame::record },
    Target { name: "short", run: short::short },
    Target { name: "blocks", run: blocks::blocks },
    Target { name: "journal", run: journal::journal },
    Target { name: "set", run: set::set },
    Target { name: "invitation", run: invitation::invitation },
    Target { name: "control", run: control::control },
    Target { name: "undo", run: undo::undo },
    Target { name: "state", run: state::state },
];

/// Tries these bytes as the format of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no format is called {name}")).run)(bytes);
}

/// Puts the CRC-32C of `bytes[from..to]` at `at`.
fn sum(bytes: &mut [u8], from: usize, to: usize, at: usize) {
    let crc = crc32c::crc32c(&bytes[from..to]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The four bytes at `at` as a number.
fn word(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize)
}

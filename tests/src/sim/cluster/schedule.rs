//! What happens, made of a seed.

use super::border;
use super::wire::{Part, Wire};
use crate::seed::Random;
use platform::machine::Disk;
use srm::status::{CommitMode, NearBounds};

/// What an application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum What {
    Write,
    Append,
    Truncate,
    Create,
    Mkdir,
    Symlink,
    Unlink,
    Rmdir,
    Rename,
    Exchange,
    Link,
    Chmod,
    Times,
    Open,
    Close,
    Fsync,
}

/// An application does something with what is there; the numbers choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub what: What,
    /// Which application, which may have a file open.
    pub client: usize,
    /// Chooses what it does it with.
    pub a: u64,
    /// Chooses the rest.
    pub b: u64,
}

/// A side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Side {
    Source,
    Target,
}

/// What of unflushed changes a power cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them.
    All,
    /// None.
    None,
    /// Of every second file none, or half of what had been written.
    Torn,
}

/// Something that happens. Parts of what is on its way to the source are eighths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    App(Action),
    /// All that can travel does, both ways, and is applied.
    Flow,
    /// The source connects, if it has no connection.
    Dial,
    /// So many frames go into the connection.
    Send(u64),
    /// Bytes arrive at the target.
    Up(Part),
    /// The target applies so many records.
    Apply(u64),
    /// What the target has to say goes into the connection.
    Back,
    /// Bytes arrive at the source.
    Down(usize),
    /// A sync of the target's that is under way beside records ends, whichever this says.
    EndSync(usize),
    /// The target makes durable.
    Sync,
    /// The source's other threads have a round.
    Turn,
    /// A thread of the pass does something.
    Pass,
    /// Milliseconds pass.
    Time(u64),
    /// Nothing arrives in these directions: at the target, at the source.
    Partition(bool, bool),
    /// Both directions are whole again.
    Heal,
    /// The connection is lost with so much on its way still delivered; whether the source, and the target, know at once.
    Lose {
        up: Part,
        down: usize,
        source: bool,
        target: bool,
    },
    /// What is still on its way of connections that are gone arrives.
    Stale,
    /// What was delivered last arrives once more.
    Again,
    /// A byte on its way to the target is another one.
    Corrupt(u64),
    /// A daemon is killed when it has passed so many of its kill points from now on; its machine loses power.
    Kill(Side, u64, Option<Loss>),
    /// Who ended is started again.
    Restart(Side),
    /// A disk fails so often, with no room or an error.
    Fault(Disk, bool, u64),
    /// Replication is switched off, or on again.
    Bypass(bool),
    /// A clock jumps by so many seconds.
    Jump(Side, i64),
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In which mode.
    pub mode: CommitMode,
    /// The bounds of `near`.
    pub bounds: NearBounds,
    /// How long the target tries what it cannot carry out, in milliseconds.
    pub retry_ms: Option<u64>,
    /// The source has a journal.
    pub journal: bool,
    /// How what is sent is told.
    pub wire: Wire,
    /// The replication set; empty: everything.
    pub set: &'static str,
    /// What happens.
    pub events: Vec<Event>,
}

/// The modes.
pub const MODES: [CommitMode; 5] =
    [CommitMode::Sync, CommitMode::Near, CommitMode::Real, CommitMode::Local, CommitMode::Remote];

/// Bounds of `near` of which one counts at a time: of operations, of bytes, of milliseconds.
const BOUNDS: [NearBounds; 3] = [
    NearBounds { operations: 3, bytes: 1 << 30, millis: 1 << 40 },
    NearBounds { operations: 1 << 30, bytes: 3000, millis: 1 << 40 },
    NearBounds { operations: 1 << 30, bytes: 1 << 30, millis: 2000 },
];

impl Plan {
    /// Of a seed: with a set and switching off, where it has such.
    pub fn of(seed: u64, steps: usize, mode: Option<CommitMode>) -> Self {
        let plain = Self::plain(seed, steps, mode);
        let (set, events) = border::of(seed, plain.events);
        Self { set, events, ..plain }
    }

    /// Of a seed, everything replicated all the time.
    pub fn plain(seed: u64, steps: usize, mode: Option<CommitMode>) -> Self {
        let mut random = Random::new(seed);
        let chosen = *random.pick(&MODES);
        let bounds = *random.pick(&BOUNDS);
        let retry_ms = Some(1200).filter(|_| random.once_in(2));
        let journal = !random.once_in(6);
        let wire = Wire::of(&mut random);
        // Some runs have a quiet network, and some no faults of disks, so that each kind shows what it does alone.
        let rough = Rough {
            net: !random.once_in(4),
            disk: random.once_in(2),
            clock: random.once_in(4),
            ends: !random.once_in(4),
        };
        let events = (0..steps).map(|_| event(&mut random, rough)).collect();
        Self { mode: mode.unwrap_or(chosen), bounds, retry_ms, journal, wire, set: "", events }
    }
}

#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools)] // independent facts
struct Rough {
    net: bool,
    disk: bool,
    clock: bool,
    ends: bool,
}

fn event(random: &mut Random, rough: Rough) -> Event {
    let eighths = |random: &mut Random| usize::try_from(random.below(9)).unwrap_or(8);
    match random.below(100) {
        0..=29 => Event::App(action(random)),
        30..=32 => Event::Dial,
        33..=40 => Event::Flow,
        41..=45 => Event::Send(1 + random.below(6)),
        46..=52 => Event::Up(if random.once_in(3) { Part::of(random) } else { Part::ALL }),
        53..=60 => Event::Apply(1 + random.below(4)),
        61..=64 => Event::Back,
        65..=69 => Event::Down(if random.once_in(3) { eighths(random) } else { 8 }),
        70 => Event::Sync,
        71 => Event::EndSync(usize::try_from(random.below(64)).unwrap_or(0)),
        72..=76 => Event::Turn,
        77..=84 => Event::Pass,
        85 | 86 => Event::Time(1 << random.below(14)),
        87 => Event::Heal,
        88..=91 if rough.net => trouble(random, eighths),
        92..=95 if rough.ends => {
            let side = *random.pick(&[Side::Source, Side::Target]);
            if random.once_in(2) {
                return Event::Restart(side);
            }
            let loss = *random.pick(&[Loss::All, Loss::None, Loss::Torn]);
            Event::Kill(side, 1 + random.below(12), Some(loss).filter(|_| random.once_in(3)))
        }
        96 | 97 if rough.disk => {
            let disks = [
                Disk::TargetApply,
                Disk::TargetApply,
                Disk::TargetNote,
                Disk::TargetSync,
                Disk::Journal,
                Disk::SourceSync,
                Disk::SourceRead,
            ];
            let times = if random.once_in(3) { 1 + random.below(40) } else { 1 + random.below(5) };
            Event::Fault(*random.pick(&disks), random.once_in(2), times)
        }
        98 if rough.clock => {
            let jump = i64::try_from(random.below(200)).unwrap_or(0) - 100;
            Event::Jump(Side::Target, jump * 60)
        }
        _ => Event::Apply(3),
    }
}

fn trouble(random: &mut Random, eighths: impl Fn(&mut Random) -> usize) -> Event {
    match random.below(9) {
        0..=3 => {
            let (up, down) = (Part::of(random), eighths(random));
            Event::Lose { up, down, source: !random.once_in(3), target: !random.once_in(3) }
        }
        4 => Event::Partition(random.once_in(2), random.once_in(2)),
        5 | 6 => Event::Stale,
        7 => Event::Again,
        _ => Event::Corrupt(random.bits()),
    }
}

fn action(random: &mut Random) -> Action {
    let what = match random.below(36) {
        0..=8 => What::Write,
        9..=11 => What::Append,
        12 | 13 => What::Truncate,
        14..=17 => What::Create,
        18 | 19 => What::Mkdir,
        20 => What::Symlink,
        21 | 22 => What::Unlink,
        23 => What::Rmdir,
        24 | 25 => What::Rename,
        26 => What::Exchange,
        27 => What::Link,
        28 => What::Chmod,
        29 => What::Times,
        30 => *random.pick(&[What::Open, What::Close]),
        _ => What::Fsync,
    };
    let client = usize::try_from(random.below(3)).unwrap_or(0);
    Action { what, client, a: random.bits() >> 32, b: random.bits() >> 32 }
}

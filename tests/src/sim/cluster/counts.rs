//! What runs come to, counted.

use platform::killpoint::KillPoint;
use platform::machine::Disk;
use protocol::TroubleKind;
use std::collections::{BTreeMap, BTreeSet};

/// What happened, and how often; what was come to.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Counts {
    pub runs: u64,
    pub answered: u64,
    pub released: u64,
    pub failed: u64,
    pub applied: u64,
    pub connections: u64,
    pub welcomed: u64,
    pub lost: u64,
    pub silences: u64,
    pub partitions: u64,
    pub parts: u64,
    pub short: u64,
    pub packed: u64,
    pub plain: u64,
    pub gathered: u64,
    pub beside: u64,
    pub overtaken: u64,
    pub cut_off: u64,
    pub refused: u64,
    pub corrupted: u64,
    pub stale: u64,
    pub repeated: u64,
    pub jumps: u64,
    pub waits: u64,
    pub pass_steps: u64,
    pub resumed: u64,
    pub source_power: u64,
    pub target_power: u64,
    pub degraded: u64,
    pub held: u64,
    pub blocked: u64,
    pub due: u64,
    pub mirroring: u64,
    pub away: u64,
    pub undecided: u64,
    pub damaged: u64,
    pub skipped: u64,
    pub stood: u64,
    pub sets: u64,
    pub entered: u64,
    pub left: u64,
    pub split: u64,
    pub bypasses: u64,
    /// Where daemons came to their ends.
    pub ends: BTreeSet<KillPoint>,
    /// Disks that failed.
    pub disks: BTreeSet<Disk>,
}

impl Counts {
    /// The target has trouble with a record.
    pub fn trouble(&mut self, kind: TroubleKind) {
        match kind {
            TroubleKind::Damaged => self.damaged += 1,
            TroubleKind::Skipped => self.skipped += 1,
            TroubleKind::Blocked => self.stood += 1,
            TroubleKind::Over | TroubleKind::Halted => {}
        }
    }

    /// All that is counted, by name.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("answered", self.answered),
            ("released", self.released),
            ("failed", self.failed),
            ("applied", self.applied),
            ("connections", self.connections),
            ("welcomed", self.welcomed),
            ("lost", self.lost),
            ("silences", self.silences),
            ("one-way partitions", self.partitions),
            ("partial deliveries", self.parts),
            ("connections with short fronts", self.short),
            ("connections with blocks", self.packed),
            ("connections with neither", self.plain),
            ("held back", self.gathered),
            ("applied beside a sync", self.beside),
            ("syncs that overtook another", self.overtaken),
            ("syncs that an end cut off", self.cut_off),
            ("refused", self.refused),
            ("corrupted", self.corrupted),
            ("stale", self.stale),
            ("repeated", self.repeated),
            ("clock jumps", self.jumps),
            ("waits", self.waits),
            ("steps of passes", self.pass_steps),
            ("resumed", self.resumed),
            ("power cuts of the source", self.source_power),
            ("power cuts of the target", self.target_power),
            ("degraded", self.degraded),
            ("held", self.held),
            ("blocked", self.blocked),
            ("due", self.due),
            ("mirroring", self.mirroring),
            ("away", self.away),
            ("undecided", self.undecided),
            ("damaged", self.damaged),
            ("passed over", self.skipped),
            ("stood", self.stood),
            ("sets", self.sets),
            ("entered the set", self.entered),
            ("left the set", self.left),
            ("states with a file on both sides", self.split),
            ("bypasses", self.bypasses),
            ("ends at places", self.ends.len() as u64),
            ("disks that failed", self.disks.len() as u64),
        ])
    }

    /// With what another run came to.
    pub fn add(&mut self, other: &Self) {
        self.runs += 1;
        let sums = [
            (&mut self.answered, other.answered),
            (&mut self.released, other.released),
            (&mut self.failed, other.failed),
            (&mut self.applied, other.applied),
            (&mut self.connections, other.connections),
            (&mut self.welcomed, other.welcomed),
            (&mut self.lost, other.lost),
            (&mut self.silences, other.silences),
            (&mut self.partitions, other.partitions),
            (&mut self.parts, other.parts),
            (&mut self.short, other.short),
            (&mut self.packed, other.packed),
            (&mut self.plain, other.plain),
            (&mut self.gathered, other.gathered),
            (&mut self.beside, other.beside),
            (&mut self.overtaken, other.overtaken),
            (&mut self.cut_off, other.cut_off),
            (&mut self.refused, other.refused),
            (&mut self.corrupted, other.corrupted),
            (&mut self.stale, other.stale),
            (&mut self.repeated, other.repeated),
            (&mut self.jumps, other.jumps),
            (&mut self.waits, other.waits),
            (&mut self.pass_steps, other.pass_steps),
            (&mut self.resumed, other.resumed),
            (&mut self.source_power, other.source_power),
            (&mut self.target_power, other.target_power),
            (&mut self.degraded, other.degraded),
            (&mut self.held, other.held),
            (&mut self.blocked, other.blocked),
            (&mut self.due, other.due),
            (&mut self.mirroring, other.mirroring),
            (&mut self.away, other.away),
            (&mut self.undecided, other.undecided),
            (&mut self.damaged, other.damaged),
            (&mut self.skipped, other.skipped),
            (&mut self.stood, other.stood),
            (&mut self.sets, other.sets),
            (&mut self.entered, other.entered),
            (&mut self.left, other.left),
            (&mut self.split, other.split),
            (&mut self.bypasses, other.bypasses),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        self.ends.extend(&other.ends);
        self.disks.extend(&other.disks);
    }
}

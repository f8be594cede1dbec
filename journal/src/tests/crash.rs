//! Random appends, syncs, trims, areas that come and go, and a power cut or a crash of the daemon at any moment: what was durable is there, what is there
//! was appended at that number, and nothing is missing in between.

use super::rig::{BOOT, frame, incarnation, tag};
use super::rng::Rng;
use super::sim_disk::{Bug, SimDisk};
use crate::{AppendError, AreaConfig, AreaKind, Config, Journal, Place, Recovered};
use protocol::{Incarnation, SeqNo};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const STEPS: u64 = 150;
const AREA: u64 = 256 << 10;

/// What the user of the journal knows.
#[derive(Clone)]
struct Known {
    incarnation: Option<Incarnation>,
    /// What was appended last at each number.
    tags: BTreeMap<u64, u64>,
    next: u64,
    trimmed: u64,
    durable: u64,
}

struct Run {
    seed: u64,
    rng: Rng,
    disk: SimDisk,
    bug: Option<Bug>,
    journal: Option<Journal>,
    areas: Vec<AreaConfig>,
    known: Known,
    /// Where it may be cut.
    place: Option<Place>,
    /// What was before each `begin` that failed since the last that did not.
    before: Vec<Known>,
    boot: u8,
    begun: u8,
    tags: u64,
    /// All records of one number have the same length, so that old ones lie exactly where new ones should.
    same_lengths: bool,
    /// Something stopped in the middle: there may be damage, until it is overwritten.
    interrupted: bool,
}

type Checked = Result<(), String>;

impl Run {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::new(seed);
        let mut areas = Vec::new();
        if rng.one_in(2) {
            areas.push(AreaConfig::new(AreaKind::Memory, "/memory/a", AREA));
        }
        areas.push(AreaConfig::new(AreaKind::Disk, "/disk/a", AREA * (1 + rng.below(2))));
        let known = Known { incarnation: None, tags: BTreeMap::new(), next: 1, trimmed: 0, durable: 0 };
        let (same_lengths, disk) = (rng.one_in(2), SimDisk::new(rng.below(u64::MAX), bug));
        let (boot, begun, tags, interrupted) = (1, 0, 0, false);
        Self {
            seed,
            rng,
            disk,
            bug,
            journal: None,
            areas,
            known,
            place: None,
            before: Vec::new(),
            boot,
            begun,
            tags,
            same_lengths,
            interrupted,
        }
    }

    fn all(&mut self) -> Checked {
        if self.rng.one_in(4) {
            self.disk.fail_sometimes();
            self.interrupted = true;
        }
        self.open(false)?;
        for _ in 0..STEPS {
            if self.rng.one_in(60) {
                self.disk.stop_after(self.rng.below(30));
            }
            let gave_up = self.step();
            if self.disk.is_dead() || gave_up || self.rng.one_in(80) {
                self.crash()?;
            }
        }
        self.crash()
    }

    fn crash(&mut self) -> Checked {
        self.journal = None;
        self.interrupted |= self.disk.is_dead();
        let power = self.rng.one_in(2);
        if power {
            self.disk.power_cut();
            self.boot += 1;
            self.interrupted = true;
        } else {
            self.disk.restart();
        }
        if self.rng.one_in(4) {
            // The machine stops again while the journal is opened.
            self.disk.stop_after(self.rng.below(4));
            let _ = Journal::open(Arc::new(self.disk.clone()), self.config());
            if self.rng.one_in(2) {
                self.disk.power_cut();
                self.boot += 1;
                self.interrupted = true;
                return self.open(true);
            }
            self.disk.restart();
        }
        self.open(power)
    }

    fn config(&self) -> Config {
        let mut boot = BOOT;
        boot[0] = self.boot;
        Config { boot, areas: self.areas.clone() }
    }

    fn open(&mut self, power: bool) -> Checked {
        let (journal, found) = Journal::open(Arc::new(self.disk.clone()), self.config()).map_err(|e| e.to_string())?;
        self.check(&journal, &found, power)?;
        self.journal = Some(journal);
        self.place = None;
        if self.known.incarnation.is_none() || self.rng.one_in(5) {
            self.begin();
        }
        Ok(())
    }

    /// What was found against what is known; from here on that is what is known.
    fn check(&mut self, journal: &Journal, found: &Recovered, power: bool) -> Checked {
        let say = |what: String| Err(format!("seed {}: {what}; found {found:?}", self.seed));
        let before = std::mem::take(&mut self.before);
        if found.incarnation != self.known.incarnation
            && let Some(before) = before.into_iter().find(|before| before.incarnation == found.incarnation)
        {
            self.known = before;
        }
        let known = &mut self.known;
        let needed = if power { known.durable } else { known.next - 1 };
        let needs = needed > known.trimmed;
        if found.incarnation.is_none() || known.incarnation.is_none() {
            if needs || found.incarnation != known.incarnation && found.incarnation.is_some() {
                return say(format!("{:?} expected, with {} to {needed}", known.incarnation, known.trimmed + 1));
            }
            known.incarnation = None;
            return Ok(());
        }
        if found.incarnation != known.incarnation {
            return say(format!("{:?} expected", known.incarnation));
        }
        let (oldest, next) = (found.oldest.get(), found.next.get());
        if needs && (oldest > known.trimmed + 1 || next <= needed) {
            return say(format!("{} to {needed} expected", known.trimmed + 1));
        }
        if !self.interrupted && !found.damage.is_empty() {
            return say("damage where nothing was damaged".to_owned());
        }
        let mut reader = journal.reader(found.oldest);
        for seq in oldest..next {
            let read = reader.read().map_err(|e| e.to_string()).and_then(|entry| entry.ok_or("none".to_owned()));
            match (read, known.tags.get(&seq)) {
                (Ok(entry), Some(expected)) if tag(&entry.frame) == *expected && entry.seq.get() == seq => {}
                (read, expected) => return say(format!("record {seq}: {expected:?} expected, {read:?} read")),
            }
        }
        if !matches!(reader.read(), Ok(None)) {
            return say("more is read than was found".to_owned());
        }
        known.tags.split_off(&next);
        known.next = next;
        known.trimmed = known.trimmed.max(oldest - 1).min(next - 1);
        known.durable = known.durable.min(next - 1);
        Ok(())
    }

    fn begin(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        self.begun += 1;
        let first = if self.rng.one_in(3) { self.known.next + self.rng.below(9) } else { 1 };
        let known = Known {
            incarnation: Some(incarnation(self.begun)),
            tags: BTreeMap::new(),
            next: first,
            trimmed: first - 1,
            durable: first - 1,
        };
        let old = std::mem::replace(&mut self.known, known);
        match journal.begin(incarnation(self.begun), SeqNo::new(first)) {
            Ok(()) => self.before.clear(),
            Err(_) => self.before.push(old),
        }
    }

    /// `true`: an error that only a crash of the daemon gets over.
    fn step(&mut self) -> bool {
        let what = self.rng.below(100);
        let Some(journal) = &mut self.journal else { return false };
        let syncer = journal.syncer();
        match what {
            0..60 => return self.append(),
            60..70 => {
                let to = SeqNo::new(self.known.durable + self.rng.below(self.known.next - self.known.durable + 2));
                match syncer.sync_to(to) {
                    Ok(durable) => self.known.durable = durable.get().min(self.known.next - 1),
                    Err(_) => return true,
                }
            }
            70..84 => {
                let span = self.known.next - 1 - self.known.trimmed;
                let up_to = self.known.trimmed + self.rng.below(span + 1);
                self.known.trimmed = up_to;
                let too_much = if self.bug == Some(Bug::TrimTooMuch) { 5 } else { 0 };
                journal.trim(SeqNo::new(up_to + too_much));
            }
            84..92 => drop(syncer.maintain()),
            92..95 => self.change_areas(),
            95 => self.place = Some(journal.place()),
            96..98 => return self.cut(),
            _ => self.begin(),
        }
        false
    }

    fn cut(&mut self) -> bool {
        let (Some(journal), Some(place)) = (&mut self.journal, self.place.take()) else { return false };
        let next = place.next().get();
        if self.known.trimmed >= next || self.known.next < next {
            return false;
        }
        let cut = journal.cut(&place);
        if matches!(cut, Ok(false)) {
            return false;
        }
        self.known.next = next;
        self.known.durable = self.known.durable.min(next - 1);
        if cut.is_ok() {
            // Otherwise they may be there or not.
            self.known.tags.split_off(&next);
        }
        cut.is_err()
    }

    fn append(&mut self) -> bool {
        for _ in 0..=self.rng.below(12) {
            let Some(journal) = &mut self.journal else { return false };
            let seq = self.known.next;
            let long = if self.same_lengths { seq * 997 } else { self.rng.below(1 << 20) };
            let payload = usize::try_from(if long.is_multiple_of(9) { long % 20_000 } else { long % 3000 }).unwrap();
            self.tags += 1;
            self.known.tags.insert(seq, self.tags);
            match journal.append(&frame(seq, self.tags, payload), SeqNo::new(seq), self.tags) {
                Ok(()) => self.known.next += 1,
                // Also after an error it may be there when the daemon dies in the middle of it.
                Err(AppendError::Full) => {
                    let up_to = self.known.next - 1 - self.rng.below(self.known.next - self.known.trimmed);
                    self.known.trimmed = self.known.trimmed.max(up_to);
                    journal.trim(SeqNo::new(self.known.trimmed));
                }
                Err(_) => return true,
            }
        }
        false
    }

    fn change_areas(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let syncer = journal.syncer();
        let dir = Path::new("/more/a");
        if self.areas.iter().any(|area| area.dir == dir) {
            if syncer.drop_area(dir).is_ok() {
                self.areas.retain(|area| area.dir != dir);
            }
            return;
        }
        let area = AreaConfig::new(AreaKind::Extension, dir, AREA);
        if syncer.add_area(area.clone()).is_ok() || self.disk.is_dead() {
            self.areas.push(area);
        }
    }
}

fn run(seed: u64, bug: Option<Bug>) -> Checked {
    Run::new(seed, bug).all()
}

#[test]
fn whatever_stops_it_the_journal_keeps_what_was_durable_and_invents_nothing() {
    let seeds = std::env::var("REPLFS_JOURNAL_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let from = std::env::var("REPLFS_JOURNAL_FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in from..from + seeds {
        run(seed, None).unwrap_or_else(|what| panic!("{what}"));
    }
}

#[test]
fn the_checks_see_deliberate_bugs() {
    for bug in [Bug::NoDirSync, Bug::NoSync, Bug::LateHeader, Bug::NoSalt, Bug::TrimTooMuch] {
        let noticed = (1..=3000).find_map(|seed| run(seed, Some(bug)).err().map(|what| (seed, what)));
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{bug:?} is not noticed"));
        println!("{bug:?}: seed {seed}: {what}");
    }
}

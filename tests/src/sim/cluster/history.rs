//! What was answered when, what the source looked like after each operation, and what that says of the target: the checks. Nothing of the simulator is used here.

use super::snapshot::Snapshot;
use super::view::View;
use srm::set::Set;
use srm::status::{CommitMode, NearBounds};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::time::Instant;

/// Records of one operation, at the most.
const MOST_TOLD: u64 = 8;

/// What finds fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// A number means one thing, and numbers follow each other (I1).
    Order,
    /// A target that calls itself coherent shows what the source showed, and never goes back (I2).
    Prefix,
    /// What a commit mode promises of what was answered.
    Promise(CommitMode),
    /// After the faults all comes to rest, both sides are the same, and operations are answered.
    Convergence,
    /// What is queued, and what the journal takes, stays within its bound.
    Bounds,
    /// What an application waits for is synced before it is acknowledged, and before what began after it was answered is applied (R11, R12).
    Syncs,
    /// What ships asserts.
    Assertion,
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order => f.write_str("order"),
            Self::Prefix => f.write_str("prefix"),
            Self::Promise(mode) => write!(f, "{mode}"),
            Self::Convergence => f.write_str("convergence"),
            Self::Bounds => f.write_str("bounds"),
            Self::Syncs => f.write_str("syncs"),
            Self::Assertion => f.write_str("assertion"),
        }
    }
}

/// What a check says.
pub type Checked = Result<(), (Checker, String)>;

/// What an application knows of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// That it is done.
    Done,
    /// The same, while the mode was not in force.
    Released,
    /// That it failed.
    Failed,
}

/// An operation.
#[derive(Clone, Debug)]
struct Known {
    /// What the source looked like before it.
    before: usize,
    /// What the source looked like after it; `None`: it is not carried out.
    state: Option<usize>,
    /// The same, where the target is to show something of it.
    shown: Option<usize>,
    told: Told,
    at: Option<Instant>,
    bytes: u64,
    words: String,
}

/// See the module.
#[derive(Debug)]
pub struct History {
    mode: CommitMode,
    bounds: NearBounds,
    set: Set,
    states: Vec<View>,
    known: Vec<Known>,
    /// The earliest state that the target can be at.
    shown: usize,
    /// The latest one that looks as the target does.
    latest: Option<usize>,
    /// What an operation across the border of the set came to: numbers of records, of which the target shows directories with other times before the last.
    crossings: Vec<Range<u64>>,
    /// The target is in the midst of one.
    amid: bool,
    meant: HashMap<(u128, u64), blake3::Hash>,
}

impl History {
    /// Of a source with this set that looks like this.
    pub fn new(mode: CommitMode, bounds: NearBounds, set: Set, first: Snapshot) -> Self {
        let (states, known) = (vec![View::of(first, &set)], Vec::new());
        Self {
            mode,
            bounds,
            set,
            states,
            known,
            shown: 0,
            latest: None,
            crossings: Vec::new(),
            amid: false,
            meant: HashMap::new(),
        }
    }

    /// An operation begins; its number.
    pub fn begins(&mut self, words: String) -> usize {
        let before = self.now();
        self.known.push(Known { before, state: None, shown: None, told: Told::Nothing, at: None, bytes: 0, words });
        self.known.len() - 1
    }

    /// The source looks like this now.
    pub fn source_is(&mut self, now: Snapshot) {
        if *self.source() != now {
            self.states.push(View::of(now, &self.set));
        }
    }

    /// What the source looks like, as far as is known.
    pub fn source(&self) -> &Snapshot {
        &self.view().full
    }

    /// The same, with what of it is in the set.
    pub fn view(&self) -> &View {
        &self.states[self.states.len() - 1]
    }

    /// The number of the present state.
    pub fn now(&self) -> usize {
        self.states.len() - 1
    }

    /// An operation was carried out at this time, changed something or did not, and wrote so many bytes.
    pub fn carried_out(&mut self, number: usize, changed: bool, at: Instant, bytes: u64) {
        let state = if changed { self.now() } else { 0 };
        let shows = changed && self.view().differs(&self.states[self.known[number].before]);
        let known = &mut self.known[number];
        (known.state, known.at, known.bytes) = (Some(state), Some(at), bytes);
        known.shown = Some(if shows { state } else { 0 });
    }

    /// An operation on names was told in these records, which begin behind `last`.
    pub fn told_in(&mut self, last: u64, newest: u64) {
        // What happens across the border is told as several: something is set aside, and what comes in is looked at.
        if !self.set.is_everything() && newest > last + 1 {
            self.crossings.push(last + 1..newest);
        }
    }

    /// The daemon has come to its end in the midst of that: the next one may go on with what was told so far.
    pub fn told_in_part(&mut self, last: u64) {
        self.told_in(last, last + MOST_TOLD);
    }

    /// The target has applied so many records and looks like this, and says whether it is coherent.
    pub fn target_is(&mut self, coherent: bool, applied: u64, tree: &Snapshot) -> Checked {
        // At a new beginning of numbers nothing of it has changed yet.
        self.amid = if applied == 0 { self.amid } else { self.crossings.iter().any(|told| told.contains(&applied)) };
        let found = self.states.iter().rposition(|state| state.is_shown_by(tree));
        // One that is ahead, by a proposal, still has what it had. One that has just lost its coherence, because its disk failed, may have acknowledged before:
        // what it shows is there. Where it passed a record over and went on, it shows no state and has what it had; the source may not have heard of it.
        self.latest = if coherent { found.max(self.latest) } else { found.or(self.latest) };
        // In `remote` it is ahead by what is proposed.
        if !coherent || self.mode == CommitMode::Remote {
            return Ok(());
        }
        if self.amid && self.states[self.shown..].iter().any(|state| state.is_shown_but_for_times(tree)) {
            return Ok(());
        }
        if let Some(later) = self.states[self.shown..].iter().position(|state| state.is_shown_by(tree)) {
            self.shown += later;
            return Ok(());
        }
        let text = found.map_or_else(
            || format!("it differs from the last state in {}", self.view().difference(tree)),
            |back| format!("it shows state {back} after state {}", self.shown),
        );
        Err((Checker::Prefix, format!("a coherent target shows what the source did not, or not since: {text}")))
    }

    /// The target's machine has lost power: what it showed may be gone.
    pub fn target_goes_back(&mut self) {
        self.latest = None;
    }

    /// An application was told this.
    pub fn tell(&mut self, number: usize, told: Told) -> Checked {
        self.known[number].told = told;
        if told != Told::Done {
            return Ok(());
        }
        let known = &self.known[number];
        let fault =
            |text: String| Err((Checker::Promise(self.mode), format!("'{}' was answered and {text}", known.words)));
        // What changed nothing is behind nothing, also where the target shows no state of the source's.
        let behind = |known: &Known| {
            known.shown.is_some_and(|state| state > 0 && self.latest.is_none_or(|latest| latest < state))
        };
        match self.mode {
            CommitMode::Sync | CommitMode::Remote => {
                if behind(known) {
                    return fault("is not on the target".to_owned());
                }
            }
            // A target that shows no state of the source's since its machine lost power has lost what it had acknowledged, and the source may not have heard of it.
            CommitMode::Near if self.latest.is_none() => {}
            CommitMode::Near => {
                let done = || self.known.iter().filter(|known| known.told == Told::Done && behind(known));
                let (operations, bytes) = (done().count() as u64, done().map(|known| known.bytes).sum::<u64>());
                // As of when it was carried out: what grows old while it waits holds up the next one.
                let then = known.at.filter(|_| known.shown.is_some_and(|state| state > 0));
                let old = done().filter_map(|old| Some(then?.saturating_duration_since(old.at?))).max();
                if operations > self.bounds.operations || bytes > self.bounds.bytes {
                    return fault(format!("{operations} operations, {bytes} bytes are behind"));
                }
                if old.is_some_and(|old| old > self.bounds.age()) {
                    return fault(format!("something that is {old:?} old is behind"));
                }
            }
            CommitMode::Real | CommitMode::Local => {}
        }
        Ok(())
    }

    /// The source's daemon has come to its end.
    pub fn source_ends(&self) -> Checked {
        match self.known.iter().find(|known| known.told == Told::Done && known.state.is_none()) {
            Some(known) => {
                let text = format!("'{}' was answered and is not on the source", known.words);
                Err((Checker::Promise(self.mode), text))
            }
            None => Ok(()),
        }
    }

    /// SRC's machine has lost power, and of it this state, or a later one, is left.
    pub fn source_goes_back(&self, durable: usize) -> Checked {
        let lost = |known: &&Known| known.told == Told::Done && known.state.is_some_and(|state| state > durable);
        match self.known.iter().find(lost).filter(|_| self.mode == CommitMode::Local) {
            Some(known) => {
                let text = format!("'{}' was answered and is not on the source's disk", known.words);
                Err((Checker::Promise(self.mode), text))
            }
            None => Ok(()),
        }
    }

    /// A record is sent; numbers of one run follow each other on one connection from `last` on.
    pub fn sends(&mut self, run: u128, last: Option<u64>, number: u64, bytes: &[&[u8]]) -> Checked {
        if last.is_some_and(|last| number != last + 1) {
            return Err((Checker::Order, format!("record {number} is sent after {last:?}")));
        }
        let mut hasher = blake3::Hasher::new();
        for part in bytes {
            hasher.update(part);
        }
        let hash = hasher.finalize();
        if *self.meant.entry((run, number)).or_insert(hash) == hash {
            return Ok(());
        }
        Err((Checker::Order, format!("number {number} means two things")))
    }

    /// What an application was told of this one.
    pub fn told(&self, number: usize) -> Told {
        self.known[number].told
    }

    /// What the last application was told.
    pub fn last(&self) -> Option<Told> {
        self.known.last().map(|known| known.told)
    }

    /// How many were told this.
    pub fn count(&self, told: Told) -> u64 {
        self.known.iter().filter(|known| known.told == told).count() as u64
    }
}

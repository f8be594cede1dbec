//! What the target passed over because it could not carry it out: where, why, since when; and where that is now. Pure: numbers,
//! paths and the time are given. What follows from it stands in `passed`.
//!
//! A target names a place as it was at the number of the record. What has moved on the source since then is remembered until
//! that number cannot come any more, so a flag always stands at the place as it is called now.

use protocol::{RelPath, SeqNo};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Places that are known one by one. With more, the directories that they are in are flagged.
const MOST: usize = 256;
/// With so many, the target is taken for one that can carry out nothing, and is sent nothing more until it can.
const MANY: usize = 64;
/// Moves that are remembered.
const MOST_MOVES: usize = 4096;
/// The pause before what is flagged is tried again; doubled each time that it fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A place that is not on the target as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    /// Why, in the target's words, of that one: what came later may only follow from it.
    pub reason: String,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    /// The first record that was passed over here.
    pub seq: SeqNo,
    /// Records that were passed over here.
    pub operations: u64,
    /// How much had been told when the newest of them was.
    pub told: u64,
}

/// What changed of names on the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// The first became the second.
    To(RelPath, RelPath),
    /// They changed places.
    Exchanged(RelPath, RelPath),
    /// The first is gone, and what it named has these as well.
    Left(RelPath, Vec<RelPath>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Flags {
    at: BTreeMap<RelPath, Flag>,
    /// By the number of the record that did it.
    moves: VecDeque<(SeqNo, Moved)>,
    /// Where what was passed over up to this number is now, is not known.
    unknown_until: SeqNo,
    /// The newest record that was passed over.
    heard: SeqNo,
    /// Counts what the target told.
    told: u64,
    /// A pass that looks at all that was flagged when so much had been told.
    cover: Option<(u64, u64)>,
    /// Places where a record of the pass that runs was passed over.
    in_vain: HashSet<RelPath>,
    /// With this number applied, and nothing told before, all is well.
    pub proof: Option<SeqNo>,
    /// Nothing is sent until this one is applied.
    pub probe: Option<SeqNo>,
    /// Nothing is sent until a probe is applied.
    pub stuck: bool,
    next_try: Option<Instant>,
    pause: Duration,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            at: BTreeMap::new(),
            moves: VecDeque::new(),
            unknown_until: SeqNo::ZERO,
            heard: SeqNo::ZERO,
            told: 0,
            cover: None,
            in_vain: HashSet::new(),
            proof: None,
            probe: None,
            stuck: false,
            next_try: None,
            pause: FIRST_PAUSE,
        }
    }
}

/// Whether `path` is `above` or lies below it.
fn is_in(above: &RelPath, path: &RelPath) -> bool {
    let (above, path) = (above.as_bytes(), path.as_bytes());
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// `path`, which lies in `from`, after that became `to`. `None`: it would be too long.
fn carried(path: &RelPath, from: &RelPath, to: &RelPath) -> Option<RelPath> {
    let rest = &path.as_bytes()[from.as_bytes().len()..];
    RelPath::new(&[to.as_bytes(), rest].concat()).ok()
}

impl Moved {
    /// Whether anything at this path is elsewhere afterwards.
    fn concerns(&self, path: &RelPath) -> bool {
        let touches = |end: &RelPath| is_in(end, path) || is_in(path, end);
        match self {
            Self::To(from, _) | Self::Left(from, _) => touches(from),
            Self::Exchanged(one, other) => touches(one) || touches(other),
        }
    }

    /// Where what was flagged at a path is afterwards.
    fn apply(&self, path: &RelPath) -> Option<Vec<RelPath>> {
        let with = |more: &[RelPath]| Some([std::slice::from_ref(path), more].concat());
        match self {
            Self::To(from, to) if is_in(from, path) => Some(vec![carried(path, from, to)?]),
            Self::Exchanged(one, other) if is_in(one, path) => Some(vec![carried(path, one, other)?]),
            Self::Exchanged(one, other) if is_in(other, path) => Some(vec![carried(path, other, one)?]),
            // What it is in was flagged as a whole, and it has left that.
            Self::To(from, to) if is_in(path, from) => with(std::slice::from_ref(to)),
            Self::Exchanged(one, other) if is_in(path, one) => with(std::slice::from_ref(other)),
            Self::Exchanged(one, other) if is_in(path, other) => with(std::slice::from_ref(one)),
            Self::Left(from, others) if is_in(path, from) => with(others),
            _ => with(&[]),
        }
    }
}

impl Flags {
    /// Nothing is flagged.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// How many places are.
    pub fn count(&self) -> usize {
        self.at.len()
    }

    /// So many that nothing more is to be sent.
    pub fn are_many(&self) -> bool {
        self.at.len() >= MANY
    }

    /// In the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Flag)> {
        self.at.iter()
    }

    /// The first number that was passed over.
    pub fn first(&self) -> Option<SeqNo> {
        self.at.values().map(|flag| flag.seq).min()
    }

    /// A record was passed over. `false`: nobody knows where that is now.
    pub fn tell(&mut self, seq: SeqNo, path: &RelPath, reason: &str, now_ms: u64) -> bool {
        self.heard = self.heard.max(seq);
        self.told += 1;
        self.proof = None;
        if seq <= self.unknown_until {
            return false;
        }
        let mut paths = vec![path.clone()];
        for (_, moved) in self.moves.iter().filter(|(number, _)| *number > seq) {
            let Some(after) = paths.iter().map(|path| moved.apply(path)).collect::<Option<Vec<_>>>() else {
                return false;
            };
            paths = after.concat();
            paths.sort_unstable();
            paths.dedup();
            if paths.len() > MOST {
                return false;
            }
        }
        for path in paths {
            if self.in_vain.len() < MOST {
                self.in_vain.insert(path.clone());
            }
            let flag = Flag { reason: reason.to_owned(), since_ms: now_ms, seq, operations: 1, told: self.told };
            self.add(path, flag);
        }
        self.fold();
        true
    }

    fn add(&mut self, path: RelPath, flag: Flag) {
        let above = self.at.iter_mut().find(|(above, _)| is_in(above, &path));
        let there = match above {
            Some((_, there)) => there,
            None => self.at.entry(path).or_insert(Flag { operations: 0, ..flag.clone() }),
        };
        there.operations = there.operations.saturating_add(flag.operations);
        there.since_ms = there.since_ms.min(flag.since_ms);
        there.told = there.told.max(flag.told);
        if flag.seq < there.seq {
            (there.seq, there.reason) = (flag.seq, flag.reason);
        }
    }

    /// Too many are taken together by the directories that they are in.
    fn fold(&mut self) {
        if self.at.len() <= MOST {
            return;
        }
        while self.at.len() > MOST / 2 {
            for (path, flag) in std::mem::take(&mut self.at) {
                let above = path.split_last().map_or_else(RelPath::root, |(above, _)| above);
                self.add(above, flag);
            }
            // Of one within another only the other is left.
            for (path, flag) in std::mem::take(&mut self.at) {
                self.add(path, flag);
            }
        }
    }

    /// Names changed on the source, with the record of this number or the last one before it; `before`: the newest number before
    /// that. `false`: nobody knows any more where what is flagged is.
    pub fn moved(&mut self, moved: Moved, before: SeqNo, seq: SeqNo) -> bool {
        let mut all_known = true;
        let concerned: Vec<RelPath> = self.at.keys().filter(|path| moved.concerns(path)).cloned().collect();
        // All of them first: one may come to where another was.
        let concerned: Vec<_> = concerned.into_iter().filter_map(|path| self.at.remove_entry(&path)).collect();
        for (path, flag) in concerned {
            match moved.apply(&path) {
                Some(paths) => {
                    // What was passed over is counted once.
                    let counts = std::iter::once(flag.operations).chain(std::iter::repeat(0));
                    for (path, operations) in paths.into_iter().zip(counts) {
                        self.add(path, Flag { operations, ..flag.clone() });
                    }
                }
                None => all_known = false,
            }
        }
        // The record that moved it may have been passed over already: then the old name is as wrong as the new one.
        if let (Moved::To(from, to) | Moved::Exchanged(from, to), true) = (&moved, self.heard > before)
            && let Some(flag) = self.at.iter().find(|(path, _)| is_in(path, to)).map(|(_, flag)| flag.clone())
        {
            self.add(from.clone(), Flag { operations: 0, ..flag });
        }
        self.fold();
        self.moves.push_back((seq, moved));
        if self.moves.len() > MOST_MOVES
            && let Some((seq, _)) = self.moves.pop_front()
        {
            self.unknown_until = seq;
        }
        all_known
    }

    /// What was numbered behind `newest` is never sent, and the numbers are given out again: what moved with those did so behind what is queued, and before
    /// what is numbered from now on.
    pub fn given_up(&mut self, newest: SeqNo) {
        let next = newest.next();
        for (seq, _) in &mut self.moves {
            *seq = next.min(*seq);
        }
        self.unknown_until = self.unknown_until.min(next);
    }

    /// Whether this path is flagged, or lies in what is.
    pub fn concern(&self, path: &RelPath) -> bool {
        self.at.keys().any(|above| is_in(above, path))
    }

    /// Names changed up to this number that nobody remembers.
    pub fn forget_until(&mut self, seq: SeqNo) {
        self.unknown_until = self.unknown_until.max(seq);
    }

    /// Everything up to this is applied, or passed over and told of. Whether that proves that nothing is flagged any more.
    pub fn applied(&mut self, applied: SeqNo) -> bool {
        while self.moves.front().is_some_and(|(seq, _)| *seq <= applied) {
            self.moves.pop_front();
        }
        if self.probe.is_some_and(|probe| probe <= applied) {
            (self.probe, self.stuck) = (None, false);
        }
        if self.proof.is_none_or(|proof| proof > applied) {
            return false;
        }
        let healed = !self.at.is_empty();
        self.at.clear();
        self.rest();
        self.pause = FIRST_PAUSE;
        healed
    }

    /// Everything is to be compared: nothing need be known one by one.
    pub fn clear(&mut self) {
        self.at.clear();
        self.moves.clear();
        self.unknown_until = SeqNo::ZERO;
        self.heard = SeqNo::ZERO;
        self.rest();
    }

    fn rest(&mut self) {
        self.in_vain.clear();
        (self.cover, self.proof, self.probe, self.stuck, self.next_try) = (None, None, None, false, None);
    }

    /// It is tried again after a pause, if that is not decided yet.
    pub fn schedule(&mut self, now: Instant) {
        if self.next_try.is_none() {
            self.next_try = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether to try now; asked once.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.next_try.is_some_and(|at| at <= now) && self.proof.is_none() && self.probe.is_none();
        if due {
            self.next_try = None;
        }
        due
    }

    /// What is to be looked at, and how much has been told so far.
    pub fn begin(&mut self) -> (Vec<RelPath>, u64) {
        self.in_vain.clear();
        (self.at.keys().cloned().collect(), self.told)
    }

    /// The pass with this number looks at all that was flagged when so much had been told.
    pub fn cover(&mut self, pass: u64, told: u64) {
        self.cover = Some((pass, told));
    }

    /// Whether the end of this pass leaves nothing flagged, as far as the target has told.
    pub fn are_settled_by(&self, pass: u64) -> bool {
        self.at.is_empty() || self.cover == Some((pass, self.told))
    }

    /// A pass is over that leaves something flagged. What it looked at and nothing was told of since is not flagged any more; where that is so for most of it, the
    /// next try does not wait for long.
    pub fn leave(&mut self, pass: u64) {
        let Some((_, told)) = self.cover.filter(|(number, _)| *number == pass) else { return };
        let before = self.at.len();
        self.at.retain(|_, flag| flag.told > told);
        if self.at.len() * 2 < before {
            self.pause = FIRST_PAUSE;
        }
    }

    /// Whether the pass that runs tried this place in vain.
    pub fn is_in_vain(&self, path: &RelPath) -> bool {
        self.in_vain.contains(path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn seq(n: u64) -> SeqNo {
        SeqNo::new(n)
    }

    fn at(flags: &Flags) -> Vec<String> {
        flags.iter().map(|(path, _)| path.to_string()).collect()
    }

    fn tell(flags: &mut Flags, number: u64, at: &str) -> bool {
        flags.tell(seq(number), &path(at), "no space", 7)
    }

    fn rename(flags: &mut Flags, from: &str, to: &str, number: u64) {
        assert!(flags.moved(Moved::To(path(from), path(to)), seq(number - 1), seq(number)));
    }

    #[test]
    fn what_moved_with_numbers_that_are_given_out_again_moved_before_those() {
        let mut flags = Flags::default();
        rename(&mut flags, "a", "b", 7);
        rename(&mut flags, "c", "d", 9);
        flags.given_up(seq(5));
        // Of what was sent before, and of what is numbered from now on.
        assert!(tell(&mut flags, 5, "a") && tell(&mut flags, 7, "c"));
        assert_eq!(at(&flags), ["b", "c"]);
    }

    #[test]
    fn a_flag_stands_where_the_file_is_now() {
        let mut flags = Flags::default();
        rename(&mut flags, "d", "e", 5);
        rename(&mut flags, "e/f", "g", 6);
        assert!(tell(&mut flags, 4, "d/f") && tell(&mut flags, 5, "d/x") && tell(&mut flags, 7, "d/f"));
        assert_eq!(at(&flags), ["d/f", "d/x", "g"]);
        rename(&mut flags, "g", "h", 8);
        assert!(flags.moved(Moved::Exchanged(path("h"), path("d/x")), seq(8), seq(9)));
        assert_eq!(at(&flags), ["d/f", "d/x", "h"]);
        assert!(flags.moved(Moved::Left(path("h"), vec![path("i")]), seq(9), seq(10)));
        assert_eq!(at(&flags), ["d/f", "d/x", "h", "i"]);
        // What is in a place that is flagged as a whole and leaves it is flagged as well.
        assert!(tell(&mut flags, 11, "whole"));
        rename(&mut flags, "whole/part", "part", 12);
        assert!(at(&flags).contains(&"part".to_owned()));
    }

    #[test]
    fn a_rename_that_was_passed_over_leaves_both_names_wrong() {
        let mut told_before = Flags::default();
        assert!(tell(&mut told_before, 5, "a") && tell(&mut told_before, 5, "b"));
        rename(&mut told_before, "a", "b", 5);
        let mut told_after = Flags::default();
        rename(&mut told_after, "a", "b", 5);
        assert!(tell(&mut told_after, 5, "a") && tell(&mut told_after, 5, "b"));
        assert_eq!((at(&told_before), at(&told_after)), (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()]));
    }

    #[test]
    fn what_leaves_a_flagged_directory_again_and_again_is_counted_once() {
        let mut flags = Flags::default();
        assert!(tell(&mut flags, 1, "a") && tell(&mut flags, 1, "b"));
        for n in 0..100 {
            rename(&mut flags, "a/x", "b/x", 2 * n + 2);
            rename(&mut flags, "b/x", "a/x", 2 * n + 3);
        }
        assert_eq!(flags.iter().map(|(_, flag)| flag.operations).sum::<u64>(), 2);
    }

    #[test]
    fn many_are_taken_together_by_their_directories() {
        let mut flags = Flags::default();
        for n in 0..MOST * 4 {
            assert!(tell(&mut flags, n as u64 + 1, &format!("dir{}/sub/{n}", n % 3)));
            assert!(flags.count() <= MOST);
        }
        assert_eq!(at(&flags), ["dir0/sub", "dir1/sub", "dir2/sub"]);
        assert_eq!(flags.iter().map(|(_, flag)| flag.operations).sum::<u64>(), MOST as u64 * 4);
        assert_eq!(flags.first(), Some(seq(1)));
        for n in 0..MOST * 2 {
            assert!(tell(&mut flags, 1, &n.to_string()));
        }
        assert_eq!(at(&flags), [""], "all of it");
    }

    #[test]
    fn only_a_pass_that_heard_of_nothing_proves_that_all_is_well() {
        let (mut flags, now) = (Flags::default(), Instant::now());
        assert!(tell(&mut flags, 3, "a"));
        flags.schedule(now);
        assert!(!flags.take_due(now) && flags.take_due(now + FIRST_PAUSE) && !flags.take_due(now + LONGEST_PAUSE));
        let (paths, told) = flags.begin();
        assert_eq!(paths, [path("a")]);
        flags.cover(1, told);
        assert!(flags.are_settled_by(1) && !flags.are_settled_by(2));
        assert!(tell(&mut flags, 4, "a") && flags.is_in_vain(&path("a")));
        assert!(!flags.are_settled_by(1));
        flags.schedule(now);
        assert!(!flags.take_due(now + FIRST_PAUSE) && flags.take_due(now + FIRST_PAUSE * 2));
        let (_, told) = flags.begin();
        flags.cover(2, told);
        assert!(flags.are_settled_by(2) && !flags.is_in_vain(&path("a")));
        flags.proof = Some(seq(9));
        assert!(!flags.applied(seq(8)) && !flags.is_empty());
        assert!(flags.applied(seq(9)) && flags.is_empty());
    }

    #[test]
    fn what_a_pass_looked_at_in_vain_only_stays_flagged() {
        let (mut flags, now) = (Flags::default(), Instant::now());
        (0..MANY as u64).for_each(|n| assert!(tell(&mut flags, n + 1, &format!("a{n}"))));
        flags.schedule(now);
        assert!(flags.are_many() && flags.take_due(now + FIRST_PAUSE));
        let (_, told) = flags.begin();
        flags.cover(1, told);
        assert!(tell(&mut flags, 100, "a7") && tell(&mut flags, 101, "b"));
        flags.leave(2);
        assert_eq!(flags.count(), MANY + 1, "another pass");
        flags.leave(1);
        assert_eq!(at(&flags), ["a7", "b"]);
        flags.schedule(now);
        assert!(flags.take_due(now + FIRST_PAUSE), "most of it went well");
        let (_, told) = flags.begin();
        flags.cover(2, told);
        assert!(flags.are_settled_by(2) && tell(&mut flags, 102, "b") && tell(&mut flags, 103, "a7"));
        flags.leave(2);
        flags.schedule(now);
        assert!(flags.count() == 2 && !flags.take_due(now + FIRST_PAUSE), "nothing did");
    }

    #[test]
    fn what_nobody_remembers_is_not_guessed() {
        let mut flags = Flags::default();
        for n in 1..=MOST_MOVES as u64 + 1 {
            rename(&mut flags, "x", "y", n + 1);
        }
        assert!(!tell(&mut flags, 2, "a") && tell(&mut flags, 3, "a"));
        flags.forget_until(seq(10));
        assert!(!tell(&mut flags, 10, "a"));
    }
}

//! The moments of a run, one after the other, and the one at which it ends for somebody; what is on SRC, and what of that would be there after a power cut; and
//! what a source that dies leaves of its small files.

use platform::killpoint::{KillPoint, Killed};
use srm::status::CommitMode;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Files with what they have in them.
pub type Files = BTreeMap<String, u64>;

/// What of unflushed changes a power cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them.
    All,
    /// None.
    None,
    /// Those of every second file.
    Some,
}

/// How it ends, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The source's daemon is killed.
    Source,
    /// The source's machine loses power.
    SourcePower(Loss),
    /// The target's daemon is killed.
    Target,
    /// The target's machine loses power.
    TargetPower(Loss),
    /// Both daemons are killed.
    Both,
    /// Both machines lose power.
    BothPower(Loss),
    /// The connection is lost, with what is on its way.
    Link,
}

impl Fate {
    /// Those that are tried.
    pub const ALL: [Self; 10] = [
        Self::Source,
        Self::SourcePower(Loss::All),
        Self::SourcePower(Loss::None),
        Self::SourcePower(Loss::Some),
        Self::Target,
        Self::TargetPower(Loss::All),
        Self::TargetPower(Loss::Some),
        Self::Both,
        Self::BothPower(Loss::All),
        Self::Link,
    ];

    /// Whether this one tells something in a mode that others do not: what of unflushed changes SRC loses is promised in `local` alone.
    pub fn tells(self, mode: CommitMode) -> bool {
        mode == CommitMode::Local || !matches!(self, Self::SourcePower(Loss::None | Loss::Some))
    }

    /// Whether it hits one side, and takes all that can be taken.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Source | Self::SourcePower(Loss::All) | Self::Target)
    }

    /// Whether the source's daemon ends.
    pub fn hits_source(self) -> bool {
        matches!(self, Self::Source | Self::Both) || self.source_loss().is_some()
    }

    /// Whether the target's daemon ends.
    pub fn hits_target(self) -> bool {
        matches!(self, Self::Target | Self::Both) || self.target_loss().is_some()
    }

    /// The source's machine loses power, and that is lost.
    pub fn source_loss(self) -> Option<Loss> {
        match self {
            Self::SourcePower(loss) | Self::BothPower(loss) => Some(loss),
            _ => None,
        }
    }

    /// The target's machine loses power, and that is lost.
    pub fn target_loss(self) -> Option<Loss> {
        match self {
            Self::TargetPower(loss) | Self::BothPower(loss) => Some(loss),
            _ => None,
        }
    }
}

/// What is left after a power cut of something that is `now` and of which `durable` is on the disk.
pub fn after_power_cut<V: Clone>(
    now: &BTreeMap<String, V>,
    durable: &BTreeMap<String, V>,
    loss: Loss,
) -> BTreeMap<String, V> {
    let names: std::collections::BTreeSet<&String> = now.keys().chain(durable.keys()).collect();
    let of = |(at, name): (usize, &String)| {
        let from = match loss {
            Loss::All => durable,
            Loss::None => now,
            Loss::Some => [now, durable][at % 2],
        };
        from.get(name).map(|value| (name.clone(), value.clone()))
    };
    names.into_iter().enumerate().filter_map(of).collect()
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At a place of what ships.
    Point(KillPoint),
    /// At one of the simulator's own half.
    Step(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Point(point) => write!(f, "{point:?}"),
            Self::Step(step) => f.write_str(step),
        }
    }
}

/// SRC.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What is there.
    pub now: Files,
    /// What a power cut leaves at the least.
    pub durable: Files,
    gathered: Files,
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // independent facts
struct Inner {
    counts: bool,
    passed: u64,
    end: Option<(u64, Fate)>,
    hit: Option<Place>,
    on_target: bool,
    link_cut: bool,
    target_dead: bool,
    source_dying: bool,
    disk: Disk,
    small: PathBuf,
    kept: BTreeMap<PathBuf, Vec<u8>>,
}

/// See the module.
#[derive(Default)]
pub struct Moments(RefCell<Inner>);

fn read_all(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), std::fs::read(entry.path()).ok()?))).collect()
}

fn end_source() -> ! {
    std::panic::resume_unwind(Box::new(Killed(KillPoint::Sent)))
}

impl Moments {
    /// With the directory of the source's small files.
    pub fn new(small: PathBuf, end: Option<(u64, Fate)>) -> Self {
        Self(RefCell::new(Inner { end, small, ..Inner::default() }))
    }

    /// From now on moments count, or do not.
    pub fn count(&self, counts: bool) {
        self.0.borrow_mut().counts = counts;
    }

    /// How many there were.
    pub fn passed(&self) -> u64 {
        self.0.borrow().passed
    }

    /// Where the end came.
    pub fn hit(&self) -> Option<Place> {
        self.0.borrow().hit
    }

    /// One more moment; whether the source ends here.
    pub fn reach(&self, place: Place) -> bool {
        let mut guard = self.0.borrow_mut();
        let inner = &mut *guard;
        if inner.source_dying {
            return false;
        }
        match place {
            Place::Point(KillPoint::LocalGathered) => inner.disk.gathered = inner.disk.now.clone(),
            Place::Point(KillPoint::LocalSynced) => inner.disk.durable = inner.disk.gathered.clone(),
            _ => {}
        }
        if !inner.counts || inner.hit.is_some() {
            return false;
        }
        inner.passed += 1;
        let Some((_, fate)) = inner.end.filter(|(at, _)| *at == inner.passed) else { return false };
        inner.hit = Some(place);
        inner.link_cut |= fate == Fate::Link;
        inner.target_dead |= fate.hits_target();
        if fate.hits_source() {
            inner.source_dying = true;
            inner.kept = read_all(&inner.small);
        }
        // What the target has in hand it goes on with; the source ends when that is done.
        inner.source_dying && !inner.on_target
    }

    /// A moment of the simulator's own half on the source's side.
    pub fn step(&self, step: &'static str) {
        if self.reach(Place::Step(step)) {
            end_source();
        }
    }

    /// The target does something, which the source's end does not interrupt.
    pub fn on_target<T>(&self, run: impl FnOnce() -> T) -> T {
        self.0.borrow_mut().on_target = true;
        let result = run();
        self.0.borrow_mut().on_target = false;
        result
    }

    /// After the target did something.
    pub fn end_source_if_due(&self) {
        if self.0.borrow().source_dying {
            end_source();
        }
    }

    /// Whether the target has ended.
    pub fn is_target_dead(&self) -> bool {
        self.0.borrow().target_dead
    }

    /// Whether nothing passes between the two.
    pub fn is_link_down(&self) -> bool {
        let inner = self.0.borrow();
        inner.link_cut || inner.target_dead
    }

    /// Moments count anew from here, up to another end.
    pub fn arm(&self, end: (u64, Fate)) {
        let mut inner = self.0.borrow_mut();
        (inner.counts, inner.passed, inner.end, inner.hit) = (true, 0, Some(end), None);
    }

    /// The connection is lost; or could be made again.
    pub fn cut(&self, cut: bool) {
        self.0.borrow_mut().link_cut = cut;
    }

    /// Everything is up again: what the source left of its small files when its end came is there, and nothing that it did on its way out.
    pub fn revive(&self) {
        let mut guard = self.0.borrow_mut();
        let inner = &mut *guard;
        if inner.source_dying {
            for path in read_all(&inner.small).into_keys() {
                // A directory is none of ours.
                let _other = std::fs::remove_file(path);
            }
            for (path, bytes) in &inner.kept {
                std::fs::write(path, bytes).expect("the simulator's own files can be written");
            }
        }
        (inner.source_dying, inner.target_dead, inner.link_cut) = (false, false, false);
    }

    /// SRC.
    pub fn disk<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        change(&mut self.0.borrow_mut().disk)
    }
}

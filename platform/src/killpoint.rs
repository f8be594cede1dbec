//! Kill points, for tests: a process that was started with `REPLFS_KILL_AT=NAME:COUNT` kills itself with SIGKILL at the COUNT-th
//! time that it passes the place of that name. Without the variable a place costs one relaxed load. Nothing here knows what the places mean.
//!
//! A simulator that has many daemons in one process lets them die otherwise: [`watch`] sees each place that its own thread passes, and says whether this is the end.

use rustix::process::{Signal, getpid, kill_process};
use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The variable that is read at the start of a daemon.
pub const VARIABLE: &str = "REPLFS_KILL_AT";

/// A place where a process can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KillPoint {
    /// Source: an operation has changed the directory, and has no number.
    Changed,
    /// Source: it has been described and numbered, or absorbed; its locks are held.
    Numbered,
    /// Source: a record is in the journal, is not counted, and cannot be sent yet.
    Journaled,
    /// Source: of a record the journal has all but its head.
    JournalTorn,
    /// Source: the journal has a new segment, with nothing in it.
    JournalRoll,
    /// Source: records that the target has applied are free in the journal.
    JournalTrim,
    /// Source: records have been given to the connection.
    Sent,
    /// Source: an acknowledgement has been noted, and nobody is answered yet.
    Acknowledged,
    /// Source: the journal is of another run of numbers than the note beside it, or of an older state.
    StandBefore,
    /// Source: the note beside the journal is written.
    StandAfter,
    /// Source: a piece of work of a pass is done, and not ticked off.
    PassStep,
    /// Source: a pass has nothing left to do, and has not said so.
    PassEnd,
    /// Source: between two steps that bring the target's names back.
    CatchUpStep,
    /// Source: what is about to change is noted as hot, durably, and nothing has changed.
    Heated,
    /// Source: a queue that is too long is about to be given up, and the note beside the journal says so.
    SwallowNoted,
    /// Source: it is cut off in the journal, and nothing else knows.
    Swallowed,
    /// Target: it is noted that a record is about to be applied.
    TargetIntended,
    /// Target: a record is applied, and the position does not say so.
    TargetApplied,
    /// Target: the position says so, and it is not acknowledged.
    TargetPositioned,
    /// Target: what is to be made durable is known, and the disk has not been waited for.
    TargetCaptured,
    /// Target: the disk has been waited for, and the durable position does not say so.
    TargetSynced,
    /// Target: a staging file is ready for its name, and does not have it.
    TargetPlacing,
    /// Target: it has its name, and not its attributes.
    TargetPlaced,
    /// Source: a proposal is numbered, and nobody was told that it can be sent.
    Proposed,
    /// Source: the target has done what was proposed, and the source has not.
    Decided,
    /// Source: what the target did, or may have done, is about to be put back, and nothing says so yet.
    PutBack,
    /// Source: what was hot is in a new file, durably, that has not its name.
    HotWritten,
    /// Source: it has its name, durably, and nobody counts on it yet.
    HotRenamed,
    /// Source: a segment of the journal on a disk is written to, and the disk has not been waited for.
    JournalUnsynced,
    /// Source: the disk has been waited for, and nobody knows.
    JournalSynced,
    /// Source: it is known who waits for SRC's disk, and that has not been waited for.
    LocalGathered,
    /// Source: SRC's disk has been waited for, and nobody is answered yet.
    LocalSynced,
    /// Target: it has tried what was proposed, and has not said what became of it.
    TargetJudged,
    /// Target: what settles a proposal is about to be applied.
    TargetSettling,
}

/// Each with its name.
pub const ALL: [(KillPoint, &str); 34] = [
    (KillPoint::Changed, "changed"),
    (KillPoint::Numbered, "numbered"),
    (KillPoint::Journaled, "journaled"),
    (KillPoint::JournalTorn, "journal-torn"),
    (KillPoint::JournalRoll, "journal-roll"),
    (KillPoint::JournalTrim, "journal-trim"),
    (KillPoint::Sent, "sent"),
    (KillPoint::Acknowledged, "acknowledged"),
    (KillPoint::StandBefore, "stand-before"),
    (KillPoint::StandAfter, "stand-after"),
    (KillPoint::PassStep, "pass-step"),
    (KillPoint::PassEnd, "pass-end"),
    (KillPoint::CatchUpStep, "catch-up-step"),
    (KillPoint::Heated, "heated"),
    (KillPoint::SwallowNoted, "swallow-noted"),
    (KillPoint::Swallowed, "swallowed"),
    (KillPoint::TargetIntended, "target-intended"),
    (KillPoint::TargetApplied, "target-applied"),
    (KillPoint::TargetPositioned, "target-positioned"),
    (KillPoint::TargetCaptured, "target-captured"),
    (KillPoint::TargetSynced, "target-synced"),
    (KillPoint::TargetPlacing, "target-placing"),
    (KillPoint::TargetPlaced, "target-placed"),
    (KillPoint::Proposed, "proposed"),
    (KillPoint::Decided, "decided"),
    (KillPoint::PutBack, "put-back"),
    (KillPoint::HotWritten, "hot-written"),
    (KillPoint::HotRenamed, "hot-renamed"),
    (KillPoint::JournalUnsynced, "journal-unsynced"),
    (KillPoint::JournalSynced, "journal-synced"),
    (KillPoint::LocalGathered, "local-gathered"),
    (KillPoint::LocalSynced, "local-synced"),
    (KillPoint::TargetJudged, "target-judged"),
    (KillPoint::TargetSettling, "target-settling"),
];

/// No point is armed.
const NONE: u8 = u8::MAX;
/// Somebody watches.
const WATCHED: u8 = u8::MAX - 1;

static ARMED: AtomicU8 = AtomicU8::new(NONE);
/// How often the armed point is passed before it kills, that time included.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Is told of a place; whether that is the end.
type Watcher = Box<dyn FnMut(KillPoint) -> bool>;

thread_local! {
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// What a thread unwinds with that has come to its end under a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed(pub KillPoint);

/// For simulators: from now on `watcher` is told of each place that this thread passes. Where it says `true`, the thread unwinds with [`Killed`]. It passes
/// no place itself.
pub fn watch(watcher: impl FnMut(KillPoint) -> bool + 'static) {
    WATCHER.set(Some(Box::new(watcher)));
    ARMED.store(WATCHED, Ordering::Release);
}

/// Nobody watches this thread any more.
pub fn unwatch() {
    WATCHER.set(None);
}

fn is_watched() -> bool {
    WATCHER.with_borrow(Option::is_some)
}

#[cold]
fn tell(point: KillPoint) -> bool {
    WATCHER.with_borrow_mut(|watcher| watcher.as_mut().is_some_and(|watcher| watcher(point)))
}

/// Reads [`VARIABLE`]. An error: it names no point, or no number above zero. What is armed, for the log.
pub fn arm_from_environment() -> Result<Option<String>, String> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let text = text.to_string_lossy().into_owned();
    let Some((point, count)) = parse(&text) else {
        let names: Vec<&str> = ALL.iter().map(|(_, name)| *name).collect();
        return Err(format!(
            "{VARIABLE}={text} is not NAME:COUNT; it is for tests, and NAME is one of {}",
            names.join(", ")
        ));
    };
    LEFT.store(count, Ordering::Relaxed);
    ARMED.store(point as u8, Ordering::Release);
    Ok(Some(text))
}

fn parse(text: &str) -> Option<(KillPoint, u64)> {
    let (name, count) = text.split_once(':')?;
    let (point, _) = ALL.iter().find(|(_, known)| *known == name)?;
    let count = count.parse().ok().filter(|count| *count > 0)?;
    Some((*point, count))
}

/// Passes a point.
#[inline]
pub fn pass(point: KillPoint) {
    if is_due(point) {
        die(point);
    }
}

/// Passes a point. `true`: this is the time; the caller does what is to be half done, and calls [`die`].
#[inline]
pub fn is_due(point: KillPoint) -> bool {
    match ARMED.load(Ordering::Relaxed) {
        NONE => false,
        WATCHED => tell(point),
        armed => armed == point as u8 && count_down(),
    }
}

#[cold]
fn count_down() -> bool {
    LEFT.fetch_sub(1, Ordering::AcqRel) == 1
}

/// Kills this process, or ends what is watched of it.
#[cold]
pub fn die(point: KillPoint) -> ! {
    if is_watched() {
        std::panic::resume_unwind(Box::new(Killed(point)));
    }
    let name = ALL.iter().find(|(known, _)| *known == point).map_or("?", |(_, name)| name);
    // Whether anybody reads it does not matter.
    let _unread = writeln!(std::io::stderr(), "killed at {name}");
    let _refused = kill_process(getpid(), Signal::KILL);
    // The signal ends all threads, this one too, very soon.
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_and_counts_are_above_zero() {
        for (at, (point, name)) in ALL.iter().enumerate() {
            assert_eq!(*point as usize, at, "{name} stands in its place");
            assert_eq!(parse(&format!("{name}:7")), Some((*point, 7)));
        }
        for wrong in ["", "changed", "changed:", "changed:0", "changed:x", "nothing:1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_watcher_sees_what_its_own_thread_passes_and_ends_it() {
        let mut seen = 0;
        watch(move |point| {
            seen += u32::from(point == KillPoint::Sent);
            seen == 2
        });
        let pass_all = || ALL.iter().for_each(|(point, _)| pass(*point));
        assert!(std::thread::spawn(pass_all).join().is_ok());
        pass_all();
        let ended = std::panic::catch_unwind(pass_all).expect_err("the second time is the end");
        unwatch();
        assert_eq!(ended.downcast_ref(), Some(&Killed(KillPoint::Sent)));
        pass_all();
    }

    #[test]
    fn nothing_is_armed_by_itself() {
        for (point, _) in ALL {
            pass(point);
        }
    }
}

//! What applications did, when each call began and when it was answered: and from that, what has to be there, and what can be, after a loss of power.
//! How it is done, and how it is looked for, is in `work` and `observe`.

use serde::{Deserialize, Serialize};

/// Blocks of a writer's file that is written in place.
pub const CELLS: u16 = 16;
/// A file that grows.
pub const GROWING: u16 = CELLS;
/// A file that is replaced by a rename.
pub const REPLACED: u16 = CELLS + 1;
/// The first of some symbolic links that come and go.
pub const NAMES: u16 = CELLS + 2;
/// All objects of a writer.
pub const OBJECTS: u16 = NAMES + 8;

/// How long the logs of both disks were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// The source's.
    pub source: u64,
    /// The target's.
    pub target: u64,
}

/// On which machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// SRC and the source's state are there.
    Source,
    /// ROOT and the target's state are there.
    Target,
}

impl Moment {
    /// The log of one of them.
    pub fn of(self, side: Side) -> u64 {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }
}

/// What a call was to bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// An object gets its next version. They count from 0; of links the odd ones are there, the even ones are not.
    Change {
        /// Which.
        object: u16,
        /// The new one.
        version: u32,
    },
    /// What was done to objects so far is to be durable.
    Sync {
        /// The first.
        from: u16,
        /// The one behind the last.
        to: u16,
    },
}

/// A call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Event {
    /// What for.
    pub act: Act,
    /// Counts all beginnings and answers of all writers.
    pub began: u64,
    /// Before it began.
    pub before: Moment,
    /// After it was answered with success, and the count then.
    pub answered: Option<(u64, Moment)>,
}

/// The calls of one writer, each made after the one before was answered.
pub type Calls = Vec<Event>;

/// What keeps a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promise {
    /// Nothing.
    None,
    /// A sync that was answered.
    Synced,
    /// That it was answered.
    Answered,
}

/// The versions of an object that may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest.
    pub least: u32,
    /// The newest.
    pub most: u32,
}

/// What each object of a writer may be on the disk of one side after a loss of power.
pub fn bounds(calls: &[Event], side: Side, cut: Moment, promise: Promise) -> Vec<Bounds> {
    let mut now = vec![0; usize::from(OBJECTS)];
    let mut found = vec![Bounds { least: 0, most: 0 }; usize::from(OBJECTS)];
    for event in calls {
        let answered = event.answered.is_some_and(|(_, at)| at.of(side) <= cut.of(side));
        match event.act {
            Act::Change { object, version } => {
                let at = usize::from(object);
                now[at] = version;
                if event.before.of(side) <= cut.of(side) {
                    found[at].most = version;
                }
                if answered && promise == Promise::Answered {
                    found[at].least = version;
                }
            }
            Act::Sync { from, to } if answered && promise != Promise::None => {
                for at in usize::from(from)..usize::from(to) {
                    found[at].least = found[at].least.max(now[at]);
                }
            }
            Act::Sync { .. } => {}
        }
    }
    found
}

/// The first thing that is missing where what is there is to be a state that was once: the call, which was answered before another began whose outcome
/// is there. `seen`: of each writer's objects; `None` for what is not there, which is any even version.
pub fn gap(writers: &[Calls], seen: &[Vec<Option<u32>>]) -> Option<String> {
    let is_seen = |writer: usize, event: &Event| match event.act {
        Act::Change { object, version } => seen[writer][usize::from(object)] == Some(version),
        Act::Sync { .. } => false,
    };
    let all = |writer: usize| writers[writer].iter().map(move |event| (writer, event));
    let latest =
        (0..writers.len()).flat_map(all).filter(|(w, e)| is_seen(*w, e)).map(|(_, event)| event.began).max()?;
    for (writer, calls) in writers.iter().enumerate() {
        let mut now = vec![0; usize::from(OBJECTS)];
        for event in calls.iter().filter(|event| event.answered.is_some_and(|(count, _)| count < latest)) {
            if let Act::Change { object, version } = event.act {
                now[usize::from(object)] = version;
            }
        }
        for (object, least) in now.iter().enumerate() {
            match seen[writer][object] {
                Some(version) if version < *least => {
                    return Some(format!(
                        "writer {writer}: {object} is at {version}, and {least} was answered before {latest} began"
                    ));
                }
                // It was removed later, or it has not come back.
                None if least % 2 == 1 && !calls.iter().any(|e| e.act == change(object, least + 1)) => {
                    return Some(format!(
                        "writer {writer}: {object} is not there, and {least} was answered before {latest} began"
                    ));
                }
                _ => {}
            }
        }
    }
    None
}

fn change(object: usize, version: u32) -> Act {
    Act::Change { object: u16::try_from(object).unwrap_or(u16::MAX), version }
}

/// Calls that were answered, and whose outcome is not there.
pub fn missing(calls: &[Event], seen: &[Option<u32>]) -> usize {
    let is_missing = |event: &&Event| match event.act {
        Act::Change { object, version } => match seen[usize::from(object)] {
            Some(there) => there < version,
            // Nothing tells which of its absences this is.
            None => false,
        },
        Act::Sync { .. } => false,
    };
    calls.iter().filter(|event| event.answered.is_some()).filter(is_missing).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(count: u64, act: Act) -> Event {
        let at = |n: u64| Moment { source: n * 10, target: n * 10 };
        Event { act, began: count, before: at(count), answered: Some((count + 1, at(count + 1))) }
    }

    fn calls() -> Calls {
        vec![
            event(1, Act::Change { object: 3, version: 1 }),
            event(3, Act::Sync { from: 0, to: CELLS }),
            event(5, Act::Change { object: 3, version: 2 }),
            event(7, Act::Change { object: NAMES, version: 1 }),
        ]
    }

    #[test]
    fn what_was_synced_has_to_be_there_and_what_had_not_begun_cannot() {
        let at = |n, promise| bounds(&calls(), Side::Source, Moment { source: n, target: 0 }, promise)[3];
        assert_eq!(at(0, Promise::Synced), Bounds { least: 0, most: 0 });
        assert_eq!(at(25, Promise::Synced), Bounds { least: 0, most: 1 });
        assert_eq!(at(25, Promise::Answered), Bounds { least: 1, most: 1 });
        assert_eq!(at(40, Promise::Synced), Bounds { least: 1, most: 1 });
        assert_eq!(at(1000, Promise::Synced), Bounds { least: 1, most: 2 });
        assert_eq!(at(1000, Promise::Answered), Bounds { least: 2, most: 2 });
        assert_eq!(at(1000, Promise::None), Bounds { least: 0, most: 2 });
    }

    #[test]
    fn what_came_later_is_not_there_without_what_came_before() {
        let mut seen = vec![Some(0); usize::from(OBJECTS)];
        let name = usize::from(NAMES);
        seen[name..].fill(None);
        assert_eq!(gap(&[calls()], std::slice::from_ref(&seen)), None);
        seen[3] = Some(2);
        assert_eq!(gap(&[calls()], std::slice::from_ref(&seen)), None);
        seen[name] = Some(1);
        assert_eq!(gap(&[calls()], std::slice::from_ref(&seen)), None);
        assert_eq!(missing(&calls(), &seen), 0);
        seen[3] = Some(1);
        assert!(gap(&[calls()], std::slice::from_ref(&seen)).is_some(), "the second write is missing");
        assert_eq!(missing(&calls(), &seen), 1);
    }
}

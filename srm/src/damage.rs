//! What the target reports as damaged is looked at again, beside everything else. What is damaged again and again is looked at
//! from further above, and in the end everything is compared.

use crate::map::Gate;
use crate::{Again, Srm};
use platform::machine;
use protocol::RelPath;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reports that are mended one by one within [`FORGOTTEN_AFTER`]; with more, everything is compared.
const MOST: usize = 256;
/// Damage that is as old as this is not held against what is found now.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Recent damage, by path.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    recent: HashMap<RelPath, (u32, Instant)>,
    /// What is to be looked at again, and why; one thread does it, however much is reported.
    waiting: VecDeque<(RelPath, String)>,
    /// It runs.
    busy: bool,
}

impl Damages {
    /// Whether something that was reported is not looked at yet.
    pub fn is_waiting(&self) -> bool {
        self.busy
    }

    /// Notes damage at a path. From which path on to look again; `None`: everything is to be compared.
    fn note(&mut self, path: &RelPath, now: Instant) -> Option<RelPath> {
        self.recent.retain(|_, (_, at)| now.saturating_duration_since(*at) < FORGOTTEN_AFTER);
        if self.recent.len() >= MOST {
            return None;
        }
        let (times, at) = self.recent.entry(path.clone()).or_insert((0, now));
        (*times, *at) = (*times + 1, now);
        let mut from = path.clone();
        for _ in 1..*times {
            (from, _) = from.split_last()?;
        }
        if from.is_root() { None } else { Some(from) }
    }
}

impl Srm {
    /// The target found something that is not what it should be.
    pub(crate) fn mend_damage(self: &Arc<Self>, path: Option<&RelPath>, why: &str) {
        let from = {
            let mut core = self.core.lock();
            core.last_error = Some(why.to_owned());
            match (&core.gate, path) {
                // All will be compared.
                (Gate::Due, _) => return,
                // Nothing can be told apart: what was repaired is damaged, or nobody knows what the target has.
                (Gate::Held(_), _) | (_, None) => None,
                (Gate::Pass(pass), _) if pass.is_over_all() => None,
                (_, Some(path)) => core.damages.note(path, machine::now()),
            }
        };
        let begin = {
            let mut core = self.core.lock();
            if let Some(from) = from.filter(|_| core.damages.waiting.len() < MOST) {
                core.damages.waiting.push_back((from, why.to_owned()));
                // From now on, and not only when somebody comes to it: what is acknowledged next is not what the source has (R12).
                core.coherent_at = None;
                core.release_replies();
                !std::mem::replace(&mut core.damages.busy, true)
            } else {
                core.doubted(why, machine::now());
                false
            }
        };
        if begin && self.stepped {
            self.mend_waiting();
        } else if begin {
            // Not on the thread that listens to the target: names may be in use for a while.
            let srm = Arc::clone(self);
            let started = std::thread::Builder::new().name("damage".to_owned()).spawn(move || srm.mend_waiting());
            if started.is_err() {
                let mut core = self.core.lock();
                core.damages.busy = false;
                core.doubted(why, machine::now());
            }
        }
        self.wake();
        self.changed.notify_all();
    }

    /// Looks at what was reported, until nothing waits.
    fn mend_waiting(self: &Arc<Self>) {
        loop {
            let (from, why) = {
                let damages = &mut self.core.lock().damages;
                let Some(next) = damages.waiting.pop_front() else {
                    damages.busy = false;
                    break;
                };
                next
            };
            let begun = {
                let names = self.tree.names().read();
                let place = self.place_of(&names, &from);
                place.is_some_and(|(dir, name)| self.look_again(&names, &[Again::Name(dir, name)], false))
            };
            if !begun {
                self.core.lock().doubted(&why, machine::now());
                self.wake();
                self.changed.notify_all();
            }
        }
        // A pass may end only now.
        self.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_damaged_again_is_looked_at_from_above() {
        let (mut damages, now) = (Damages::default(), Instant::now());
        assert_eq!(damages.note(&path("a/b/c"), now), Some(path("a/b/c")));
        assert_eq!(damages.note(&path("a/b/d"), now), Some(path("a/b/d")));
        assert_eq!(damages.note(&path("a/b/c"), now), Some(path("a/b")));
        assert_eq!(damages.note(&path("a/b/c"), now), Some(path("a")));
        assert_eq!(damages.note(&path("a/b/c"), now), None);
        let later = now + FORGOTTEN_AFTER;
        assert_eq!(damages.note(&path("a/b/c"), later), Some(path("a/b/c")));
    }

    #[test]
    fn much_damage_makes_everything_due() {
        let (mut damages, now) = (Damages::default(), Instant::now());
        for n in 0..MOST {
            assert!(damages.note(&path(&n.to_string()), now).is_some());
        }
        assert_eq!(damages.note(&path("one more"), now), None);
    }
}

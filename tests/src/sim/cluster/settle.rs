//! How all comes to rest: faults stop, whoever is down comes up, and everything that can happen does, until both sides are the same and nothing more happens.

use super::history::{Checked, Checker, Told};
use super::schedule::{Action, Event, Side, What};
use super::snapshot::Snapshot;
use super::view::View;
use super::wire::Part;
use super::world::World;
use scm::stepped::GATHER;
use srm::status::TargetState;
use std::time::Duration;

/// Rounds until all is at rest, at the most.
const ROUNDS: usize = 3000;
/// Rounds in which nothing moved, after which time passes.
const STEP: Duration = Duration::from_millis(500);
/// Records applied in a round.
const TOGETHER: usize = 64;

impl World {
    /// All that can travel and be applied does, once. `false`: nothing moved.
    pub fn progress(&self, locked: bool) -> bool {
        let before = self.mark();
        if !locked {
            self.happen(Event::Heal);
            self.restart(Side::Source);
            self.restart(Side::Target);
        }
        self.flow(locked);
        if !locked {
            self.end_corrupted();
        }
        // The target's disk is slow, but not without end.
        self.end_sync(usize::MAX) || before != self.mark()
    }

    /// All that can travel now does, and is applied.
    pub fn flow(&self, locked: bool) {
        if !locked {
            self.dial();
        }
        if self.holds_back() {
            self.pass_time(GATHER);
        }
        self.send(u64::MAX);
        self.up(Part::ALL);
        for _ in 0..TOGETHER {
            if !self.apply() {
                break;
            }
        }
        self.back();
        self.down(8, locked);
    }

    /// Changes when anything moves.
    fn mark(&self) -> [u64; 5] {
        let net = self.net.borrow();
        let counts = self.counts.borrow();
        let bytes = net.conns.last().map_or(0, |conn| conn.up.len() + conn.down.len() + conn.heard.len()) as u64;
        let sent = net.conns.last().and_then(|conn| conn.sent).unwrap_or(0);
        [net.conns.len() as u64, bytes, sent, counts.applied, counts.welcomed]
    }

    /// The faults stop, and everything comes to rest.
    pub fn settle(&self) -> Checked {
        self.note(|| "the faults stop".to_owned());
        self.events.borrow_mut().clear();
        self.end_faults();
        self.settling.set(true);
        self.happen(Event::Bypass(false));
        self.happen(Event::Heal);
        self.come_to_rest()?;
        self.same()?;
        let action = Action { what: What::Chmod, client: 0, a: 0, b: 1 };
        self.happen(Event::App(action));
        self.come_to_rest()?;
        self.same()?;
        let told = self.history.borrow().last();
        if told != Some(Told::Done) {
            return Err((Checker::Convergence, format!("the operation after it was told {told:?}")));
        }
        self.bounds()
    }

    fn come_to_rest(&self) -> Checked {
        for _ in 0..ROUNDS {
            let moved = self.progress(false);
            self.happen(Event::Turn);
            let worked = self.on_source(|daemon| daemon.srm.work_at_pass()) == Some(true);
            if moved || worked {
                continue;
            }
            if self.is_at_rest() {
                return Ok(());
            }
            self.pass_time(STEP);
        }
        let daemon = self.source.borrow().clone();
        let status = daemon.map(|daemon| format!("{:?}", daemon.srm.status().targets));
        Err((Checker::Convergence, format!("all does not come to rest: {status:?}")))
    }

    fn is_at_rest(&self) -> bool {
        // A connection that is lost is none, whoever knows it.
        if self.net.borrow_mut().open().is_none_or(|conn| conn.lost) {
            return false;
        }
        let Some(daemon) = self.source.borrow().clone() else { return false };
        let status = daemon.srm.status();
        let target = status.targets.first();
        target.is_some_and(|target| {
            target.state == TargetState::Connected && target.coherent && target.applied == status.sequence
        })
    }

    fn same(&self) -> Checked {
        let source = self.host(Snapshot::of(&self.places.src()));
        let target = self.host(Snapshot::of(&self.places.replica()));
        let source = View::of(source, &self.set);
        if source.is_shown_by(&target) {
            return Ok(());
        }
        Err((Checker::Convergence, format!("source and target differ: {}", source.difference(&target))))
    }

    fn bounds(&self) -> Checked {
        let files = std::fs::read_dir(self.places.journal()).into_iter().flatten().flatten();
        let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
        // A marker, and the heads of segments.
        let most = super::side::JOURNAL_BYTES + (64 << 10);
        if bytes > most {
            return Err((Checker::Bounds, format!("the journal takes {bytes} bytes")));
        }
        Ok(())
    }
}

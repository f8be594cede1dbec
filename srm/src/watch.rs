//! What is seen and asked from outside: status, "is everything durable on the target", the end.

use crate::backlog::Backlog;
use crate::commit::Commit;
use crate::core::{Core, Link};
use crate::flags::Flag;
use crate::map::Gate;
use crate::pass;
use crate::sending::NotHeld;
use crate::status::{
    CacheMode, CommitMode, Flagged, FsiStatus, Held, JournalArea, Lag, SourceStatus, TargetState, TargetStatus,
};
use crate::{MIN_BACKLOG_BYTES, Srm};
use bytes::Bytes;
use journal::{AreaKind, AreaStatus};
use platform::sys;
use protocol::{Draft, Mark, Op, RelPath, SeqNo};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What is not yet on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// What is queued.
    pub lag: Lag,
    /// Source and target are still to be compared, or are being compared.
    pub mirror: bool,
}

fn lag(core: &Core) -> Lag {
    let stamp = match (core.absorbed_since, core.backlog.oldest_stamp()) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let nanos = stamp.map_or(0, |stamp| sys::now_ns().saturating_sub(stamp));
    Lag {
        operations: core.backlog.operations() + core.absorbed,
        bytes: core.backlog.bytes() + core.absorbed_bytes,
        millis: nanos / 1_000_000,
    }
}

fn left(core: &Core) -> Left {
    Left { lag: lag(core), mirror: !matches!(core.gate, Gate::Clean) }
}

fn area(area: &AreaStatus) -> JournalArea {
    let kind = match area.kind {
        AreaKind::Memory => "memory",
        AreaKind::Disk => "disk",
        AreaKind::Extension => "extension",
    };
    JournalArea {
        dir: area.dir.to_string_lossy().into_owned(),
        kind: kind.to_owned(),
        used_bytes: area.used_bytes,
        limit_bytes: area.bound_bytes,
        trouble: area.trouble.clone(),
    }
}

fn flagged((path, flag): (&RelPath, &Flag)) -> Flagged {
    let path = if path.is_root() { ".".to_owned() } else { path.to_string() };
    let reason = flag.reason.clone();
    Flagged { path, reason, since_ms: flag.since_ms, seq: flag.seq.get(), operations: flag.operations }
}

/// What is flagged, the first of it, and how much that is.
fn all_flagged(core: &Core) -> (Vec<Flagged>, u64) {
    let operations = core.backlog.operations();
    let whole = core.halted.iter().map(|flag| Flagged { operations, ..flagged((&RelPath::root(), flag)) });
    let shown = whole.chain(core.flags.iter().map(flagged)).take(MOST_FLAGGED).collect();
    (shown, core.flags.count() as u64 + u64::from(core.halted.is_some()))
}

/// From which number on the replica is no prefix.
fn incoherent_from(core: &Core) -> Option<SeqNo> {
    [core.incoherent.from(core.applied), core.flags.first()].into_iter().flatten().min()
}

fn named(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

/// Paths of what cannot be read that are shown at most.
const MOST_UNREADABLE: usize = 20;
/// Places that are flagged, as far as they are shown.
const MOST_FLAGGED: usize = 20;

impl Srm {
    /// Everything there is to see.
    pub fn status(&self) -> SourceStatus {
        let mut status = self.status_without_paths();
        for target in status.targets.iter_mut().filter(|target| target.pass.unreadable > 0) {
            target.unreadable = self.unreadable();
        }
        status
    }

    /// Paths of what the pass cannot read, the first in their order.
    fn unreadable(&self) -> Vec<String> {
        let names = self.tree.names().read();
        let core = self.core.lock();
        let Gate::Pass(pass) = &core.gate else { return Vec::new() };
        let shown = |(node, name): (&std::sync::Arc<platform::tree::Node>, Option<&protocol::Name>)| {
            let path = node.path(&names)?;
            name.map_or(Some(path.clone()), |name| path.join(name).ok()).map(|path| path.to_string())
        };
        let mut paths: Vec<String> = pass.unreadable_places().filter_map(shown).collect();
        paths.sort();
        paths.dedup();
        paths.truncate(MOST_UNREADABLE);
        paths
    }

    fn status_without_paths(&self) -> SourceStatus {
        let verify = self.verify_status().map(Box::new);
        let fsi = FsiStatus { nodes: self.tree.known() as u64, descriptors: sys::open_descriptors() };
        let (local_syncs, local_answered) = self.local.counts();
        let core = self.core.lock();
        let state = match (&core.link, &core.gate) {
            (Link::Setup, _) => TargetState::Setup,
            (Link::Refused, _) => TargetState::Refused,
            _ if core.bypass => TargetState::Bypass,
            (Link::Down(_), _) | (Link::Up, Gate::Due | Gate::Held(_)) => TargetState::Accumulating,
            (Link::Up, _) if core.halted.is_some() => TargetState::Accumulating,
            (Link::Up, _) if core.blocked.is_some() => TargetState::Blocked,
            (Link::Up, _) if core.waits_for_a_rule() => TargetState::Accumulating,
            (Link::Up, Gate::Clean) if core.is_coherent() || !core.flags.is_empty() => TargetState::Connected,
            (Link::Up, Gate::Pass(_) | Gate::Clean) => TargetState::Mirroring,
        };
        let coherent = core.is_coherent();
        let (flagged, flagged_count) = all_flagged(&core);
        let held = match &core.gate {
            Gate::Held(held) => Held { entries: held.entries() as u64, bytes: held.bytes() },
            _ => Held::default(),
        };
        let target = TargetStatus {
            target: self.config.target.clone(),
            state,
            mirror_due: matches!(core.gate, Gate::Due),
            coherent,
            incoherent_until: core.coherent_at.filter(|_| !coherent).map(protocol::SeqNo::get),
            degraded: (core.commit.mode.waits() && !core.waits())
                || (core.commit.mode == CommitMode::Local && core.degraded),
            undecided: core.remote.unknown_paths(),
            lag: lag(&core),
            applied: core.applied.get(),
            durable: core.durable.get(),
            blocked: core.blocked.clone(),
            slow: crate::feed::slow_now(&core),
            last_error: core.last_error.clone(),
            reconnects: core.connections.saturating_sub(1),
            operations: named(&core.sent_operations),
            sent_bytes: core.sent_bytes,
            pass: pass::progress(&core),
            held,
            send: core.send_status(),
            limit: None,
            packed_from_bytes: 0,
            packed_bytes: 0,
            packing: BTreeMap::new(),
            paths: Vec::new(),
            lanes: self.lanes.open_lanes() as u64,
            passes: core.passes_done,
            unreadable: Vec::new(),
            flagged,
            flagged_count,
            incoherent_from: incoherent_from(&core).filter(|_| !coherent).map(protocol::SeqNo::get),
        };
        SourceStatus {
            name: String::from_utf8_lossy(self.config.name.as_bytes()).into_owned(),
            source: self.config.source.clone(),
            mountpoint: self.config.mountpoint.clone(),
            pid: std::process::id(),
            commit: core.commit.mode,
            near: (core.commit.mode == CommitMode::Near).then_some(core.commit.near),
            strict: core.commit.strict,
            cache: CacheMode::default(),
            local_syncs,
            local_answered,
            operations: named(&core.operations),
            written_bytes: core.written_bytes,
            sequence: core.backlog.newest().get(),
            checkpoint: self.hot.checkpoint().map(|checkpoint| checkpoint.seq.get()),
            hot: self.hot.len() as u64,
            backlog_bytes: core.backlog.used_bytes(),
            backlog_limit: core.backlog.limit_bytes(),
            journal: core.backlog.areas().iter().map(area).collect(),
            fsi,
            submounts: self.config.submounts.clone(),
            verify,
            targets: if self.config.bypassed { Vec::new() } else { vec![target] },
        }
    }

    /// Waits until everything that was changed before this call is durable on a coherent target. The error says what
    /// is left after `timeout`.
    pub fn sync(&self, timeout: Duration) -> Result<(), Left> {
        if self.config.bypassed {
            return Err(left(&self.core.lock()));
        }
        let deadline = Instant::now() + timeout;
        let _sent_meanwhile = self.let_go_meanwhile();
        loop {
            if self.core.lock().bypass {
                return Err(left(&self.core.lock()));
            }
            // A barrier counts only in the run of numbers that it was numbered in.
            let mut core = self.core.lock();
            while !matches!(core.gate, Gate::Clean) || !core.flags.is_empty() {
                if self.changed.wait_until(&mut core, deadline).timed_out() {
                    return Err(left(&core));
                }
            }
            let generation = core.generation;
            let barrier = core.push(Draft::new(&Op::Mark(Mark::Barrier), Bytes::new()));
            self.wake();
            let Some(barrier) = barrier else { continue };
            core.tell(|_| Ok(()));
            // What was passed over meanwhile is repaired behind the barrier: then there is to be another.
            while core.generation == generation && core.flags.is_empty() {
                if core.durable >= barrier && core.is_coherent() {
                    return Ok(());
                }
                if self.changed.wait_until(&mut core, deadline).timed_out() {
                    return Err(left(&core));
                }
            }
        }
    }

    /// What is not yet on the target.
    pub fn left(&self) -> Left {
        left(&self.core.lock())
    }

    /// What is asked of the mount now.
    pub fn commit_mode(&self) -> Commit {
        self.core.lock().commit
    }

    /// Asks for another commit mode, or other bounds, from now on. A mode that waits and finds the target far behind is degraded
    /// until that has caught up; what waits in a mode that does not is answered. An error: rules hold what a mode that waits would wait for.
    pub fn set_commit_mode(&self, commit: Commit) -> Result<(), NotHeld> {
        let mut core = self.core.lock();
        NotHeld::check(commit.mode, core.sending.rules())?;
        let waited = core.commit.mode.waits();
        core.commit = commit;
        self.note_mode(commit.mode);
        if !commit.mode.waits() {
            (core.degraded, core.pace) = (false, None);
            core.release_replies();
        } else if !waited {
            core.degraded = core.backlog.operations() > 0 || !matches!(core.link, Link::Up);
        }
        tracing::info!(event = "commit", mode = %commit.mode, strict = commit.strict, "another commit mode is asked for");
        drop(core);
        self.changed.notify_all();
        Ok(())
    }

    /// Switches replication off or on again (S16). Off: what was changed before is still sent, what is changed from now on is
    /// remembered. On: that is caught up with. Whether that changed anything.
    pub fn bypass(&self, on: bool) -> bool {
        let mut core = self.core.lock();
        if core.bypass == on {
            return false;
        }
        core.bypass = on;
        match (&core.gate, on) {
            (Gate::Clean, true) => core.hold("replication is switched off"),
            // What has been repaired is not remembered; what the source knew before the pass it still knows.
            (Gate::Pass(_), true) => {
                let by_content = core.by_content;
                core.all_dirty("replication is switched off");
                core.by_content = by_content;
            }
            // The greeting begins a pass.
            (Gate::Due, false) => core.generation += 1,
            _ => {}
        }
        tracing::info!(event = "bypass", on, "replication is switched");
        drop(core);
        self.wake();
        self.changed.notify_all();
        true
    }

    /// No more operations come: once everything is sent and applied, the connection says goodbye.
    pub fn close(&self) {
        self.note_held(true);
        let mut core = self.core.lock();
        core.closing = true;
        // Until the end.
        core.sending.begin_waiting();
        let _woken_below = core.look_at_sending();
        drop(core);
        self.wake();
        self.changed.notify_all();
    }

    /// Waits until the target has everything, has made it durable and has said goodbye, which it does after
    /// [`Srm::close`] only: a mount that is detached and still in use goes on. Without a target there is nothing to wait for
    /// but the end of the mount.
    pub fn drain(&self, timeout: Duration) -> Result<(), Left> {
        let deadline = Instant::now() + timeout;
        let _sent_meanwhile = self.let_go_meanwhile();
        let mut core = self.core.lock();
        loop {
            if core.finished || (self.config.bypassed && core.closing) {
                return Ok(());
            }
            // What is remembered is not sent any more.
            if core.bypass && core.closing && core.backlog.operations() == 0 {
                return Err(left(&core));
            }
            self.wake();
            if self.changed.wait_until(&mut core, deadline).timed_out() {
                return Err(left(&core));
            }
        }
    }

    /// Ends the threads of the SRM; waiting replies go out.
    pub fn stop(&self) {
        // A mount that was short has not come to that yet; without it the next daemon could not go on with the journal.
        self.note_settled();
        let mut core = self.core.lock();
        core.stopped = true;
        core.generation += 1;
        core.questions.clear();
        // What the journal has stays as it is, for the next daemon or to be forgotten.
        core.stand = None;
        core.away = None;
        core.backlog = Backlog::new(MIN_BACKLOG_BYTES);
        core.gate = Gate::Due;
        core.release_replies();
        drop(core);
        self.lanes.end_generation();
        self.released.notify_all();
        self.stopping.notify_all();
        self.wake();
        self.changed.notify_all();
    }
}

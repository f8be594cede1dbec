//! Verification: does the replica have what the source has, while applications write (T3)? What differs is listed by path and
//! kind, and mended if that is asked for.
//!
//! Two looks: a loose one, cheap and without locks for long, finds candidates; an exact one decides. For the exact one the
//! source is read and the question to the target numbered under the same locks, so that the answer is about the very same
//! moment (R7): no false alarm. Questions are put only while everything is sent and the replica is coherent; at any other time
//! verification waits, and what was under way is asked again.
//!
//! Here: starting, stopping, what is seen. `run` is one verification, `walk` goes through directories, `name`, `root` and
//! `content` compare exactly, `links` the structure of hard links, `ask` puts questions, `repair` mends; `judge`, `sample`, `budget` are
//! pure; `schedule` begins one by itself.

mod ask;
mod budget;
mod content;
mod judge;
mod links;
mod name;
mod repair;
mod root;
mod run;
mod sample;
mod schedule;
mod status;
mod walk;

pub use status::{Finding, FindingKind, VerifyState, VerifyStatus, VerifySummary};

use crate::Srm;
use crate::core::Link;
use crate::map::Gate;
use crate::set::Kind;
use parking_lot::{Condvar, Mutex};
use platform::sys;
use protocol::RelPath;
use run::Run;
use std::sync::Arc;

/// What is to be verified, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyOptions {
    /// This, and all below it; the root for everything.
    pub path: RelPath,
    /// Mend what differs.
    pub repair: bool,
    /// Percent of the files whose content is compared, 1 to 100. Attributes of all are.
    pub sample: u8,
    /// Bytes of content that are read on the source in a second; `None`: as fast as it goes.
    pub rate: Option<u64>,
}

/// Why no verification begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyRefused {
    /// There is nothing to compare with.
    #[error("this mount has no target, so there is nothing to compare with; mount it with --target")]
    NoTarget,
    /// Replication is switched off.
    #[error(
        "replication is switched off, and the replica stays behind by intention; 'replfs bypass MNT off' switches it on"
    )]
    Bypass,
    /// The target is not there, or does not have everything.
    #[error("the target is {0}; verify once 'replfs status' shows it as connected")]
    Away(&'static str),
    /// A rule holds what is for the target, and nobody asked for it.
    #[error("nothing is sent now; it begins when a window of time opens")]
    Held,
    /// One runs.
    #[error("verification {0} runs already; wait for it, or end it with 'replfs verify MNT --stop'")]
    Running(u64),
    /// Nothing is there on the source.
    #[error("path '{0}': the source has nothing there; for what only the target has verify the directory above")]
    NoPath(String),
    /// The path is not replicated.
    #[error("path '{0}': the replication set leaves it out, or it lies on another file system; it is not replicated")]
    LeftOut(String),
    /// The source cannot be read there.
    #[error("path '{0}': the source cannot be read there: {1}")]
    Unreadable(String, String),
    /// No thread.
    #[error("no thread could be started for the verification: {0}")]
    Thread(String),
}

/// What all verifications of a source share.
#[derive(Default)]
pub(crate) struct Verifier {
    state: Mutex<State>,
    /// One was stopped or has ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    begun: u64,
    running: bool,
    stop: bool,
    status: Option<VerifyStatus>,
}

impl Srm {
    /// Begins a verification that somebody asked for; at most one runs at a time. Its number. Nothing is held meanwhile (S4).
    pub fn verify(self: &Arc<Self>, options: VerifyOptions) -> Result<u64, VerifyRefused> {
        self.begin_verify(options, true)
    }

    fn begin_verify(self: &Arc<Self>, options: VerifyOptions, asked: bool) -> Result<u64, VerifyRefused> {
        self.can_verify()?;
        if !asked && !self.core.lock().sending.lets_repair() {
            return Err(VerifyRefused::Held);
        }
        self.check_path(&options.path)?;
        let number = {
            let mut state = self.verifier.state.lock();
            if state.running {
                return Err(VerifyRefused::Running(state.begun));
            }
            state.begun += 1;
            (state.running, state.stop) = (true, false);
            let previous = state.status.take().map(VerifySummary::from);
            let status = VerifyStatus {
                number: state.begun,
                path: if options.path.is_root() { ".".to_owned() } else { options.path.to_string() },
                repair: options.repair,
                sample: options.sample,
                rate: options.rate,
                began_ms: now_ms(),
                scanning: true,
                previous,
                ..VerifyStatus::default()
            };
            state.status = Some(status);
            state.begun
        };
        tracing::info!(event = "verify-begin", number, path = %options.path, repair = options.repair, "comparing source and target");
        let srm = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("verify".to_owned())
            .spawn(move || Run::new(srm, number, options, asked).work());
        started.map(|_| number).map_err(|error| {
            self.verify_ended(VerifyState::Failed);
            VerifyRefused::Thread(error.to_string())
        })
    }

    /// Ends the verification that runs; whether one did.
    pub fn stop_verify(&self) -> bool {
        let mut state = self.verifier.state.lock();
        state.stop = true;
        self.verifier.changed.notify_all();
        state.running
    }

    /// The verification that runs, or the last one.
    pub fn verify_status(&self) -> Option<VerifyStatus> {
        self.verifier.state.lock().status.clone()
    }

    fn can_verify(&self) -> Result<(), VerifyRefused> {
        if self.config.bypassed {
            return Err(VerifyRefused::NoTarget);
        }
        let core = self.core.lock();
        match (&core.link, &core.gate) {
            _ if core.bypass => Err(VerifyRefused::Bypass),
            (Link::Setup, _) => Err(VerifyRefused::Away("not reached yet")),
            (Link::Refused, _) => Err(VerifyRefused::Away("refusing this source")),
            (Link::Down(_), _) => Err(VerifyRefused::Away("away (accumulating)")),
            (Link::Up, Gate::Due | Gate::Held(_)) => Err(VerifyRefused::Away("behind (accumulating)")),
            // Verification waits for the end of a pass.
            (Link::Up, Gate::Pass(_) | Gate::Clean) => Ok(()),
        }
    }

    fn check_path(&self, path: &RelPath) -> Result<(), VerifyRefused> {
        if path.is_root() {
            return Ok(());
        }
        let shown = path.to_string();
        let names = self.tree.names().read();
        let place = self.place_of(&names, path).ok_or_else(|| VerifyRefused::NoPath(shown.clone()))?;
        let peeked = self.tree.peek(&names, &place.0, &place.1);
        drop(names);
        self.tree.settle(place.0);
        match peeked {
            Ok(there) if self.set().takes(path, Kind::of(&there.kind), there.stat.st_size.cast_unsigned()) => Ok(()),
            Ok(_) => Err(VerifyRefused::LeftOut(shown)),
            Err(error) if is_elsewhere(&error) => Err(VerifyRefused::LeftOut(shown)),
            Err(error) if crate::pass::is_gone(&error) => Err(VerifyRefused::NoPath(shown)),
            Err(error) => Err(VerifyRefused::Unreadable(shown, error.to_string())),
        }
    }

    fn verify_ended(&self, how: VerifyState) {
        let mut state = self.verifier.state.lock();
        state.running = false;
        if let Some(status) = &mut state.status {
            (status.state, status.ended_ms, status.scanning) = (how, Some(now_ms()), false);
            tracing::info!(
                event = "verify-end",
                number = status.number,
                outcome = ?how,
                found = status.differing(),
                mended = status.mended,
                unreadable = status.unreadable(),
                "compared"
            );
        }
        self.verifier.changed.notify_all();
    }
}

fn now_ms() -> u64 {
    sys::now_ns() / 1_000_000
}

fn is_elsewhere(error: &std::io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::XDEV)
}

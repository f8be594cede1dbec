//! One verification, in a thread of its own: what it knows, how it paces and ends, and how it reports.

use super::budget::Budget;
use super::links::Links;
use super::status::{Finding, FindingKind, VerifyState, VerifyStatus};
use super::walk::{Doubt, Small};
use super::{VerifyOptions, judge};
use crate::{Again, Srm};
use platform::tree::Node;
use protocol::RelPath;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// It is to end: it was stopped, or the mount ends.
#[derive(Debug)]
pub(super) struct Ended;

/// Something that differs, as an exact look found it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub path: RelPath,
    pub kind: FindingKind,
    pub detail: String,
}

/// A finding that waits to be mended.
pub(super) struct Suspect {
    pub place: Again,
    /// Among the findings that are kept.
    pub index: Option<usize>,
    /// The name whose links it was compared with, where that is what differs.
    pub other: Option<RelPath>,
}

/// See the module.
pub(super) struct Run {
    pub srm: Arc<Srm>,
    pub number: u64,
    pub options: VerifyOptions,
    pub links: Links,
    /// Directories that wait.
    pub dirs: Vec<Arc<Node>>,
    /// Small files whose content was asked about.
    pub smalls: VecDeque<Small>,
    /// Names that looked different and were asked about.
    pub doubts: VecDeque<Doubt>,
    /// What differs and is to be mended.
    pub suspects: Vec<Suspect>,
    budget: Budget,
    /// Somebody asked for it.
    asked: bool,
}

impl Run {
    pub fn new(srm: Arc<Srm>, number: u64, options: VerifyOptions, asked: bool) -> Self {
        let budget = Budget::new(options.rate, Instant::now());
        Self {
            srm,
            number,
            options,
            links: Links::default(),
            dirs: Vec::new(),
            smalls: VecDeque::new(),
            doubts: VecDeque::new(),
            suspects: Vec::new(),
            budget,
            asked,
        }
    }

    /// Verifies, to the end or until it is stopped.
    pub fn work(mut self) {
        let srm = Arc::clone(&self.srm);
        let sent_meanwhile = if self.asked { srm.let_go_meanwhile() } else { srm.work_meanwhile() };
        let outcome = self.all();
        drop(sent_meanwhile);
        drop(self);
        // Nodes that only the verification knew.
        srm.tree.sweep();
        srm.verify_ended(if outcome.is_ok() { VerifyState::Done } else { VerifyState::Stopped });
    }

    fn all(&mut self) -> Result<(), Ended> {
        self.wait_ready()?;
        self.begin()?;
        loop {
            let Some(dir) = self.dirs.pop() else {
                // What still waits for an answer may be a directory.
                self.drain_smalls(0)?;
                self.drain_doubts(0)?;
                if self.dirs.is_empty() {
                    break;
                }
                continue;
            };
            let result = self.directory(&dir);
            self.srm.tree.settle(dir);
            result?;
            let waiting = self.dirs.len() as u64;
            self.note(|status| {
                status.directories += 1;
                status.waiting = waiting;
                status.scanning = waiting > 0;
            });
        }
        self.mend()
    }

    /// Puts the beginning on the list.
    fn begin(&mut self) -> Result<(), Ended> {
        if self.options.path.is_root() {
            self.dirs.push(Arc::clone(self.srm.tree.root()));
            return match self.root()? {
                Some(found) => self.report(Again::Root, found, None),
                None => Ok(()),
            };
        }
        let place = self.srm.place_of(&self.srm.tree.names().read(), &self.options.path);
        // Gone since it was asked for: nothing is left to compare.
        let Some((dir, name)) = place else { return Ok(()) };
        self.look_at(&dir, &name)
    }

    /// Whether it is to go on.
    pub fn check(&self) -> Result<(), Ended> {
        if self.srm.verifier.state.lock().stop {
            return Err(Ended);
        }
        let core = self.srm.core.lock();
        if core.stopped || core.closing { Err(Ended) } else { Ok(()) }
    }

    /// Changes what is seen.
    pub fn note<T>(&self, change: impl FnOnce(&mut VerifyStatus) -> T) -> Option<T> {
        self.srm.verifier.state.lock().status.as_mut().map(change)
    }

    /// Waits until so many bytes may be read. No lock is held.
    pub fn pace(&mut self, bytes: u64) -> Result<(), Ended> {
        let until = Instant::now() + self.budget.take(bytes, Instant::now());
        loop {
            self.check()?;
            if Instant::now() >= until {
                return Ok(());
            }
            let mut state = self.srm.verifier.state.lock();
            let soon = until.min(Instant::now() + Duration::from_millis(200));
            if !state.stop {
                self.srm.verifier.changed.wait_until(&mut state, soon);
            }
        }
    }

    /// Reports something that differs; what is to be mended is, once there is enough of it.
    pub fn report(&mut self, place: Again, found: Found, other: Option<RelPath>) -> Result<(), Ended> {
        let Found { path, kind, detail } = found;
        let shown = if path.is_root() { ".".to_owned() } else { path.to_string() };
        tracing::warn!(event = "verify-found", number = self.number, path = shown, %kind, detail, "the replica differs");
        let index = self.note(|status| status.add(Finding { path: shown, kind, detail, mended: false })).flatten();
        if self.options.repair && kind != FindingKind::Unreadable {
            self.suspects.push(Suspect { place, index, other });
            if self.suspects.len() >= super::repair::BATCH {
                self.mend()?;
            }
        }
        Ok(())
    }
}

impl Found {
    /// By what the two sides have.
    pub fn of(path: RelPath, (kind, detail): (FindingKind, String)) -> Self {
        Self { path, kind, detail }
    }

    pub fn lost(path: RelPath, mine: &judge::Mine) -> Self {
        Self::of(path, (FindingKind::Lost, format!("{} that only the source has", judge::word(&mine.kind))))
    }

    pub fn unreadable(path: RelPath, error: &std::io::Error) -> Self {
        Self::of(path, (FindingKind::Unreadable, format!("cannot be read on the source: {error}")))
    }
}

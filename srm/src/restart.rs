//! The journal of a source from one daemon to the next (S5, S6): what a daemon that was killed had queued is sent by the one that comes after it, in
//! order, and what it had changed without having queued it is found by the change times.
//!
//! A change and its number are one step under the namespace lock. So whenever that is free, all that was changed before is numbered, and in the journal: the
//! clock notes the time now and then ([`Srm::note_settled`]). After a kill everything that did not change since is on the target or in the journal, and the next daemon
//! compares by content only what did.

use crate::Srm;
use crate::backlog::Backlog;
use crate::core::{Core, seconds};
use crate::held_file::{self, Behind, HeldFile, Step};
use crate::map::{Gate, Pass, Scope};
use crate::remote::Slots;
use crate::spare::Spare;
use crate::stand::{Stand, StandFile};
use crate::{Config, JournalConfig};
use bytes::Bytes;
use journal::{DamageKind, Journal, RealDisk, Recovered};
use platform::{machine, sys};
use protocol::{Draft, Mark, Op, RelPath};
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The file beside the journal that says where its daemon stood.
const STAND: &str = "stand";

/// The file beside it that says what the target may have changed ahead of the source.
const PROPOSED: &str = "proposed";

/// The file beside it that says what is held of names.
const HELD: &str = "held";

/// Change times come from a clock of the kernel's that lags behind by a tick.
const MARGIN_SECS: i64 = 2;

/// How long the namespace lock is waited for, to note that everything is numbered.
const PATIENCE: Duration = Duration::from_millis(10);

/// Between two looks at what the journal needs.
const MAINTAIN_EVERY: Duration = Duration::from_millis(200);

/// Nodes of one daemon have numbers that no other daemon of the same run of numbers gives out.
const NODES_EACH: u32 = 40;

/// Daemons of one run of numbers.
const MOST_DAEMONS: u32 = 1 << 20;

/// What is gone on with.
#[derive(Clone, Debug)]
pub(crate) struct Resumed {
    /// What has not changed since is on the target or in the journal.
    pub since: i64,
    /// The first number for a node.
    pub first_node: u64,
    /// What the target may have changed ahead of the source.
    pub proposed: Proposed,
    /// What the last daemon held of names, behind what is queued.
    pub steps: Vec<Step>,
}

/// What the last daemon had proposed to the target (R13) and not settled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposed {
    pub paths: Vec<RelPath>,
    /// Not all of it is known.
    pub unknown: bool,
}

/// Opens the journal. What it has is gone on with, if that can be; otherwise it is forgotten. Where it cannot be used at all, the
/// backlog is in memory only, and the status says why.
pub(crate) fn open(core: &mut Core, config: &Config) -> Option<Resumed> {
    let journal = config.journal.as_ref()?;
    let checkpoint =
        core.hot.open(&journal.hot, |checkpoint| journal.may_resume && config.replica == Some(checkpoint.replica));
    let checkpoint = checkpoint.unwrap_or_else(|error| {
        tracing::error!(event = "hot", path = %journal.hot.display(), %error, "after a power cut everything will be compared by content");
        None
    });
    let resumed = open_journal(core, config, journal);
    if let Some(checkpoint) = checkpoint.filter(|_| resumed.is_none() && config.clean_end_secs.is_none()) {
        let hot = core.hot.len();
        tracing::info!(event = "power-lost", hot, "what changed since the last checkpoint is compared");
        core.go_back_to(&checkpoint);
    }
    resumed
}

fn open_journal(core: &mut Core, config: &Config, journal: &JournalConfig) -> Option<Resumed> {
    match try_open(core, journal, config.backlog_bytes) {
        Ok(resumed) => resumed,
        Err(error) => {
            let text = format!("the journal cannot be used ({error}); what is queued is in memory only");
            tracing::error!(event = "journal", error, "the journal cannot be used; what is queued is in memory only");
            core.last_error = Some(text);
            None
        }
    }
}

fn try_open(core: &mut Core, config: &JournalConfig, limit_bytes: u64) -> Result<Option<Resumed>, String> {
    let make = |dir: &std::path::Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    make(&config.dir).map_err(|e| format!("{}: {e}", config.dir.display()))?;
    let path = config.dir.join(STAND);
    let stand = Stand::read(&path).filter(|stand| stand.boot == config.boot && config.may_resume);
    let areas = journal::Config { boot: config.boot, areas: config.areas.clone() };
    let (journal, found) = Journal::open(Arc::new(RealDisk), areas).map_err(|e| e.to_string())?;
    for damage in &found.damage {
        tracing::warn!(event = "journal-damage", %damage, "the journal is not as it was written");
    }
    let stand = stand.filter(|stand| goes_on(stand, &found)).and_then(|stand| Some((stand, stand.since?)));
    let daemon = stand.map_or(0, |(stand, _)| stand.daemon + 1);
    let file = StandFile::open(&path, config.boot, daemon).map_err(|e| format!("{}: {e}", path.display()))?;
    core.backlog = Backlog::journaled(journal, stand.is_some(), limit_bytes).map_err(|e| e.to_string())?;
    core.stand = Some(file);
    let (slots, mut left) = Slots::open(config.dir.join(PROPOSED), config.boot, stand.is_some())
        .map_err(|e| format!("{}: {e}", config.dir.join(PROPOSED).display()))?;
    core.remote.keep_in(slots);
    let Some((stand, since)) = stand else {
        core.note_stand(None);
        return Ok(None);
    };
    core.incarnation = stand.incarnation;
    core.applied = core.backlog.oldest().prev();
    core.durable = core.applied;
    // Of which of these applications were told that they are durable is not known.
    core.synced.store(core.backlog.newest().get(), Ordering::SeqCst);
    core.note_stand(Some(since));
    let proposed =
        Proposed { paths: left.left.iter().flat_map(|(paths, _)| paths.clone()).collect(), unknown: left.unknown };
    core.remote.inherit(std::mem::take(&mut left));
    let first_node = (u64::from(daemon) << NODES_EACH) + 2;
    let operations = core.backlog.operations();
    let behind = Behind { incarnation: stand.incarnation, boot: config.boot, newest: core.backlog.newest() };
    let steps = held_file::read(&config.dir.join(HELD), &behind);
    let held = steps.len();
    tracing::info!(event = "journal-resumed", operations, held, "going on where the last daemon ended");
    Ok(Some(Resumed { since: since - MARGIN_SECS, first_node, proposed, steps }))
}

/// Whether the journal has all that was numbered.
fn goes_on(stand: &Stand, found: &Recovered) -> bool {
    let torn = |kind: &DamageKind| matches!(kind, DamageKind::Torn { .. });
    stand.daemon < MOST_DAEMONS
        && found.same_boot
        && found.incarnation == Some(stand.incarnation)
        && found.damage.iter().all(|damage| torn(&damage.kind))
}

/// Where what is held of names is written; nowhere without a journal.
pub(crate) fn held_file(config: &Config) -> Option<HeldFile> {
    config.journal.as_ref().map(|journal| HeldFile::new(journal.dir.join(HELD), journal.boot))
}

/// Does the journal's slow work beside, notes what is settled, and what is held, and gives memory back that what was queued took.
pub(crate) fn maintain(srm: &Arc<Srm>) -> io::Result<()> {
    let Some(syncer) = srm.core.lock().backlog.syncer() else { return Ok(()) };
    let weak: Weak<Srm> = Arc::downgrade(srm);
    let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
        let mut spare = Spare::default();
        while let Some(srm) = weak.upgrade() {
            if let Err(error) = syncer.maintain() {
                tracing::debug!(event = "journal-maintain", %error, "the journal could not be prepared");
            }
            srm.note_settled();
            srm.note_held(false);
            let mut core = srm.core.lock();
            if core.stopped {
                return;
            }
            if spare.gives_back(core.backlog.take_most_kept(), machine::now()) {
                drop(core);
                sys::give_back_memory();
                core = srm.core.lock();
            }
            if !core.stopped {
                srm.stopping.wait_for(&mut core, MAINTAIN_EVERY);
            }
        }
    })?;
    *srm.journal_thread.lock() = Some(thread);
    Ok(())
}

impl Srm {
    /// Goes on after a daemon that was killed: everything that changed since then is compared, behind what is queued.
    pub(crate) fn go_on(self: &Arc<Self>, resumed: &Resumed) {
        let suspects = self.proposed_nodes(&resumed.proposed.paths);
        let since = resumed.since;
        let mut core = self.core.lock();
        (core.same_before, core.by_content) = (Some(since), false);
        let mut pass = Pass::new(core.passes_begun + 1, Scope::All(HashSet::new()));
        (pass.source_clean_secs, pass.trusts_target) = (since, true);
        // What lies in a directory that was moved has an older change time than that.
        pass.hot = Some(core.hot.set().moved());
        // The target may have changed them, and their change times here say nothing of that.
        pass.suspect(suspects);
        pass.by_content |= resumed.proposed.unknown;
        core.by_content |= resumed.proposed.unknown;
        let number = core.begin_pass(pass);
        let restarted = Draft::new(&Op::Mark(Mark::Restarted), Bytes::new());
        if core.push_incoherent().is_some() && core.push(restarted).is_some() {
            drop(core);
            self.take_again(&resumed.steps);
            self.start_pass(number);
        }
    }

    /// Inode numbers of what the source has under these paths.
    fn proposed_nodes(&self, paths: &[RelPath]) -> Vec<u64> {
        let names = self.tree.names().read();
        let found = |path: &RelPath| {
            let (dir, name) = self.place_of(&names, path)?;
            self.tree.lookup(&names, &dir, &name, 0).ok().map(|(node, _)| node.ino())
        };
        paths.iter().filter_map(found).collect()
    }

    /// Notes that all that was changed before now is numbered, if that is so.
    pub(crate) fn note_settled(&self) {
        if !matches!(self.core.lock().gate, Gate::Clean) {
            return;
        }
        let now = seconds();
        let Some(_still) = self.tree.names().try_write_for(PATIENCE) else { return };
        let mut core = self.core.lock();
        // What the target passed over is neither there nor in the journal.
        if matches!(core.gate, Gate::Clean) && core.flags.is_empty() {
            core.note_stand(Some(now));
        }
    }

    /// Everything is on the target, and the next mount begins anew: what the journal had is not needed. To be called after [`Srm::stop`], or not
    /// at all: then the next daemon goes on with it.
    pub fn forget_journal(&self) {
        let thread = self.journal_thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(event = "journal", "the journal's thread failed");
        }
        let Some(config) = &self.config.journal else { return };
        for area in &config.areas {
            if let Err(error) = journal::erase(&area.dir) {
                tracing::warn!(event = "journal-stays", dir = %area.dir.display(), %error, "the journal's files stay");
            }
        }
        // Neither is there where the journal could not be opened.
        Slots::remove(&config.dir.join(PROPOSED));
        HeldFile::remove(&config.dir.join(HELD));
        let _none = std::fs::remove_file(config.dir.join(STAND)).and_then(|()| std::fs::remove_dir(&config.dir));
    }
}

//! What the target could not carry out within the bound, and passed over: the source says so, remembers where, and tries again
//! with pauses until the target can. What is known of it stands in `flags`.

use crate::core::{Core, Link};
use crate::ensure::mtime_of;
use crate::flags::{Flag, Moved};
use crate::map::Gate;
use crate::names::{path_in, touched};
use crate::said::words;
use crate::{Again, Gone, Renamed, Srm};
use bytes::Bytes;
use platform::tree::{Names, Node};
use platform::{machine, sys};
use protocol::{Draft, Name, RelPath, RenameKind, SeqNo, Trouble};
use std::sync::Arc;

/// What is tried again.
#[derive(Clone, Copy)]
enum Try {
    /// Whether the target carries out anything at all.
    Probe,
    /// All that is flagged.
    All,
}

impl Srm {
    /// The target went on without a record.
    pub(crate) fn passed_over(self: &Arc<Self>, trouble: &Trouble) {
        let shown = trouble.path.as_ref().map_or_else(|| "-".to_owned(), |path| words(&path.to_string()));
        let why = format!("the target could not carry out: {shown}, {}", trouble.text);
        let mut core = self.core.lock();
        let seq = trouble.seq;
        if matches!(core.gate, Gate::Due) {
            // All will be compared.
            return;
        }
        core.last_error = Some(why.clone());
        if core.flags.probe == Some(seq) {
            core.flags.probe = None;
            core.flags.schedule(machine::now());
            return;
        }
        if core.may_log() {
            let reason = &trouble.text;
            tracing::warn!(
                event = "passed-over",
                seq = seq.get(),
                path = shown,
                reason,
                "the target goes on without it"
            );
        }
        let now_ms = sys::now_ns() / 1_000_000;
        let known = trouble.path.as_ref().is_some_and(|path| core.flags.tell(seq, path, &trouble.text, now_ms));
        // A question that it cannot answer: what it has cannot be found out.
        let unanswered = core.questions.remove(&seq).is_some();
        if !known || unanswered {
            core.damaged(&format!("{why}; all will be compared"), machine::now());
        } else {
            flag(&mut core);
        }
        drop(core);
        self.wake();
        self.changed.notify_all();
    }

    /// Tries what is flagged again, when it is time to.
    pub(crate) fn retry_if_due(self: &Arc<Self>) {
        let mut core = self.core.lock();
        let what = match &core.gate {
            Gate::Held(_) if core.flags.stuck => Try::Probe,
            Gate::Clean if !core.flags.is_empty() => Try::All,
            _ => return,
        };
        let let_go = match what {
            Try::Probe => core.sending.is_open(),
            Try::All => core.sending.lets_repair(),
        };
        let able = matches!(core.link, Link::Up) && !core.bypass && !core.stopped && let_go;
        if !able || !core.flags.take_due(machine::now()) {
            return;
        }
        drop(core);
        let srm = Arc::clone(self);
        // Names may be in use for a while.
        let retry = move || {
            let begun = match what {
                Try::Probe => srm.probe(),
                Try::All => srm.try_flagged(),
            };
            if !begun {
                srm.core.lock().flags.schedule(machine::now());
            }
        };
        if self.stepped {
            return retry();
        }
        let started = std::thread::Builder::new().name("retry".to_owned()).spawn(retry);
        if started.is_err() {
            self.core.lock().flags.schedule(machine::now());
        }
    }

    /// Looks at all that is flagged, by content, as a part of the pass that runs where one does. `false`: not now.
    pub(crate) fn try_flagged(self: &Arc<Self>) -> bool {
        let names = self.tree.names().read();
        let (in_pass, (paths, told)) = {
            let mut core = self.core.lock();
            (matches!(core.gate, Gate::Pass(_)), core.flags.begin())
        };
        let again: Vec<Again> = paths.iter().flat_map(|path| self.again_at(&names, path)).collect();
        let all = again.iter().any(|again| matches!(again, Again::All));
        // A catch-up does not become a comparison of everything: that comes after it.
        let later = again.is_empty() || all && in_pass;
        if later || !self.look_again(&names, &again, false) {
            return false;
        }
        let mut core = self.core.lock();
        // It ends no sooner than names are free.
        let Gate::Pass(pass) = &core.gate else { return true };
        if pass.by_content {
            let number = pass.number;
            core.flags.cover(number, told);
        }
        true
    }

    /// A flagged place, and the directory it is in, of which the time may be wrong.
    fn again_at(&self, names: &Names, path: &RelPath) -> Vec<Again> {
        let mut path = path.clone();
        while !path.is_root() {
            if let Some((dir, name)) = self.place_of(names, &path) {
                return vec![Again::Name(Arc::clone(&dir), name), Again::Directory(dir)];
            }
            // What it was in is gone as well.
            path = path.split_last().map_or_else(RelPath::root, |(above, _)| above);
        }
        vec![Again::Root, Again::All]
    }

    /// Asks the target for something that changes nothing and needs what every change needs: a file system that can be written.
    /// `false`: not now.
    fn probe(&self) -> bool {
        let names = self.tree.names().read();
        let root = self.tree.root();
        let _its_time = root.lock.lock();
        let Ok(mtime) = mtime_of(self, &names, root) else { return false };
        let mut core = self.core.lock();
        if !matches!(core.gate, Gate::Held(_)) {
            return true;
        }
        let Some(seq) = core.push(Draft::new(&touched(root, RelPath::root(), mtime), Bytes::new())) else {
            return false;
        };
        core.flags.probe = Some(seq);
        drop(core);
        self.wake();
        true
    }

    /// A rename was carried out and described, with records after `before`: what is flagged moves with it.
    pub(crate) fn note_renamed(&self, names: &Names, rename: &Renamed<'_>, before: SeqNo) {
        let from = path_in(names, rename.from_dir, rename.from);
        let to = path_in(names, rename.to_dir, rename.to);
        let moved = from.zip(to).map(|(from, to)| match rename.kind {
            RenameKind::Exchange => Moved::Exchanged(from, to),
            _ => Moved::To(from, to),
        });
        self.note_moved(moved, before);
    }

    /// A name is gone: where what it named has others, what is flagged is under those.
    pub(crate) fn note_left(&self, names: &Names, (dir, name): (&Arc<Node>, &Name), gone: &Gone, before: SeqNo) {
        if gone.links_left == 0 || gone.directory {
            return;
        }
        let others = self.tree.get(gone.ino).map(|node| node.all_links()).unwrap_or_default();
        let others: Vec<RelPath> = others.iter().filter_map(|(dir, name)| path_in(names, dir, name)).collect();
        let Some(path) = path_in(names, dir, name) else { return self.note_moved(None, before) };
        if (others.len() as u64) < gone.links_left {
            // Where not all of them are known, nobody can say what else is wrong.
            let mut core = self.core.lock();
            let newest = core.backlog.newest();
            core.flags.forget_until(newest);
            if !core.flags.concern(&path) {
                return;
            }
            drop(core);
            return self.note_moved(None, before);
        }
        self.note_moved(Some(Moved::Left(path, others)), before);
    }

    fn note_moved(&self, moved: Option<Moved>, before: SeqNo) {
        let mut core = self.core.lock();
        if matches!(core.gate, Gate::Due) || self.config.retry_after.is_none() {
            return;
        }
        // What is not sent stands behind what was.
        let newest = core.backlog.newest();
        let seq = if newest > before { newest } else { newest.next() };
        let known = if let Some(moved) = moved {
            core.flags.moved(moved, before, seq)
        } else {
            core.flags.forget_until(newest);
            core.flags.is_empty()
        };
        if !known {
            core.all_dirty(
                "what the target could not carry out was moved where it cannot be followed; all will be compared",
            );
            drop(core);
            self.wake();
            self.changed.notify_all();
        }
    }
}

impl Core {
    /// Within the bound the target could carry out nothing at all. What it has is coherent, and only gets older: as with a target
    /// that is away, what changes is queued, and no reply waits for it.
    pub(crate) fn halt(&mut self, trouble: &Trouble, now_ms: u64) {
        let reason = trouble.text.clone();
        if self.may_log() {
            let seq = trouble.seq.get();
            tracing::warn!(event = "halted", seq, reason, "the target can carry out nothing and tries again");
        }
        self.last_error = Some(format!("the target can carry out nothing: {reason}"));
        self.halted = Some(Flag { reason, since_ms: now_ms, seq: trouble.seq, operations: 0, told: 0 });
        if self.commit.mode.waits() && !self.commit.strict {
            self.degraded = true;
            self.release_replies();
        }
    }
}

/// Something is flagged: the replica is not what it should be, and no reply says otherwise (R12).
fn flag(core: &mut Core) {
    let many = core.flags.are_many();
    core.flags.stuck |= many && matches!(core.gate, Gate::Clean | Gate::Held(_));
    match core.gate {
        Gate::Clean => {
            core.coherent_at = None;
            core.release_replies();
            core.flags.schedule(machine::now());
            if many {
                core.hold("the target cannot carry out what it is sent");
            }
        }
        Gate::Held(_) => core.flags.schedule(machine::now()),
        // Its end does that.
        Gate::Pass(_) | Gate::Due => {}
    }
}

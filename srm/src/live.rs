//! Live operations on data and attributes: sent if everything they touch is clean, absorbed otherwise. Also how replies
//! go out.

use crate::Srm;
use crate::core::{Core, Ticket};
use crate::map::{Gate, Handle, Touch};
use crate::member::{Membership, nowhere};
use crate::status::CommitMode;
use bytes::Bytes;
use platform::machine;
use platform::tree::{Names, Node};
use protocol::{At, Draft, Name, Op, Phase, Place};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The file that was read from is not clean on the target: the bytes are to be shipped instead (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotClean;

impl Handle for Arc<Node> {
    fn id(&self) -> u64 {
        Node::id(self).get()
    }

    fn ino(&self) -> u64 {
        Node::ino(self)
    }

    fn is_root(&self) -> bool {
        Node::is_root(self)
    }

    fn links(&self) -> Vec<(Self, Name)> {
        Node::taken_links(self)
    }

    fn takes(&self, dir: &Self, name: &Name) -> bool {
        self.takes_link(dir, name)
    }
}

/// What the target keeps of a file that is gone is out of date from here on.
fn forsake_orphan(core: &mut Core, node: &Arc<Node>) {
    if let Gate::Held(held) = &mut core.gate
        && node.is_orphan()
    {
        node.set_orphan(false);
        held.reap(node);
    }
}

/// Where a node is: by `link` if that is given, a name that is right on the target while others may not be; else by any
/// name it has.
pub(crate) fn place_by(names: &Names, node: &Node, link: Option<&(Arc<Node>, Name)>) -> Option<Place> {
    let Some((dir, name)) = link else { return node.place(names) };
    let path = dir.path(names)?.join(name).ok()?;
    Some(Place { node: node.id(), at: At::Path(path) })
}

/// A place that a live operation can name, or why there is none.
enum Reach {
    At(Place),
    Absorbed,
    Nameless,
}

impl Srm {
    /// Takes an operation on data or attributes of one node. The caller holds the namespace lock shared and the
    /// node's lock, and has carried the operation out; `make` makes the record if it is sent, and only then is the payload
    /// copied. Payloads are at most 1 MiB.
    pub fn on_node(
        self: &Arc<Self>,
        names: &Names,
        node: &Arc<Node>,
        payload: &[u8],
        make: impl FnOnce(Place) -> Op,
    ) -> Ticket {
        if self.config.bypassed {
            return Ticket::NONE;
        }
        let len = payload.len();
        let op = make(nowhere(node));
        let touch = Touch::of(&op, len);
        let syncs = matches!(op, Op::Fsync { .. } | Op::Write { durable: true, .. });
        let settles = self.has_proposals() && self.core.lock().settles_node(Node::id(node));
        let (phase, payload) = if settles { (Phase::Settled, &[][..]) } else { (Phase::Plain, payload) };
        match self.membership(names, node, &op, len) {
            Membership::In => {}
            out @ (Membership::Out | Membership::Unknown) => {
                let mut core = self.core.lock();
                // It may come back while its content is on its way.
                if matches!(core.gate, Gate::Pass(_)) {
                    let remembered = core.gate.absorb(node, touch);
                    core.settle_held(remembered);
                }
                drop(core);
                return if out == Membership::Unknown { self.doubt_names(node, len) } else { Ticket::NONE };
            }
            Membership::Entered => self.enter(names, node),
        }
        match self.reach(names, node) {
            Reach::At(place) => {
                let nameless = place.at == At::Orphan && self.is_removed(names, node);
                let draft = Draft::new(&op.at(place), Bytes::copy_from_slice(payload)).in_phase(phase);
                let mut core = self.core.lock();
                core.count(draft.word());
                core.written_bytes += len as u64;
                self.send(&mut core, node, draft, touch, len, nameless).syncing(syncs)
            }
            // Also of one that was left out of the set, of which the target keeps nothing.
            Reach::Absorbed | Reach::Nameless if !node.has_name() && self.is_removed(names, node) => {
                self.absorb_removed(node, len)
            }
            Reach::Absorbed => self.absorb_touch(node, touch, len),
            Reach::Nameless => self.nameless(node, len),
        }
    }

    /// Whether it has no name, known or not.
    fn is_removed(&self, names: &Names, node: &Node) -> bool {
        self.tree.stat(names, node).map_or(true, |stat| stat.st_nlink == 0)
    }

    /// A file that is gone changed: nobody will ever see it on the target.
    fn absorb_removed(&self, node: &Arc<Node>, len: usize) -> Ticket {
        let mut core = self.core.lock();
        if matches!(core.gate, Gate::Clean) {
            return Ticket::NONE;
        }
        core.count("absorbed");
        forsake_orphan(&mut core, node);
        core.absorb(len)
    }

    /// Takes a `copy_file_range`; both nodes are locked. The input must be clean on the target, or the caller ships the bytes.
    pub fn on_copy(
        &self,
        names: &Names,
        from: &Arc<Node>,
        to: &Arc<Node>,
        make: impl FnOnce(Place, Place) -> Op,
    ) -> Result<Ticket, NotClean> {
        let settles = self.has_proposals() && self.core.lock().settles_node(Node::id(to));
        // While a pass runs, a right file's content may still be on its way: its bytes are shipped.
        if !matches!(self.core.lock().gate, Gate::Clean) || self.is_filtered() {
            return Err(NotClean);
        }
        let (Reach::At(input), Reach::At(output)) = (self.reach(names, from), self.reach(names, to)) else {
            return Err(NotClean);
        };
        // The target may not have it any more; nothing else depends on an orphan's content there.
        if input.at == At::Orphan {
            return Err(NotClean);
        }
        let nameless = output.at == At::Orphan && self.is_removed(names, to);
        let op = make(input, output);
        let touch = Touch::of(&op, 0);
        let phase = if settles { Phase::Settled } else { Phase::Plain };
        let draft = Draft::new(&op, Bytes::new()).in_phase(phase);
        let mut core = self.core.lock();
        if !matches!(core.gate, Gate::Clean) {
            return Err(NotClean);
        }
        core.count(draft.word());
        crate::member::note_size(to, &op, 0);
        Ok(self.send(&mut core, to, draft, touch, 0, nameless))
    }

    /// Whether a copy can be described as such now; otherwise its bytes are to be shipped.
    pub fn takes_copies(&self) -> bool {
        !self.is_filtered() && matches!(self.core.lock().gate, Gate::Clean)
    }

    /// Queues a record if the node is still clean; it may have become dirty since it was looked at. `nameless`: it is removed, and the target keeps it.
    fn send(
        &self,
        core: &mut Core,
        node: &Arc<Node>,
        draft: Draft,
        touch: Touch,
        len: usize,
        nameless: bool,
    ) -> Ticket {
        if core.gate.sends(node)
            && let Some(seq) = core.push(draft)
        {
            core.tell(|held| held.queued_touch(node, touch, nameless));
            self.wake_for(core);
            return Ticket::of(seq);
        }
        self.changed.notify_all();
        if nameless {
            forsake_orphan(core, node);
            return core.absorb(len);
        }
        core.absorb_touch(node, touch, len)
    }

    /// Queues a record of a pass, or of names during one.
    pub(crate) fn queue(&self, core: &mut Core, draft: Draft, len: usize) -> Ticket {
        if let Some(seq) = core.push(draft) {
            self.wake();
            return Ticket::of(seq);
        }
        self.changed.notify_all();
        core.absorb(len)
    }

    fn reach(&self, names: &Names, node: &Arc<Node>) -> Reach {
        let link = {
            let core = self.core.lock();
            if !core.gate.sends(node) {
                return Reach::Absorbed;
            }
            match &core.gate {
                // Of several names only some may be right on the target yet.
                Gate::Pass(pass) => pass.right_link(node),
                // Of several names only some may be in the set.
                _ if self.is_filtered() => Handle::links(node).into_iter().next(),
                _ => None,
            }
        };
        place_by(names, node, link.as_ref()).map_or(Reach::Nameless, Reach::At)
    }

    fn absorb_touch(&self, node: &Arc<Node>, touch: Touch, len: usize) -> Ticket {
        let mut core = self.core.lock();
        core.count("absorbed");
        core.written_bytes += len as u64;
        core.absorb_touch(node, touch, len)
    }

    /// A node without a valid name is dirty (R8), and nobody can say where on the target it is: everything is compared.
    pub(crate) fn nameless(&self, node: &Node, len: usize) -> Ticket {
        let ino = node.ino();
        self.absorb_unknown(len, |core| {
            core.all_dirty(&format!("inode {ino} was changed through no known name; all will be compared"));
        })
    }

    /// An operation is absorbed, and nobody can say what it changed on the target: `lose` has that looked for, unless all is looked at anyway.
    pub(crate) fn absorb_unknown(&self, len: usize, lose: impl FnOnce(&mut Core)) -> Ticket {
        let mut core = self.core.lock();
        let comes_by_itself = match &core.gate {
            Gate::Due => true,
            // It lost its names before the pass came to those that it has.
            Gate::Pass(pass) => pass.is_over_all(),
            Gate::Clean | Gate::Held(_) => false,
        };
        if !comes_by_itself {
            lose(&mut core);
            self.wake();
            self.changed.notify_all();
        }
        core.absorb(len)
    }

    /// Something changed that cannot be described: everything is compared.
    pub fn lost_track(&self, why: &str) {
        let mut core = self.core.lock();
        if !matches!(core.gate, Gate::Due) {
            core.all_dirty(why);
        }
        drop(core);
        self.wake();
        self.changed.notify_all();
    }

    /// The last open descriptor of an orphan is closed: it goes on the target too.
    pub fn reap(&self, _names: &Names, node: &Arc<Node>) {
        let draft = Draft::new(&Op::Reap { node: Node::id(node) }, Bytes::new());
        let mut core = self.core.lock();
        match &mut core.gate {
            Gate::Pass(pass) => {
                // It may live on under names that only the pass knows.
                if !node.has_name() && pass.shared(Node::ino(node)).is_none_or(<[_]>::is_empty) {
                    pass.set_gone(Node::ino(node));
                }
            }
            Gate::Held(held) => return held.reap(node),
            Gate::Due => return,
            Gate::Clean => {}
        }
        let _no_reply_waits = self.queue(&mut core, draft, 0);
        match &mut core.gate {
            Gate::Held(held) => held.reap(node),
            _ => core.tell(|held| {
                held.queued_reap(node);
                Ok(())
            }),
        }
    }

    /// Answers the application when its commit mode says so. All locks are dropped before.
    pub fn commit(&self, ticket: Ticket, reply: impl FnOnce() + Send + 'static) {
        let mut core = self.core.lock();
        let synced = ticket.seq.filter(|_| ticket.syncs).map(|seq| (Arc::clone(&core.synced), seq));
        let reply = move || {
            // Before the application hears of it: what it does afterwards is not to overtake this on the target.
            if let Some((synced, seq)) = synced {
                synced.fetch_max(seq.get(), Ordering::SeqCst);
            }
            reply();
        };
        // Also what is not sent: it is to survive all the same.
        if core.commit.mode == CommitMode::Local {
            drop(core);
            return self.wait_for_disk(Box::new(reply));
        }
        if let Some(seq) = ticket.seq
            && core.waits()
        {
            let needed = core.needed(seq);
            if core.applied < needed {
                core.replies.wait(needed, machine::now(), Box::new(reply));
                let holds_back = core.commit.mode == CommitMode::Near;
                drop(core);
                if holds_back {
                    // To leave with what comes next: now somebody waits for it.
                    self.wake();
                }
                return self.waits_for_target();
            }
        }
        drop(core);
        reply();
    }

    /// Whether replies wait for the target now, after what they are about was carried out here. (In `remote` it is proposed, and as a whole.)
    pub fn is_waited_for(&self) -> bool {
        let core = self.core.lock();
        core.commit.mode == CommitMode::Sync && core.waits()
    }

    /// Answers at once, whatever the mode: for the kernel's own writing back of mapped pages, which must not wait for a
    /// network that may need the memory they free (R12).
    pub fn commit_local(&self, _ticket: Ticket, reply: impl FnOnce() + Send + 'static) {
        reply();
    }
}

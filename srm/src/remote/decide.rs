//! A proposal on its way: sent, decided, settled by the record that follows it, or put back.

use super::undo::{Done, Undo};
use super::{BEGIN_ANEW, Key, Pending, Slot};
use crate::Srm;
use crate::map::Touch;
use bytes::Bytes;
use platform::killpoint::{self, KillPoint};
use platform::machine;
use platform::tree::{Names, Node};
use protocol::{Answer, Draft, Op, Phase, RelPath, SeqNo, Verdict};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};

/// The largest error number that Linux has.
const MAX_ERRNO: i32 = 133;

/// What an operation changes, for putting it back.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Names that come, go or move.
    Names(Undo),
    /// Data or attributes.
    Node(Arc<Node>, Touch),
}

/// What is sent.
pub(super) struct Proposal {
    pub op: Op,
    pub payload: Bytes,
    pub change: Change,
    pub key: Key,
    pub paths: Vec<RelPath>,
}

/// The target has carried out what was proposed: the operation's own locks are held, and it is to be carried out and described, or put back
/// ([`Srm::put_back`]). One that is neither makes everything be compared.
#[derive(Debug)]
#[must_use = "what the target has done is done on the source too, or put back"]
pub struct Proposed {
    srm: Arc<Srm>,
    pub(super) seq: SeqNo,
    pub(super) change: Option<Change>,
    pub(super) paths: Vec<RelPath>,
    pub(super) slot: Option<Slot>,
}

/// A proposal that nothing is changed by: an application waits for it without any lock.
#[derive(Debug)]
#[must_use = "the target's verdict is waited for"]
pub struct Asked {
    proposed: Proposed,
    verdict: Receiver<Answer>,
}

impl Asked {
    /// The verdict.
    pub fn wait(self) -> Result<(), Errno> {
        match self.proposed.srm.verdict(&self.verdict) {
            Some(Verdict { errno: 0, .. }) => Ok(()),
            Some(verdict) => Err(errno(verdict)),
            None => Err(Errno::IO),
        }
    }
}

/// What an application is told; the target's word is not taken for more than that. Never that there is no such operation: the kernel would believe it of
/// the mount for good, and answer every later fsync itself, with success.
fn errno(verdict: Verdict) -> Errno {
    match i32::try_from(verdict.errno) {
        Ok(number) if (1..=MAX_ERRNO).contains(&number) && number != Errno::NOSYS.raw_os_error() => {
            Errno::from_raw_os_error(number)
        }
        _ => Errno::IO,
    }
}

impl Srm {
    /// Numbers a proposal.
    pub(super) fn send_proposal(self: &Arc<Self>, proposal: Proposal) -> Result<Asked, Errno> {
        let Proposal { op, payload, change, key, paths } = proposal;
        let draft = Draft::new(&op, payload).in_phase(Phase::Proposed);
        let slots = if key == Key::Nothing { None } else { self.core.lock().remote.slots.clone() };
        // Before it can be sent.
        let slot = slots.map(|slots| slots.note(&paths)).transpose().map_err(|error| {
            tracing::warn!(event = "proposed", %error, "what is proposed could not be written down");
            Errno::IO
        })?;
        let (sender, verdict) = sync_channel(1);
        let mut core = self.core.lock();
        if !core.can_propose() {
            return Err(BEGIN_ANEW);
        }
        let generation = core.generation;
        let Some(seq) = core.push(draft) else { return Err(BEGIN_ANEW) };
        core.questions.insert(seq, sender);
        let earlier = core.remote.pending.insert(seq, Pending { key, generation, agreed: false });
        assert!(earlier.is_none(), "numbers are given out once");
        drop(core);
        self.proposals.fetch_add(1, Ordering::Relaxed);
        killpoint::pass(KillPoint::Proposed);
        self.wake();
        self.waits_for_target();
        let proposed = Proposed { srm: Arc::clone(self), seq, change: Some(change), paths, slot };
        Ok(Asked { proposed, verdict })
    }

    /// Proposes and waits until it is decided. The operation's locks are held. An error: the operation is to fail with it; nothing
    /// was changed on the source, and what the target may have changed is put back.
    pub(super) fn propose(self: &Arc<Self>, names: &Names, proposal: Proposal) -> Result<Proposed, Errno> {
        let Asked { proposed, verdict } = self.send_proposal(proposal)?;
        let verdict = self.verdict(&verdict);
        let mut core = self.core.lock();
        let Some(pending) = core.remote.pending.get_mut(&proposed.seq) else { return Err(Errno::IO) };
        match verdict {
            Some(Verdict { errno: 0, .. }) => {
                pending.agreed = true;
                drop(core);
                killpoint::pass(KillPoint::Decided);
                Ok(proposed)
            }
            Some(verdict) if verdict.unchanged => {
                core.remote.pending.remove(&proposed.seq);
                Err(errno(verdict))
            }
            Some(verdict) => {
                drop(core);
                self.undo(names, proposed, Done::InPart);
                Err(errno(verdict))
            }
            None => {
                drop(core);
                self.undo(names, proposed, Done::Unknown);
                Err(Errno::IO)
            }
        }
    }

    /// What the target says; `None`: nothing in time. Then all that waits is given up.
    fn verdict(&self, verdict: &Receiver<Answer>) -> Option<Verdict> {
        match machine::receive(verdict, Some(self.config.remote_timeout), true) {
            Some(Answer::Verdict(verdict)) => Some(verdict),
            Some(Answer::Page(_) | Answer::Differs(_)) => None,
            None => {
                self.core.lock().give_up_proposals();
                None
            }
        }
    }

    /// The source could not carry out what the target did, or only some of it: the target gets what the source has. The operation's locks are still held.
    pub fn put_back(self: &Arc<Self>, names: &Names, proposed: Option<Proposed>) {
        if let Some(proposed) = proposed {
            tracing::info!(event = "put-back", paths = ?proposed.paths, "the source could not do what the target did");
            self.undo(names, proposed, Done::Whole);
        }
    }
}

impl Drop for Proposed {
    fn drop(&mut self) {
        self.srm.proposals.fetch_sub(1, Ordering::Relaxed);
        let agreed = self.srm.core.lock().remote.pending.remove(&self.seq).is_some_and(|pending| pending.agreed);
        if agreed {
            self.srm.lost_track("what the target did first could not be followed; all will be compared");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_error_is_one_that_the_kernel_may_be_told() {
        let told = |errno_told| errno(Verdict { errno: errno_told, unchanged: false }).raw_os_error();
        assert_eq!([1, 28, 122, 133].map(told), [1, 28, 122, 133]);
        for absurd in [0, 38, 134, 511, 512, 524, 1 << 31, u32::MAX] {
            assert_eq!(told(absurd), Errno::IO.raw_os_error(), "{absurd}");
        }
    }
}

//! What is queued while the target is away, remembered at the same time as if it were held: so that a queue that grows too long can be
//! given up for what changed, whole, and none of it is ever sent (S3, R1).
//!
//! A shadow begins at a number: everything up to that is sent in any case, before anything else, and nothing behind it was sent before the
//! shadow is either taken or thrown away. So the target stands still at that number while it is told, as it does while things are held; taking the shadow is
//! having held since then. It is told once of every number. Where that was forgotten, or something cannot be remembered, it counts for nothing.

use super::held::{Held, Lost};
use super::{Handle, Touch};
use protocol::SeqNo;
use std::collections::HashMap;

/// Nodes that the target keeps without a name by what is queued, by id. `true`: it has a name there where the shadow begins.
pub(super) type Kept<H> = HashMap<u64, (H, bool)>;

/// See the module.
#[derive(Debug)]
pub struct Shadow<H> {
    held: Option<Box<Held<H>>>,
    /// The last number it was told of.
    told: SeqNo,
}

/// A shadow that was taken.
#[derive(Debug)]
pub struct Taken<H> {
    /// What changed.
    pub held: Box<Held<H>>,
    /// Nodes that the target keeps no more without a name: what was to make it do so is not sent.
    pub forsaken: Vec<H>,
}

impl<H: Handle> Shadow<H> {
    /// Begins behind the number `at`; at most `limit` entries are remembered.
    pub fn new(limit: usize, at: SeqNo) -> Self {
        let mut held = Box::new(Held::new(limit));
        held.kept = Some(HashMap::new());
        Self { held: Some(held), told: at }
    }

    /// What the record with this number changed, as [`Held`] is told of it.
    pub fn tell(&mut self, seq: SeqNo, change: impl FnOnce(&mut Held<H>) -> Result<(), Lost>) {
        let in_order = seq == self.told.next();
        self.told = seq;
        let remembered = in_order && self.held.as_mut().is_some_and(|held| change(held).is_ok());
        if !remembered {
            self.held = None;
        }
    }

    /// What changed since it began, if it was told of everything up to `newest`, the last number that was given out.
    pub fn take(self, newest: SeqNo) -> Option<Taken<H>> {
        let mut held = self.held.filter(|_| self.told == newest)?;
        let mut forsaken = Vec::new();
        for (node, had_a_name) in held.kept.take()?.into_values() {
            if !had_a_name {
                // What the target has of it is out of date.
                held.reap(&node);
            }
            forsaken.push(node);
        }
        Some(Taken { held, forsaken })
    }
}

impl<H: Handle> Held<H> {
    /// By what is queued the target keeps this node, whose last known name is going, without one. `false`: nothing is queued any more, it does not.
    pub fn keeps(&mut self, node: &H) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        kept.insert(node.id(), (node.clone(), true));
        true
    }

    /// What a queued record changed of a node. `nameless`: it has no name, known or not, and the target keeps it without one.
    pub fn queued_touch(&mut self, node: &H, touch: Touch, nameless: bool) -> Result<(), Lost> {
        match &mut self.kept {
            Some(kept) if nameless => {
                kept.entry(node.id()).or_insert_with(|| (node.clone(), false));
                Ok(())
            }
            _ => self.touched(node, touch),
        }
    }

    /// By what is queued the target need not keep this node any more.
    pub fn queued_reap(&mut self, node: &H) {
        let had_a_name = self.kept.as_mut().and_then(|kept| kept.remove(&node.id())).is_some_and(|(_, had)| had);
        if !had_a_name {
            self.reap(node);
        }
    }
}

//! Giving up what was appended last: the journal goes on behind an earlier record, with the numbers that came after it. For records that nobody has
//! seen yet, or their numbers would mean two things.
//!
//! The file of one of the segments that are given up becomes the next segment behind that record: its header, one write of one page, is the whole change. No room
//! is needed for it, and a full journal can be cut.

use crate::append::{AppendError, Head, Journal};
use crate::header::DATA_AT;
use crate::segment::Segment;
use crate::shared::Shared;
use protocol::{Incarnation, SeqNo};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A place behind the newest record of a moment. It counts for the [`Journal`] that gave it, as long as that does not begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    incarnation: Option<Incarnation>,
    /// The segment with the record, and where in it the next one would be; `None`: in another segment.
    serial: u64,
    at: Option<u64>,
    next: SeqNo,
}

impl Place {
    /// The number after the last one before this place.
    pub fn next(&self) -> SeqNo {
        self.next
    }
}

impl Journal {
    /// Where the next record goes.
    pub fn place(&self) -> Place {
        let state = self.shared.state.lock();
        let (serial, at) = match &self.head {
            Some(head) => (head.segment.identity.serial, Some(head.at)),
            None => (state.last_serial, None),
        };
        Place { incarnation: state.incarnation, serial, at, next: self.shared.next() }
    }

    /// Gives up everything behind `place`, which must not be trimmed; the next record has that place's number. It is done when this returns, also after a power
    /// cut, and is done or not done when this is interrupted. `false`: less than a segment lies behind, or none on the disk that the place is on; nothing happened. After an error nothing can be
    /// appended until the journal begins anew. Readers that are behind the place are to be made anew.
    pub fn cut(&mut self, place: &Place) -> Result<bool, AppendError> {
        let shared = Arc::clone(&self.shared);
        let _order = shared.headers.lock();
        let (dropped, lasting): (Vec<Arc<Segment>>, bool) = {
            let state = shared.state.lock();
            if state.incarnation != place.incarnation {
                return Ok(false);
            }
            let behind = |segment: &&Arc<Segment>| segment.identity.serial > place.serial;
            let last = state.live.iter().rev().find(|segment| !behind(segment));
            (state.live.iter().filter(behind).map(Arc::clone).collect(), last.is_some_and(|last| !last.volatile))
        };
        // On a disk where any of what is given up is on one, so that nothing of it comes back after a power cut.
        if lasting && dropped.iter().all(|segment| segment.volatile) {
            return Ok(false);
        }
        let Some(victim) = dropped.iter().rev().find(|segment| !segment.volatile).or(dropped.last()) else {
            return Ok(false);
        };
        let written =
            victim.file().and_then(|file| Ok((shared.claim_over(victim, place.serial, place.next, &*file)?, file)));
        let (segment, file) = written.map_err(|cause| {
            // Either header may count.
            shared.set_poisoned(true);
            AppendError::Io { path: victim.path.clone(), cause }
        })?;
        shared.drop_behind(&segment, place);
        self.head = Some(Head { segment, file, at: DATA_AT });
        Ok(true)
    }
}

impl Shared {
    /// A new header stands in the file of `segment`: what lies between it and the place is free.
    fn drop_behind(&self, segment: &Arc<Segment>, place: &Place) {
        let mut state = self.state.lock();
        while state.live.back().is_some_and(|last| last.identity.serial > place.serial)
            && let Some(last) = state.live.pop_back()
        {
            last.retire();
            if last.slot != segment.slot {
                state.set_use(last.slot, crate::area::Use::Free);
            }
        }
        if let Some(last) = state.live.back() {
            if let Some(at) = place.at {
                last.publish(at, place.next);
            }
            last.seal();
        }
        state.live.push_back(Arc::clone(segment));
        state.last_serial = segment.identity.serial;
        state.cuts += 1;
        let full = state.live.iter().filter(|live| live.is_sealed());
        self.bytes.store(full.map(|live| live.capacity()).sum(), Ordering::Relaxed);
        self.set_next(place.next);
        self.set_oldest(state.live.front().map_or(place.next, |front| front.identity.first));
        self.reset_durable(self.durable().min(place.next.prev()));
    }
}

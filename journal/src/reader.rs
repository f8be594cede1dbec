//! Reading records in order, beside what is appended and trimmed meanwhile.

pub use crate::cursor::Entry;
use crate::cursor::{Cursor, Stop};
use crate::damage::{Damage, DamageKind};
use crate::segment::Segment;
use crate::shared::Shared;
use protocol::{Incarnation, SeqNo};
use std::sync::Arc;

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is trimmed, or the journal has begun anew.
    #[error("record {seq} is not in the journal any more; the oldest is {oldest}")]
    Trimmed {
        /// The record that was to be read.
        seq: SeqNo,
        /// The oldest that can be read.
        oldest: SeqNo,
    },
    /// What is in the file is not what was appended.
    #[error("{0}")]
    Damaged(Damage),
}

/// Reads one record after the other.
pub struct Reader {
    shared: Arc<Shared>,
    incarnation: Option<Incarnation>,
    next: SeqNo,
    place: Option<(Arc<Segment>, Cursor)>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, next: SeqNo) -> Self {
        let incarnation = shared.state.lock().incarnation;
        Self { shared, incarnation, next, place: None }
    }

    /// The number of the record that is read next.
    pub fn next_seq(&self) -> SeqNo {
        self.next
    }

    /// The next record; `None` where it is not appended yet. After an error the same is tried again.
    pub fn read(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            if self.place.as_ref().is_none_or(|(segment, _)| segment.is_retired()) {
                self.place = self.find()?;
            }
            let Some((segment, cursor)) = &mut self.place else { return Ok(None) };
            // First whether it is sealed: what is appended in between is then seen in the end.
            let sealed = segment.is_sealed();
            let end = segment.end();
            let read = if cursor.at() < end { cursor.read(end).map(Some) } else { Ok(None) };
            if segment.is_retired() {
                // What was read may be of another segment already.
                continue;
            }
            match read {
                Ok(Some(entry)) if entry.seq < self.next => {}
                Ok(Some(entry)) => {
                    self.next = self.next.next();
                    return Ok(Some(entry));
                }
                Ok(None) if !sealed => return Ok(None),
                Ok(None) => {
                    let serial = segment.identity.serial;
                    self.place = self.find()?;
                    if self.place.as_ref().is_none_or(|(segment, _)| segment.identity.serial == serial) {
                        return Ok(None);
                    }
                }
                Err(stop) => {
                    let damage = damage(segment, cursor, &stop);
                    self.place = None;
                    return Err(ReadError::Damaged(damage));
                }
            }
        }
    }

    /// The beginning of the segment that holds the next record, or will hold it.
    fn find(&self) -> Result<Option<(Arc<Segment>, Cursor)>, ReadError> {
        let found = {
            let state = self.shared.state.lock();
            let oldest = state.live.front().map_or(self.shared.next(), |front| front.identity.first);
            if self.next < oldest || self.incarnation != state.incarnation {
                return Err(ReadError::Trimmed { seq: self.next, oldest });
            }
            state.find(self.next)
        };
        let Some(segment) = found else { return Ok(None) };
        let file = match segment.file() {
            Ok(file) => file,
            Err(e) => {
                let kind = DamageKind::Unreadable(e.to_string());
                return Err(ReadError::Damaged(Damage { path: segment.path.clone(), offset: 0, kind }));
            }
        };
        segment.close_if_done();
        let cursor = Cursor::new(file, segment.identity.salt, segment.identity.first);
        Ok(Some((segment, cursor)))
    }
}

/// Below the segment's end every record was whole when it was appended.
fn damage(segment: &Segment, cursor: &Cursor, stop: &Stop) -> Damage {
    let seq = cursor.next();
    let corrupt = |reason: String| DamageKind::Corrupt { seq, reason };
    let kind = match stop {
        Stop::Io(e) => DamageKind::Unreadable(e.to_string()),
        Stop::End => corrupt("the file ends before it".to_owned()),
        Stop::None => corrupt("there is no record".to_owned()),
        Stop::Other(other) => corrupt(format!("record {other} is in its place")),
        Stop::Torn(reason) => corrupt(reason.clone()),
    };
    Damage { path: segment.path.clone(), offset: cursor.at(), kind }
}

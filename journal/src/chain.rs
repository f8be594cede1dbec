//! Which segments are the chain, and how far its records can be believed.

use crate::cursor::{Cursor, Stop};
use crate::damage::{Damage, DamageKind};
use crate::disk::Disk;
use crate::header::{Header, Mark};
use crate::segment::{Segment, SlotId};
use crate::shared::State;
use protocol::SeqNo;
use std::sync::Arc;

/// A segment that may be part of the chain.
pub struct Candidate {
    header: Header,
    segment: Segment,
    length: u64,
}

/// All segments of the mark's incarnation that are not trimmed, by serial number.
pub fn candidates(disk: &Arc<dyn Disk>, state: &State, mark: &Mark) -> Vec<Candidate> {
    let mut found = Vec::new();
    for area in &state.areas {
        for slot in &area.slots {
            let Some(header) = slot.header else { continue };
            if header.segment.incarnation != mark.incarnation || header.segment.serial < mark.oldest {
                continue;
            }
            let id = SlotId { area: area.id, index: slot.index };
            let path = area.path(slot.index);
            let segment = Segment::new(header.segment, id, path, area.volatile(), Arc::clone(disk));
            found.push(Candidate { header, segment, length: slot.bytes });
        }
    }
    found.sort_by_key(|candidate| (candidate.header.segment.serial, candidate.header.mark.generation));
    found
}

/// One segment of the chain, and whether the one after it is missing.
pub struct Link {
    candidate: Candidate,
    broken_after: bool,
}

/// The chain, oldest first: backwards from the newest, each segment names the one before it. Where one is missing the chain goes on with the newest before it.
pub fn chain(mut candidates: Vec<Candidate>, mark: &Mark, damage: &mut Vec<Damage>) -> Vec<Link> {
    let mut chain = Vec::new();
    let mut broken_after = false;
    let mut wanted = u64::MAX;
    while let Some(candidate) = candidates.pop() {
        let segment = candidate.header.segment;
        if segment.serial > wanted {
            continue;
        }
        if wanted != u64::MAX && segment.serial < wanted {
            damage.push(missing(&candidate, wanted));
            broken_after = true;
        }
        if candidates.last().is_some_and(|twin| twin.header.segment.serial == segment.serial) {
            let kind = DamageKind::Twice { serial: segment.serial };
            damage.push(Damage { path: candidate.segment.path.clone(), offset: 0, kind });
        }
        wanted = segment.before;
        chain.push(Link { candidate, broken_after });
        broken_after = false;
        if wanted < mark.oldest {
            break;
        }
    }
    let front = chain.last().map(|link| &link.candidate);
    if let Some(front) = front.filter(|_| wanted != 0 && wanted >= mark.oldest) {
        damage.push(missing(front, wanted));
    }
    chain.reverse();
    chain
}

fn missing(beside: &Candidate, serial: u64) -> Damage {
    let path = beside.segment.path.parent().map(std::path::Path::to_owned).unwrap_or_default();
    Damage { path, offset: 0, kind: DamageKind::Missing { serial } }
}

/// What can be believed.
pub struct Run {
    pub segments: Vec<Arc<Segment>>,
    /// The segment that appending can go on in.
    pub head: Option<Arc<Segment>>,
    pub last_stamp: Option<u64>,
}

/// Reads the chain from its oldest record to the first place where that does not go on.
pub fn read_chain(chain: Vec<Link>, damage: &mut Vec<Damage>) -> Run {
    let mut run = Run { segments: Vec::new(), head: None, last_stamp: None };
    let mut links = chain.into_iter().peekable();
    while let Some(Link { candidate, broken_after }) = links.next() {
        let Candidate { segment, length, .. } = candidate;
        let until = links.peek().filter(|_| !broken_after).map(|link| link.candidate.header.segment.first);
        if run.segments.last().is_some_and(|before: &Arc<Segment>| before.next() != segment.identity.first) {
            // Cannot be: the one before was read up to here, or reading has stopped.
            break;
        }
        segment.set_unsynced();
        let whole = read_segment(&segment, length, until, &mut run.last_stamp, damage);
        let segment = Arc::new(segment);
        run.segments.push(Arc::clone(&segment));
        if whole && links.peek().is_none() {
            run.head = Some(segment);
            break;
        }
        segment.seal();
        // A sync opens it again.
        segment.close();
        if !whole || broken_after {
            break;
        }
    }
    run
}

/// Reads one segment up to the number that the next begins with, or to its end. `true`: all is there, as far as can be known.
fn read_segment(
    segment: &Segment,
    length: u64,
    until: Option<SeqNo>,
    last_stamp: &mut Option<u64>,
    damage: &mut Vec<Damage>,
) -> bool {
    let mut report = |offset, kind| damage.push(Damage { path: segment.path.clone(), offset, kind });
    let identity = &segment.identity;
    let file = match segment.file() {
        Ok(file) => file,
        Err(e) => {
            report(0, DamageKind::Unreadable(e.to_string()));
            return false;
        }
    };
    let mut cursor = Cursor::new(file, identity.salt, identity.first);
    let stop = loop {
        if until.is_some_and(|until| cursor.next() >= until) {
            return true;
        }
        match cursor.read(identity.bytes.min(length)) {
            Ok(entry) => {
                *last_stamp = Some(entry.stamp);
                segment.publish(cursor.at(), cursor.next());
            }
            Err(stop) => break stop,
        }
    };
    let behind = cursor.find_behind(identity.bytes.min(length), cursor.next().next());
    match judge(&cursor, &stop, behind, until) {
        Some(kind) => report(cursor.at(), kind),
        None if length >= identity.bytes => return true,
        None => {}
    }
    if length < identity.bytes {
        report(length, DamageKind::Truncated { length, should: identity.bytes });
    }
    false
}

/// Whether records are missing here, and why. `None`: this is simply the end.
fn judge(cursor: &Cursor, stop: &Stop, behind: Option<SeqNo>, until: Option<SeqNo>) -> Option<DamageKind> {
    let seq = cursor.next();
    let corrupt = |reason: String| Some(DamageKind::Corrupt { seq, reason });
    match (stop, behind, until) {
        (Stop::Io(e), ..) => Some(DamageKind::Unreadable(e.to_string())),
        (Stop::Torn(_), None, None) => Some(DamageKind::Torn { seq }),
        (Stop::Torn(reason), ..) => corrupt(reason.clone()),
        (Stop::Other(other), ..) => corrupt(format!("record {other} is in its place")),
        (_, Some(behind), _) => corrupt(format!("record {behind} lies behind it")),
        (_, None, Some(until)) => corrupt(format!("the next segment begins with {until}")),
        (Stop::End | Stop::None, None, None) => None,
    }
}

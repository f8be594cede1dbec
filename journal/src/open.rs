//! Opening: which files are there, and what their headers say.

use crate::area::{Area, AreaConfig, AreaError, MOST_SEGMENT_BYTES, Slot, Use, parse_name};
use crate::chain::{Run, candidates, chain, read_chain};
use crate::damage::{Damage, DamageKind};
use crate::disk::{Disk, DiskFile};
use crate::header::{DATA_AT, Header, Mark, PAGE_BYTES, Parsed};
use crate::segment::Segment;
use crate::shared::{Shared, State};
use protocol::{Incarnation, SeqNo};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What a journal is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The machine's boot id, as 16 bytes: what is in memory counts under the same one only.
    pub boot: [u8; 16],
    /// The areas in the order in which they are used, each with a directory of its own. Those that were added since the journal began have to be
    /// among them, or what lies there is missing.
    pub areas: Vec<AreaConfig>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Of the records that were found. `None`: nothing ever began here, or nothing of it is left.
    pub incarnation: Option<Incarnation>,
    /// The oldest record that is there; `next` where there is none.
    pub oldest: SeqNo,
    /// The number after the last record that is there.
    pub next: SeqNo,
    /// The time stamp of the last record.
    pub last_stamp: Option<u64>,
    /// The journal was last written under the same boot of this machine. Otherwise records behind `next` that were not durable may be lost, and their
    /// numbers must not be given out again (R2).
    pub same_boot: bool,
    /// What is not as it was written, in the order in which it was found.
    pub damage: Vec<Damage>,
}

pub struct Opened {
    pub shared: Arc<Shared>,
    /// The segment that appending goes on in.
    pub head: Option<Arc<Segment>>,
    pub recovered: Recovered,
}

pub fn open(disk: Arc<dyn Disk>, config: Config) -> Result<Opened, AreaError> {
    let mut damage = Vec::new();
    let mut areas = Vec::new();
    for area in config.areas {
        let dir = area.dir.clone();
        if areas.iter().any(|known: &Area| known.dir() == dir) {
            return Err(AreaError::InUse(dir));
        }
        let mut area = Area::new(u32::try_from(areas.len()).unwrap_or(u32::MAX), area)?;
        if let Err(e) = list(&*disk, &mut area, &config.boot, &mut damage) {
            area.trouble = Some(e.to_string());
            damage.push(Damage { path: dir, offset: 0, kind: DamageKind::Unreadable(e.to_string()) });
        }
        areas.push(area);
    }
    let headers = || areas.iter().flat_map(|area| &area.slots).filter_map(|slot| slot.header);
    let mark = headers().map(|header| header.mark).max_by_key(|mark| mark.generation);
    let serial = headers().map(|header| header.segment.serial.max(header.mark.oldest)).max().unwrap_or(0);
    let mut state = State {
        next_area: u32::try_from(areas.len()).unwrap_or(u32::MAX),
        areas,
        live: VecDeque::new(),
        next_serial: serial + 1,
        last_serial: 0,
        generation: mark.map_or(0, |mark| mark.generation),
        incarnation: mark.map(|mark| mark.incarnation),
        durable_oldest: 0,
        cuts: 0,
        // Which of the older segments were in memory is not known any more: the first sync says what is trimmed.
        vanished: serial,
    };
    let Some(mark) = mark else {
        let first = SeqNo::ZERO.next();
        let shared = Shared::new(disk, config.boot, state);
        let recovered =
            Recovered { incarnation: None, oldest: first, next: first, last_stamp: None, same_boot: false, damage };
        return Ok(Opened { shared: Arc::new(shared), head: None, recovered });
    };
    let mark_lasts = sync_mark(&*disk, &state, &mark, &mut damage);
    let chain = chain(candidates(&disk, &state, &mark), &mark, &mut damage);
    let run = read_chain(chain, &mut damage);
    for segment in &run.segments {
        state.set_use(segment.slot, Use::Live);
        state.last_serial = segment.identity.serial;
    }
    let first = run.segments.first().map(|segment| segment.identity.first);
    let next = run.segments.last().map_or(mark.base, |segment| segment.next());
    let recovered = Recovered {
        incarnation: Some(mark.incarnation),
        oldest: first.unwrap_or(next),
        next,
        last_stamp: run.last_stamp,
        same_boot: mark.boot == config.boot,
        damage,
    };
    let shared = shared(disk, config.boot, state, &run, &recovered);
    shared.set_poisoned(!mark_lasts);
    Ok(Opened { shared, head: run.head, recovered })
}

fn shared(disk: Arc<dyn Disk>, boot: [u8; 16], mut state: State, run: &Run, recovered: &Recovered) -> Arc<Shared> {
    let used = |segment: &Arc<Segment>| if segment.is_sealed() { segment.capacity() } else { segment.end() - DATA_AT };
    let bytes = run.segments.iter().map(used).sum();
    state.live = run.segments.iter().map(Arc::clone).collect();
    let shared = Shared::new(disk, boot, state);
    shared.bytes.store(bytes, std::sync::atomic::Ordering::Relaxed);
    shared.set_next(recovered.next);
    shared.set_oldest(recovered.oldest);
    shared.reset_durable(recovered.oldest.prev());
    Arc::new(shared)
}

/// The mark may be in the page cache only, when the process that wrote it died then. Nothing can be built on it before it is durable. `false`: it is not.
fn sync_mark(disk: &dyn Disk, state: &State, mark: &Mark, damage: &mut Vec<Damage>) -> bool {
    let slots = state.areas.iter().flat_map(|area| area.slots.iter().map(move |slot| (area, slot)));
    let holds = |slot: &Slot| slot.header.is_some_and(|header| header.mark == *mark);
    for (area, slot) in slots.filter(|(area, slot)| !area.volatile() && holds(slot)) {
        let path = area.path(slot.index);
        if let Err(e) = disk.open(&path).and_then(|file| file.sync()) {
            damage.push(Damage { path, offset: 0, kind: DamageKind::Unreadable(e.to_string()) });
            return false;
        }
    }
    true
}

/// The files of an area and their headers.
fn list(disk: &dyn Disk, area: &mut Area, boot: &[u8; 16], damage: &mut Vec<Damage>) -> io::Result<()> {
    disk.make_dir(area.dir())?;
    if !area.volatile() {
        // Files that a process made just before it died: their names have to be durable before they are used.
        disk.sync_dir(area.dir())?;
    }
    let mut indexes: Vec<u32> = disk.list(area.dir())?.iter().filter_map(|name| parse_name(name)).collect();
    indexes.sort_unstable();
    for index in indexes {
        let path = area.path(index);
        let (header, page, bytes, state) = match disk.open(&path).and_then(|file| headers(&*file)) {
            Ok((Ok(found), bytes)) => {
                let current = found.filter(|(header, _)| !area.volatile() || header.mark.boot == *boot);
                (current.map(|(header, _)| header), found.map_or(1, |(_, page)| page), bytes, Use::Free)
            }
            Ok((Err(kind), bytes)) => {
                damage.push(Damage { path, offset: 0, kind });
                (None, 1, bytes, Use::Broken)
            }
            Err(e) => {
                damage.push(Damage { path, offset: 0, kind: DamageKind::Unreadable(e.to_string()) });
                (None, 1, 0, Use::Broken)
            }
        };
        area.slots.push(Slot { index, bytes, state, header, page, ours: false });
    }
    Ok(())
}

/// What a segment can be in size, in bytes.
const SIZES: std::ops::RangeInclusive<u64> = DATA_AT + 1..=MOST_SEGMENT_BYTES;

type Found = Result<Option<(Header, usize)>, DamageKind>;

/// The newer header of a file and which copy that is, and the file's length in bytes. A copy that cannot be read does not matter where the other can: it was
/// being written.
fn headers(file: &dyn DiskFile) -> io::Result<(Found, u64)> {
    let length = file.length()?;
    let mut best: Option<(Header, usize)> = None;
    let mut trouble = None;
    for page in 0..2 {
        let mut bytes = [0; PAGE_BYTES];
        file.read((page * PAGE_BYTES) as u64, &mut bytes)?;
        match Header::parse(&bytes) {
            Parsed::Header(header) if !SIZES.contains(&header.segment.bytes) => trouble = Some(DamageKind::Header),
            Parsed::Header(header) => {
                if best.is_none_or(|(known, _)| known.mark.generation < header.mark.generation) {
                    best = Some((header, page));
                }
            }
            Parsed::Blank => {}
            Parsed::Version(version) => trouble = Some(DamageKind::Version(version)),
            Parsed::Bad => trouble = trouble.or(Some(DamageKind::Header)),
        }
    }
    Ok((
        match (best, trouble) {
            (None, Some(kind)) => Err(kind),
            (best, _) => Ok(best),
        },
        length,
    ))
}

//! The replica as it is asked about. What the target answers is checked here, once: it is not trusted with anything beyond
//! its own words.

use super::fault::Fault;
use bytes::Bytes;
use platform::sys::content::HASH_BYTES;
use platform::sys::xattr::Pair;
use protocol::{Ask, CHUNK_BYTES, Entry, FailedKind, Hole, Name, Page, RelPath, Seen, Told};
use scm::fetch::{Fetcher, Pending};
use srm::said::words;

/// Reserved space may end within a block.
const SLACK_BYTES: u64 = 1 << 20;

/// The replica.
#[derive(Debug)]
pub(super) struct Remote(Fetcher);

/// A part of a file, asked for.
#[derive(Debug)]
pub(super) struct Part {
    pub offset: u64,
    pub len: u64,
    pending: Pending,
}

/// What was learned of a part.
#[derive(Debug)]
pub(super) struct Answered<T> {
    /// Bytes of it that the file has.
    pub len: u64,
    /// Bytes right after it that are hole.
    pub hole_after: u64,
    pub what: T,
}

/// Content: the holes in it, ascending, and the bytes that are not in them.
#[derive(Debug)]
pub(super) struct Data {
    pub holes: Vec<Hole>,
    pub bytes: Bytes,
}

impl Remote {
    pub fn new(fetcher: Fetcher) -> Self {
        Self(fetcher)
    }

    /// Ends the conversation.
    pub fn into_fetcher(self) -> Fetcher {
        self.0
    }

    /// What a path is; `None` where nothing is there.
    pub fn stat(&self, path: &RelPath) -> Result<Option<Entry>, Fault> {
        match self.0.send(Ask::Stat { path: path.clone() }).wait()?.0 {
            Told::Entry(entry) => Ok(Some(*entry)),
            Told::Failed { kind: FailedKind::Missing, .. } => Ok(None),
            other => Err(unanswered(other)),
        }
    }

    /// A page of a directory; `None` where there is none any more.
    pub fn list(&self, path: &RelPath, after: Option<&Name>) -> Result<Option<Page>, Fault> {
        let page = match self.0.send(Ask::List { path: path.clone(), after: after.cloned() }).wait()?.0 {
            Told::Page(page) => page,
            other => return Err(unanswered(other)),
        };
        let mut before = after;
        for entry in &page.entries {
            if before.is_some_and(|before| *before >= entry.name) {
                return Err(Fault::nonsense("names out of order"));
            }
            before = Some(&entry.name);
        }
        if page.entries.is_empty() && !page.complete {
            return Err(Fault::nonsense("a page without names"));
        }
        Ok(page.exists.then_some(page))
    }

    /// Space of a file that is reserved and was never written: ascending, and not more than the blocks that the file was said to have.
    pub fn reserved(&self, path: &RelPath, entry: &Entry) -> Result<Vec<Hole>, Fault> {
        let stretches = match self.0.send(Ask::Reserved { path: path.clone() }).wait()?.0 {
            Told::Reserved(stretches) => stretches,
            other => return Err(unanswered(other)),
        };
        let (mut at, mut left) = (0_u64, entry.blocks.saturating_mul(512).saturating_add(SLACK_BYTES));
        for Hole { offset, len } in &stretches {
            let end = offset.checked_add(*len).filter(|end| *offset >= at && *len > 0 && i64::try_from(*end).is_ok());
            at = end.ok_or_else(|| Fault::nonsense("reserved space out of order"))?;
            left = left.checked_sub(*len).ok_or_else(|| Fault::nonsense("more reserved space than the file has"))?;
        }
        Ok(stretches)
    }

    /// Asks for extended attributes.
    pub fn ask_xattrs(&self, path: &RelPath) -> Pending {
        self.0.send(Ask::Xattrs { path: path.clone() })
    }

    /// Asks for hashes of a part.
    pub fn ask_hashes(&self, path: &RelPath, offset: u64, len: u64, block_bytes: u32) -> Part {
        let pending = self.0.send(Ask::Hashes { path: path.clone(), offset, len, block_bytes });
        Part { offset, len, pending }
    }

    /// Asks for the content of a part.
    pub fn ask_data(&self, path: &RelPath, offset: u64, len: u64) -> Part {
        debug_assert!(len <= CHUNK_BYTES, "more is never answered");
        Part { offset, len, pending: self.0.send(Ask::Read { path: path.clone(), offset, len }) }
    }
}

/// Names and values.
pub(super) fn xattrs(pending: Pending) -> Result<Vec<Pair>, Fault> {
    match pending.wait()?.0 {
        Told::Xattrs(pairs) => Ok(pairs.into_iter().map(|(n, v)| (n.into_vec(), v.into_vec())).collect()),
        other => Err(unanswered(other)),
    }
}

/// Hashes of the blocks of a part of the file that `entry` was.
pub(super) fn hashes(part: Part, entry: &Entry, block: u32) -> Result<Answered<Vec<[u8; HASH_BYTES]>>, Fault> {
    let Part { offset, len, pending } = part;
    let (seen, hashes, hole_after) = match pending.wait()?.0 {
        Told::Hashes { seen, hashes, hole_after } => (seen, hashes, hole_after),
        other => return Err(unanswered(other)),
    };
    unmoved(entry, seen)?;
    let len = len.min(entry.size.saturating_sub(offset));
    if hashes.len() as u64 != len.div_ceil(block.into()) * HASH_BYTES as u64 {
        return Err(Fault::nonsense("too many or too few hashes"));
    }
    let (what, _) = hashes.as_chunks::<HASH_BYTES>();
    Ok(Answered { len, hole_after: within(entry, offset + len, hole_after), what: what.to_vec() })
}

/// Content of a part of the file that `entry` was.
pub(super) fn data(part: Part, entry: &Entry) -> Result<Answered<Data>, Fault> {
    let Part { offset, len, pending } = part;
    let (told, bytes) = pending.wait()?;
    let (seen, told_len, holes, hole_after) = match told {
        Told::Data { seen, len, holes, hole_after } => (seen, len, holes, hole_after),
        other => return Err(unanswered(other)),
    };
    unmoved(entry, seen)?;
    let len = len.min(entry.size.saturating_sub(offset));
    let (mut at, mut hollow) = (offset, 0_u64);
    for hole in &holes {
        let end = hole.offset.checked_add(hole.len).filter(|end| hole.offset >= at && *end <= offset + len);
        at = end.ok_or_else(|| Fault::nonsense("holes out of order"))?;
        hollow += hole.len;
    }
    if told_len != len || bytes.len() as u64 + hollow != len {
        return Err(Fault::nonsense("more or less content than was asked for"));
    }
    Ok(Answered { len, hole_after: within(entry, offset + len, hole_after), what: Data { holes, bytes } })
}

fn within(entry: &Entry, from: u64, len: u64) -> u64 {
    len.min(entry.size.saturating_sub(from))
}

/// Whether the file is still the one that was listed.
fn unmoved(entry: &Entry, seen: Seen) -> Result<(), Fault> {
    let same = (seen.size, seen.mtime, seen.inode) == (entry.size, entry.attrs.mtime, entry.inode);
    if same { Ok(()) } else { Err(Fault::Moved) }
}

fn unanswered(told: Told) -> Fault {
    match told {
        // It was there when it was listed.
        Told::Failed { kind: FailedKind::Missing | FailedKind::Kind, .. } => Fault::Moved,
        Told::Failed { kind: FailedKind::Unreadable, text } => {
            Fault::Node(format!("the target cannot read it: {}", words(&text)))
        }
        Told::Failed { kind: FailedKind::Bounds, text } => Fault::nonsense(&words(&text)),
        _ => Fault::nonsense("the answer to another question"),
    }
}

//! The undo log's format: segments of records, each with its number and a checksum (docs/undo.md). What a record means for a
//! replica is not known here.
//!
//! A record also says up to which number all were on the disk when it was written. So a tail that was torn, which nothing was done
//! after, is told from damage in the middle, after which nothing may be believed.

use protocol::{Incarnation, Time};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

/// Begins every record; the last byte is the version of the format.
const MAGIC: [u8; 4] = *b"RFU\x01";
/// Magic, length, number, number on the disk, checksum.
const HEAD_BYTES: usize = 28;
const CRC_AT: usize = 24;
/// Longer than any record: data comes in pieces, and attributes of one node are seldom more than some KiB.
const MAX_BYTES: usize = 16 << 20;
/// Begins the name of a segment; its number follows.
const SEGMENT: &str = "log-";

/// What a node was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub inode: u64,
    /// Kind and permissions, as `stat(2)` has them.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub atime: Time,
    pub mtime: Time,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The first one: what the replica was.
    Begin { number: u64, incarnation: Incarnation, taken: String },
    /// What a node was, data aside.
    Node(Node),
    /// What was under a name in a directory, by inode; zero for nothing.
    Name { dir: u64, name: Vec<u8>, inode: u64 },
    /// Bytes of a file.
    Data { inode: u64, offset: u64, bytes: Vec<u8> },
    /// A hole in a file.
    Hole { inode: u64, offset: u64, len: u64 },
    /// Data of a file is about to change for the first time; where it had room that was never written.
    Room { inode: u64, ranges: Vec<(u64, u64)> },
    /// A node that is not of the coherent state.
    New { inode: u64 },
}

/// Why a log cannot be read.
#[derive(Debug)]
pub(crate) enum Unread {
    Io(io::Error),
    /// What is there is not what was written.
    Damaged(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Put(Vec<u8>);

impl Put {
    fn u32(&mut self, n: u32) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    fn u64(&mut self, n: u64) -> &mut Self {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    fn time(&mut self, time: Time) -> &mut Self {
        self.0.extend_from_slice(&time.secs.to_le_bytes());
        self.u32(time.nanos)
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        // What is longer does not make a record either.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
        self
    }
}

/// What is left of a record.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.raw(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.raw(8)?.try_into().ok()?))
    }

    fn time(&mut self) -> Option<Time> {
        let secs = i64::from_le_bytes(self.raw(8)?.try_into().ok()?);
        Some(Time { secs, nanos: self.u32().filter(|nanos| *nanos < 1_000_000_000)? })
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.u32()?).ok()?;
        Some(self.raw(len)?.to_vec())
    }
}

impl Entry {
    fn encode(&self) -> Vec<u8> {
        let mut out = Put(Vec::new());
        match self {
            Self::Begin { number, incarnation, taken } => {
                out.u32(1).u64(*number).bytes(&incarnation.to_bytes()).bytes(taken.as_bytes());
            }
            Self::Node(node) => {
                out.u32(2).u64(node.inode).u32(node.mode).u32(node.uid).u32(node.gid).u64(node.size);
                out.time(node.atime).time(node.mtime);
                out.u32(u32::try_from(node.xattrs.len()).unwrap_or(u32::MAX));
                for (name, value) in &node.xattrs {
                    out.bytes(name).bytes(value);
                }
            }
            Self::Name { dir, name, inode } => {
                out.u32(3).u64(*dir).u64(*inode).bytes(name);
            }
            Self::Data { inode, offset, bytes } => {
                out.u32(4).u64(*inode).u64(*offset).bytes(bytes);
            }
            Self::Hole { inode, offset, len } => {
                out.u32(5).u64(*inode).u64(*offset).u64(*len);
            }
            Self::Room { inode, ranges } => {
                out.u32(6).u64(*inode).u32(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
                for (offset, len) in ranges {
                    out.u64(*offset).u64(*len);
                }
            }
            Self::New { inode } => {
                out.u32(7).u64(*inode);
            }
        }
        out.0
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Take(bytes);
        let entry = match from.u32()? {
            1 => {
                let number = from.u64()?;
                let incarnation = Incarnation::from_bytes(from.bytes()?.try_into().ok()?);
                Self::Begin { number, incarnation, taken: String::from_utf8(from.bytes()?).ok()? }
            }
            2 => {
                let (inode, mode, uid, gid) = (from.u64()?, from.u32()?, from.u32()?, from.u32()?);
                let (size, atime, mtime) = (from.u64()?, from.time()?, from.time()?);
                let mut xattrs = Vec::new();
                for _ in 0..from.u32()? {
                    xattrs.push((from.bytes()?, from.bytes()?));
                }
                Self::Node(Node { inode, mode, uid, gid, size, atime, mtime, xattrs })
            }
            3 => {
                let (dir, inode) = (from.u64()?, from.u64()?);
                Self::Name { dir, inode, name: from.bytes()? }
            }
            4 => Self::Data { inode: from.u64()?, offset: from.u64()?, bytes: from.bytes()? },
            5 => Self::Hole { inode: from.u64()?, offset: from.u64()?, len: from.u64()? },
            6 => {
                let inode = from.u64()?;
                let mut ranges = Vec::new();
                for _ in 0..from.u32()? {
                    ranges.push((from.u64()?, from.u64()?));
                }
                Self::Room { inode, ranges }
            }
            7 => Self::New { inode: from.u64()? },
            _ => return None,
        };
        from.0.is_empty().then_some(entry)
    }
}

/// Where records are appended.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    at: u64,
    /// The number of the next record.
    next: u64,
    /// All up to this number are on the disk.
    durable: u64,
    /// The last record that has to be.
    wanted: u64,
}

impl Writer {
    /// Begins a segment of its own, behind `segments`, with record `next`.
    pub fn begin(dir: BorrowedFd<'_>, segment: u64, next: u64) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(dir, format!("{SEGMENT}{segment:08}"), flags, Mode::RUSR | Mode::WUSR)?;
        let durable = next.saturating_sub(1);
        Ok(Self { file: File::from(file), at: 0, next, durable, wanted: durable })
    }

    /// Appends a record. It survives the process now, and the machine after [`Self::sync`].
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let payload = entry.encode();
        if payload.len() > MAX_BYTES {
            return Err(io::Error::other("a node with more attributes than a record of the undo log takes"));
        }
        let mut record = Vec::with_capacity(HEAD_BYTES + payload.len());
        record.extend_from_slice(&MAGIC);
        record.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(&self.next.to_le_bytes());
        record.extend_from_slice(&self.durable.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&record), &payload);
        record.extend_from_slice(&crc.to_le_bytes());
        record.extend_from_slice(&payload);
        self.file.write_all_at(&record, self.at)?;
        self.at += record.len() as u64;
        if !matches!(entry, Entry::New { .. }) {
            // Without a note of what is new more is saved than needed, and nothing else.
            self.wanted = self.next;
        }
        self.next += 1;
        Ok(())
    }

    /// Bytes in this segment.
    pub fn written(&self) -> u64 {
        self.at
    }

    /// Waits for the disk, where there is anything that must be there.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.wanted > self.durable {
            self.file.sync_data()?;
            self.durable = self.next - 1;
        }
        Ok(())
    }
}

/// The segments in a directory, in order.
pub(crate) fn segments(dir: BorrowedFd<'_>) -> io::Result<Vec<u64>> {
    let names = platform::sys::dir::names(dir)?;
    let number = |name: &[u8]| std::str::from_utf8(name).ok()?.strip_prefix(SEGMENT)?.parse().ok();
    let mut out: Vec<u64> = names.iter().filter_map(|name| number(name.as_bytes())).collect();
    out.sort_unstable();
    Ok(out)
}

/// A segment, to be read.
pub(crate) fn open(dir: BorrowedFd<'_>, segment: u64) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(rustix::fs::openat(dir, format!("{SEGMENT}{segment:08}"), flags, Mode::empty())?))
}

/// Reads the record at a place that [`read`] told of.
pub(crate) fn read_at(file: &File, at: u64) -> Result<Entry, Unread> {
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, at)?;
    let len = Head::parse(&head).map(|head| head.len).ok_or_else(|| Unread::Damaged(format!("no record at {at}")))?;
    let mut payload = vec![0; len];
    file.read_exact_at(&mut payload, at + HEAD_BYTES as u64)?;
    let whole = Head::parse(&head).is_some_and(|h| h.is_of(&head, &payload));
    whole.then(|| Entry::decode(&payload)).flatten().ok_or_else(|| Unread::Damaged(format!("the record at {at}")))
}

struct Head {
    len: usize,
    number: u64,
    durable: u64,
    crc: u32,
}

impl Head {
    fn parse(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let mut from = Take(&bytes[..]);
        let magic = from.raw(4)? == MAGIC;
        let len = usize::try_from(from.u32()?).ok().filter(|len| *len <= MAX_BYTES)?;
        let head = Self { len, number: from.u64()?, durable: from.u64()?, crc: from.u32()? };
        magic.then_some(head)
    }

    fn is_of(&self, head: &[u8; HEAD_BYTES], payload: &[u8]) -> bool {
        crc32c::crc32c_append(crc32c::crc32c(&head[..CRC_AT]), payload) == self.crc
    }
}

/// Reads all records: `each` gets the segment, the place in it, and the record. Answers the number that the next record
/// has. A torn tail is left out; damage in front of what was on the disk is an error.
pub(crate) fn read(dir: BorrowedFd<'_>, each: &mut dyn FnMut(u64, u64, Entry)) -> Result<u64, Unread> {
    let mut next = 1;
    for segment in segments(dir)? {
        next = read_segment(dir, segment, next, each)?;
    }
    if next == 1 {
        return Err(Unread::Damaged("it does not begin".to_owned()));
    }
    Ok(next)
}

fn read_segment(
    dir: BorrowedFd<'_>,
    segment: u64,
    mut next: u64,
    each: &mut dyn FnMut(u64, u64, Entry),
) -> Result<u64, Unread> {
    let file = open(dir, segment)?;
    let end = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 20, &file);
    let mut at = 0;
    while at < end {
        let Some((entry, len)) = next_record(&mut reader, next, end - at)? else {
            let (begun, number) = (at, next);
            // A whole one with another number, or one that was written when this one was on the disk.
            let follows = believed_after(&file, begun + 1, end)?.is_some_and(|durable| durable >= number);
            if follows || read_at(&file, begun).is_ok() {
                return Err(Unread::Damaged(format!("record {number} in segment {segment} at {begun}")));
            }
            return Ok(next);
        };
        if (next == 1) != matches!(entry, Entry::Begin { .. }) {
            return Err(Unread::Damaged(format!("record {next} is not what belongs there")));
        }
        each(segment, at, entry);
        (at, next) = (at + len, next + 1);
    }
    Ok(next)
}

/// The record that has number `number`; `None` where there is none.
fn next_record(reader: &mut impl Read, number: u64, left: u64) -> io::Result<Option<(Entry, u64)>> {
    let mut bytes = [0; HEAD_BYTES];
    if left < HEAD_BYTES as u64 {
        return Ok(None);
    }
    reader.read_exact(&mut bytes)?;
    let Some(head) = Head::parse(&bytes).filter(|head| head.number == number) else { return Ok(None) };
    let len = (HEAD_BYTES + head.len) as u64;
    if len > left {
        return Ok(None);
    }
    let mut payload = vec![0; head.len];
    reader.read_exact(&mut payload)?;
    if !head.is_of(&bytes, &payload) {
        return Ok(None);
    }
    Ok(Entry::decode(&payload).map(|entry| (entry, len)))
}

/// The highest number that a whole record from `at` on says to be on the disk.
fn believed_after(file: &File, at: u64, end: u64) -> io::Result<Option<u64>> {
    const WINDOW: usize = 1 << 20;
    let (mut at, mut highest) = (at, None);
    let mut window = vec![0; WINDOW];
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(WINDOW).min(WINDOW);
        file.read_exact_at(&mut window[..want], at)?;
        for place in window[..want].windows(MAGIC.len()).enumerate().filter(|(_, four)| *four == MAGIC).map(|(n, _)| n)
        {
            let found = at + place as u64;
            let mut head = [0; HEAD_BYTES];
            if found + HEAD_BYTES as u64 > end {
                break;
            }
            file.read_exact_at(&mut head, found)?;
            let Some(parsed) = Head::parse(&head) else { continue };
            if found + (HEAD_BYTES + parsed.len) as u64 > end {
                continue;
            }
            if read_at(file, found).is_ok() {
                highest = highest.max(Some(parsed.durable));
            }
        }
        // Windows overlap by what a magic number may lack.
        at += (want.saturating_sub(MAGIC.len() - 1)).max(1) as u64;
        if want < WINDOW {
            break;
        }
    }
    Ok(highest)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;

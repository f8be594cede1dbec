//! Reads the records of one segment one after the other, and believes none that is not whole. Recovery and readers go through here.

use crate::disk::DiskFile;
use crate::header::DATA_AT;
use crate::record::{self, ALIGN, CHECKED_BYTES, HEAD_BYTES};
use bytes::Bytes;
use protocol::frame::HEAD_BYTES as FRAME_HEAD_BYTES;
use protocol::{Frame, Head, SeqNo};
use std::io;
use std::sync::Arc;

/// How much is read at once, in bytes, where records are small.
const READ_BYTES: usize = 256 << 10;
/// The most that is read for a record whose length is not known yet.
const MAX_READ_BYTES: usize = 2 << 20;

/// A record as it was appended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub seq: SeqNo,
    /// Its time stamp.
    pub stamp: u64,
    /// What goes on the wire.
    pub frame: Frame,
}

/// Why there is no further record here.
#[derive(Debug)]
pub enum Stop {
    /// What is to be read ends here.
    End,
    /// No head of a record of this segment: never written, or from another life of the file.
    None,
    /// A head of this segment, but not the number that has to come now.
    Other(SeqNo),
    /// The head is right, what follows is not what it announced.
    Torn(String),
    /// The system could not read.
    Io(io::Error),
}

/// A place between two records.
pub struct Cursor {
    file: Arc<dyn DiskFile>,
    salt: u64,
    at: u64,
    next: SeqNo,
    buffer: Bytes,
    buffer_at: u64,
    /// What the last record took, with the head of the one behind it: the next is taken to be as large.
    usual: usize,
}

impl Cursor {
    /// At the beginning of a segment whose records have this salt and begin with this number.
    pub fn new(file: Arc<dyn DiskFile>, salt: u64, first: SeqNo) -> Self {
        Self { file, salt, at: DATA_AT, next: first, buffer: Bytes::new(), buffer_at: DATA_AT, usual: 0 }
    }

    /// Where the next record begins, in bytes.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The number of the next record.
    pub fn next(&self) -> SeqNo {
        self.next
    }

    /// The next record; nothing at or behind `end` is looked at.
    pub fn read(&mut self, end: u64) -> Result<Entry, Stop> {
        let room = end.saturating_sub(self.at);
        if room < CHECKED_BYTES as u64 {
            return Err(Stop::End);
        }
        let Some(start) = self.fetch(self.at, CHECKED_BYTES, end).map_err(Stop::Io)? else {
            return Err(Stop::End);
        };
        let Some(head) = record::parse(self.salt, &start) else { return Err(Stop::None) };
        if head.seq != self.next {
            return Err(Stop::Other(head.seq));
        }
        if (HEAD_BYTES + head.len) as u64 > room {
            return Err(Stop::Torn("it is longer than the segment".to_owned()));
        }
        let whole = self.fetch(self.at, HEAD_BYTES + head.len, end).map_err(Stop::Io)?;
        let whole = whole.ok_or_else(|| Stop::Torn("the file ends within it".to_owned()))?;
        let entry = unpack(&whole.slice(HEAD_BYTES..), self.next).map_err(Stop::Torn)?;
        self.at += record::space(head.len);
        self.usual = (HEAD_BYTES + head.len).saturating_add(CHECKED_BYTES);
        self.next = self.next.next();
        Ok(entry)
    }

    /// `len` bytes at `at`, of which some more are read ahead. `None`: the file has fewer.
    fn fetch(&mut self, at: u64, len: usize, end: u64) -> io::Result<Option<Bytes>> {
        let skip = usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX);
        if skip.saturating_add(len) > self.buffer.len() {
            let most = self.usual.clamp(READ_BYTES, MAX_READ_BYTES).max(len);
            let ahead = usize::try_from(end - at).unwrap_or(most).min(most).max(len);
            (self.buffer, self.buffer_at) = (Bytes::from(self.file.fetch(at, ahead)?), at);
            return Ok((self.buffer.len() >= len).then(|| self.buffer.slice(..len)));
        }
        Ok(Some(self.buffer.slice(skip..skip + len)))
    }

    /// A record of this segment with a number of at least `least`, somewhere between here and `end`. What cannot be read is passed over.
    pub fn find_behind(&self, end: u64, least: SeqNo) -> Option<SeqNo> {
        let mut at = self.at;
        let mut buffer = vec![0; READ_BYTES];
        while at + CHECKED_BYTES as u64 <= end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = self.file.read(at, &mut buffer[..want]).unwrap_or(0);
            let places = (0..got.saturating_sub(CHECKED_BYTES - 1)).step_by(ALIGN);
            let heads = places.filter(|i| buffer[*i..*i + 4] == record::MAGIC);
            let mut found = heads.filter_map(|i| record::parse(self.salt, &buffer[i..got]));
            if let Some(head) = found.find(|head| head.seq >= least) {
                return Some(head.seq);
            }
            // The next piece begins early enough for a head that lies across the border.
            let step = got.saturating_sub(CHECKED_BYTES).next_multiple_of(ALIGN);
            at += if got == want { step.max(ALIGN) as u64 } else { READ_BYTES as u64 };
        }
        None
    }
}

/// A frame and nothing else, with this number, whose checksums are right.
fn unpack(bytes: &Bytes, seq: SeqNo) -> Result<Entry, String> {
    let head: &[u8; FRAME_HEAD_BYTES] = bytes.first_chunk().ok_or("it is shorter than a frame")?;
    let head = Head::parse(head).map_err(|e| e.to_string())?;
    let front_len = FRAME_HEAD_BYTES + head.header_len();
    if bytes.len() != front_len + head.payload_len() {
        return Err("its frame has another length".to_owned());
    }
    if head.seq() != seq {
        return Err(format!("its frame has number {}", head.seq()));
    }
    let frame = Frame { front: bytes.slice(..front_len), payload: bytes.slice(front_len..) };
    head.check(&frame.front[FRAME_HEAD_BYTES..], &frame.payload).map_err(|e| e.to_string())?;
    Ok(Entry { seq, stamp: head.stamp(), frame })
}

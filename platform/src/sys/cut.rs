//! Content-defined chunks: a file cut where its own bytes say, so that the same bytes at another place are cut the same
//! way. What is done with the chunks is not known here.

use super::content::read_up_to;
use fastcdc::v2020::FastCDC;
use protocol::{CUT_AVG_BYTES, CUT_MAX_BYTES, CUT_MIN_BYTES};
use std::io;
use std::os::fd::BorrowedFd;

/// What is read at once; several of the longest chunks.
const BUFFER_BYTES: usize = 1 << 20;

/// Cuts a file from some place on, one chunk after the other. Holes are zeros. A file that changes meanwhile gives chunks
/// of what was read.
#[derive(Debug)]
pub struct Cutter<'a> {
    fd: BorrowedFd<'a>,
    buffer: Vec<u8>,
    /// What of the buffer was read and is not cut yet.
    from: usize,
    to: usize,
    /// Position of `from` in the file.
    offset: u64,
    ended: bool,
}

/// One chunk.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Position in bytes.
    pub offset: u64,
    /// Its content; never empty.
    pub data: &'a [u8],
}

impl<'a> Cutter<'a> {
    /// Where a chunk ends depends on nothing but the bytes from its beginning on. Takes 1 MiB of memory.
    pub fn new(fd: BorrowedFd<'a>, offset: u64) -> Self {
        Self { fd, buffer: vec![0; BUFFER_BYTES], from: 0, to: 0, offset, ended: false }
    }

    /// The next chunk; `None` at the end of the file.
    #[allow(clippy::should_implement_trait)] // it lends its buffer
    pub fn next(&mut self) -> io::Result<Option<Chunk<'_>>> {
        if self.to - self.from < CUT_MAX_BYTES as usize && !self.ended {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            let rest = &mut self.buffer[self.to..];
            let got = read_up_to(self.fd, rest, self.offset + self.to as u64)?;
            self.ended = got < rest.len();
            self.to += got;
        }
        let rest = &self.buffer[self.from..self.to];
        if rest.is_empty() {
            return Ok(None);
        }
        let [min, avg, max] = [CUT_MIN_BYTES, CUT_AVG_BYTES, CUT_MAX_BYTES].map(|bytes| bytes as usize);
        let (_, len) = FastCDC::new(rest, min, avg, max).cut(0, rest.len());
        let data = &rest[..len.clamp(1, rest.len())];
        let offset = self.offset;
        self.from += data.len();
        self.offset += data.len() as u64;
        Ok(Some(Chunk { offset, data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::content::hash;
    use std::collections::HashSet;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    /// Bytes that do not repeat.
    fn noise(len: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().finalize_xof();
        let mut out = vec![0; len];
        reader.fill(&mut out);
        out
    }

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn chunks(file: &File, from: u64) -> Vec<(u64, usize, [u8; 16])> {
        let mut cutter = Cutter::new(file.as_fd(), from);
        let mut out = Vec::new();
        while let Some(chunk) = cutter.next().unwrap() {
            out.push((chunk.offset, chunk.data.len(), hash(chunk.data)));
        }
        out
    }

    #[test]
    fn chunks_follow_one_another_and_go_on_from_any_of_them() {
        let bytes = noise(5_000_001);
        let file = file(&bytes);
        let all = chunks(&file, 0);
        let mut at = 0;
        for (index, (offset, len, digest)) in all.iter().enumerate() {
            assert_eq!(*offset, at);
            let start = usize::try_from(at).unwrap();
            assert_eq!(*digest, hash(&bytes[start..start + len]));
            assert!(*len <= CUT_MAX_BYTES as usize);
            assert!(*len >= CUT_MIN_BYTES as usize || index + 1 == all.len(), "{len}");
            at += *len as u64;
        }
        assert_eq!(at, 5_000_001);
        assert_eq!(chunks(&file, all[7].0), all[7..]);
        assert_eq!(chunks(&file, at), []);
        assert_eq!(chunks(&file, at + 9), []);
    }

    #[test]
    fn what_was_inserted_or_removed_leaves_the_other_chunks_as_they_are() {
        let old = noise(16 << 20);
        let known: HashSet<[u8; 16]> = chunks(&file(&old), 0).iter().map(|chunk| chunk.2).collect();
        let mut grown = b"a few bytes".repeat(1000);
        grown.extend(&old);
        let mut shrunk = old.clone();
        shrunk.drain((7 << 20)..(7 << 20) + 12_345);
        for new in [grown, shrunk] {
            let unknown: usize =
                chunks(&file(&new), 0).iter().filter(|chunk| !known.contains(&chunk.2)).map(|chunk| chunk.1).sum();
            assert!(unknown <= 3 * CUT_MAX_BYTES as usize, "{unknown} bytes are in other chunks than before");
        }
    }

    #[test]
    fn zeros_and_little_are_cut_too() {
        assert_eq!(chunks(&file(b""), 0), []);
        assert_eq!(chunks(&file(b"x"), 0), [(0, 1, hash(b"x"))]);
        let sparse = file(b"x");
        sparse.set_len(3 << 20).unwrap();
        let all = chunks(&sparse, 0);
        assert_eq!(all.iter().map(|chunk| chunk.1).sum::<usize>(), 3 << 20);
        assert!(all.len() < 200, "{}", all.len());
    }
}

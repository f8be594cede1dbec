//! Repair: which blocks of a file differ from hashes that the source sent (R7).

use super::{Applier, Fault};
use platform::sys::content::{hash as digest, read_up_to};
use platform::sys::resolve::open_beneath;
use platform::sys::{attr, extent};
use protocol::{At, Place};
use rustix::fs::{FileType, OFlags};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

impl Applier {
    pub(super) fn compare(
        &mut self,
        place: &Place,
        range: Range<u64>,
        block_bytes: u32,
        hashes: &[u8],
    ) -> Result<Vec<u32>, Fault> {
        let file = self.file(place)?;
        self.home.forget_cached(&file, &range);
        differing(file.as_fd(), range, block_bytes, hashes)
    }

    /// For verification: what a reader of the replica would see differs from the hashes. Descriptors that are kept open are
    /// not used, because somebody may have put another file under the name. What is not there or cannot be read differs: that
    /// is for the source to report, and neither damage nor a reason to stop.
    pub(super) fn compare_as_read(
        &mut self,
        place: &Place,
        range: Range<u64>,
        block_bytes: u32,
        hashes: &[u8],
    ) -> Vec<u32> {
        let blocks = (0u32..).zip(hashes.chunks(16)).map(|(index, _)| index);
        match self.read_now(place, &range) {
            Ok(content) => {
                let there = content.len();
                let mut whole = content;
                whole.resize(usize::try_from(range.end - range.start).unwrap_or(there), 0);
                let block = block_bytes as usize;
                blocks
                    .zip(hashes.chunks(16).zip(whole.chunks(block)))
                    .filter(|(index, (hash, content))| {
                        *index as usize * block + content.len() > there || digest(content) != **hash
                    })
                    .map(|(index, _)| index)
                    .collect()
            }
            Err(error) => {
                tracing::debug!(?error, "a file that is verified cannot be read");
                blocks.collect()
            }
        }
    }

    /// What is in the file that has this name now.
    fn read_now(&self, place: &Place, range: &Range<u64>) -> Result<Vec<u8>, Fault> {
        let At::Path(path) = &place.at else { return Err(Fault::damage("an orphan is not verified")) };
        let named = open_beneath(self.tree(), path, OFlags::PATH | OFlags::NOFOLLOW)?;
        if FileType::from_raw_mode(attr::stat(&named)?.st_mode) != FileType::RegularFile {
            return Err(Fault::damage("not a regular file"));
        }
        let fd = self.open_to_read(named.as_fd())?;
        self.home.forget_cached(&fd, range);
        // At most CHUNK_BYTES, checked when the record came.
        let mut content = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        let got = read_up_to(fd.as_fd(), &mut content, range.start)?;
        content.truncate(got);
        Ok(content)
    }
}

/// The indexes of the blocks of `range` that are not what `hashes` (16 bytes each) say. A block that the file does not
/// have, or has as a hole, differs from anything.
pub(crate) fn differing(
    fd: BorrowedFd<'_>,
    range: Range<u64>,
    block_bytes: u32,
    hashes: &[u8],
) -> Result<Vec<u32>, Fault> {
    let size = u64::try_from(attr::stat(fd)?.st_size).unwrap_or(0);
    let there = range.end.min(size).saturating_sub(range.start);
    let holes: Vec<Range<u64>> = extent::segments(fd, range.start, there)?
        .into_iter()
        .filter(|segment| segment.hole)
        .map(|segment| segment.offset..segment.offset + segment.len)
        .collect();
    // At most CHUNK_BYTES, checked when the record came.
    let mut buffer = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    let got = read_up_to(fd, &mut buffer, range.start)?;
    let block = block_bytes as usize;
    let mut differs = Vec::new();
    for (index, (hash, content)) in (0u32..).zip(hashes.chunks(16).zip(buffer.chunks(block))) {
        let from = index as usize * block;
        let start = range.start + from as u64;
        let end = start + content.len() as u64;
        let in_hole = holes.iter().any(|hole| hole.start <= start && end <= hole.end);
        if in_hole || from + content.len() > got || digest(content) != *hash {
            differs.push(index);
        }
    }
    Ok(differs)
}

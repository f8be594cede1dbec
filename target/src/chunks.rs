//! Content-defined chunks of what the replica has, for a staging file that is to be much like it: their list, and copies of
//! them. Files are only read here, at any moment of the stream: what is told or copied of one is checked by its hash.

use crate::apply::Fault;
use platform::sys::content::{hash, open_to_read, read_up_to, write_all};
use platform::sys::cut::Cutter;
use platform::sys::resolve::open_beneath;
use protocol::{MAX_CHUNKS, PieceAnswer, RelPath};
use rustix::fs::OFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of a file that one answer is about, a chunk more or less: the lane has others to serve.
const LIST_BYTES: u64 = 32 << 20;

/// The chunks of a regular file, from a place where one begins on.
pub(crate) fn list(tree: BorrowedFd<'_>, path: &RelPath, offset: u64) -> Result<PieceAnswer, Fault> {
    let fd = open(tree, path)?;
    let mut cutter = Cutter::new(fd.as_fd(), offset);
    let (mut lens, mut hashes) = (Vec::new(), Vec::new());
    while let Some(chunk) = cutter.next()? {
        // At most CUT_MAX_BYTES.
        lens.push(u32::try_from(chunk.data.len()).unwrap_or(u32::MAX));
        hashes.extend(hash(chunk.data));
        if lens.len() >= MAX_CHUNKS || chunk.offset - offset >= LIST_BYTES {
            break;
        }
    }
    Ok(PieceAnswer::Chunks { lens, hashes })
}

/// Writes to `to` what a regular file has at a place, if it has this hash.
pub(crate) fn copy(
    (tree, path, from): (BorrowedFd<'_>, &RelPath, u64),
    (to, offset): (BorrowedFd<'_>, u64),
    len: u64,
    wanted: &[u8; 16],
) -> Result<PieceAnswer, Fault> {
    let fd = open(tree, path)?;
    // At most CHUNK_BYTES, checked when the piece came.
    let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
    let got = read_up_to(&fd, &mut content, from)?;
    if got < content.len() || hash(&content) != *wanted {
        return Ok(PieceAnswer::Unlike);
    }
    // What was hashed is what is written: the file may be another by now.
    write_all(to, &content, offset)?;
    Ok(PieceAnswer::Done)
}

/// A regular file of the replica, and nothing else: opening others has effects.
fn open(tree: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, Fault> {
    let named = open_beneath(tree, path, OFlags::PATH | OFlags::NOFOLLOW)?;
    open_to_read(named.as_fd()).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => Fault::damage("not a regular file"),
        _ => error.into(),
    })
}

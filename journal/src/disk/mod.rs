//! What the journal asks of a disk, and nothing that knows what a journal is. The property tests put a simulated one in its place.

mod real;

pub use real::RealDisk;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// Directories and files, as the journal uses them. Paths are absolute.
pub trait Disk: Send + Sync {
    /// Makes the directory, and those above it that are missing. It is durable when this returns.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in any order; names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a new file of `bytes` zeros that have their place on the disk. Where `written`, writing to it later changes no metadata. Neither the
    /// content nor the name is durable yet. When this fails, there is no file.
    fn create(&self, path: &Path, bytes: u64, written: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file. Not durable yet.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// A random number.
    fn random(&self) -> io::Result<u64>;
}

/// An open file. All methods can be called by several threads at once.
pub trait DiskFile: Send + Sync {
    /// Writes all parts, one after the other, at `offset`.
    fn write(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;

    /// Reads from `offset` until the buffer or the file is full; how many bytes there were.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Reads `len` bytes from `offset`; fewer where the file ends before.
    fn fetch(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let got = self.read(offset, &mut bytes)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Makes what was written durable (fdatasync).
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
}

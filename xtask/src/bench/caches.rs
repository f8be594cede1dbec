//! What the kernel remembers of files: forgotten or read again before a time begins.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Forgets every clean page, name and inode of this machine, the bare directory's too. `POSIX_FADV_DONTNEED` is not enough:
/// it reaches the mount's pages but not those of the file below, which the daemon has open.
pub fn forget() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3")
        .context("cannot write /proc/sys/vm/drop_caches, which cold cases need: run as root outside of a container")
}

/// Reads everything below a directory: names, attributes, content.
pub fn read(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            read(&entry?.path())?;
        }
    } else if meta.is_file() {
        let mut file = File::open(path)?;
        let mut block = vec![0; 1 << 20];
        while file.read(&mut block)? > 0 {}
    }
    Ok(())
}

/// Writes everything dirty of the file system at `path` to its disk.
pub fn write_back(path: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

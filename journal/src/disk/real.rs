//! The machine's own file systems.

use super::{Disk, DiskFile};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use std::sync::Arc;

/// Zeros are written in pieces of this size.
const ZERO_BYTES: usize = 256 << 10;

/// The machine's own file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

impl Disk for RealDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().ok_or(io::ErrorKind::NotFound)?;
        self.make_dir(parent)?;
        // What is replicated is nobody's business but root's.
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, path: &Path, bytes: u64, written: bool) -> io::Result<Arc<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = open(path, flags)?;
        if let Err(e) = fill(&file, bytes, written) {
            let _ = fs::remove_file(path);
            return Err(e);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        if !file.0.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn random(&self) -> io::Result<u64> {
        platform::random::bytes().map(u64::from_le_bytes)
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<RealFile> {
    let fd: OwnedFd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(RealFile(fd.into()))
}

fn fill(file: &RealFile, bytes: u64, written: bool) -> io::Result<()> {
    match rustix::fs::fallocate(&file.0, FallocateFlags::empty(), 0, bytes) {
        Ok(()) if !written => return Ok(()),
        // A file system that cannot reserve gets the zeros written, memory too.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(e) => return Err(e.into()),
    }
    let zeros = vec![0; ZERO_BYTES];
    let mut at = 0;
    while at < bytes {
        let piece = usize::try_from(bytes - at).unwrap_or(ZERO_BYTES).min(ZERO_BYTES);
        file.0.write_all_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

impl DiskFile for RealFile {
    fn write(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut done = match rustix::io::pwritev(&self.0, parts, offset) {
            Ok(done) if done == total => return Ok(()),
            Ok(done) => done,
            Err(rustix::io::Errno::INTR) => 0,
            Err(e) => return Err(e.into()),
        };
        // Seldom: a signal, or a full file system that reserved nothing. The rest, part by part.
        let mut at = offset;
        for part in parts {
            let skip = done.min(part.len());
            done -= skip;
            self.0.write_all_at(&part[skip..], at + skip as u64)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.0.read_at(&mut buffer[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(got)
    }

    /// Without writing zeros first where bytes are to be.
    fn fetch(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(&self.0, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // There may have been room for more.
        bytes.truncate(len);
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

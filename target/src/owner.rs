//! Who owns a replica, and which directory it is: ROOT/.replfs/NAME/owner.

use protocol::ReplicaId;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

const FILE: &str = "owner";
const FILE_NEW: &str = "owner.new";
const VERSION: u32 = 1;
/// Larger than any that was written by us.
const MAX_BYTES: u64 = 64 << 10;

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    version: u32,
    /// Fingerprint of the source.
    #[serde(rename = "owner")]
    pub source: String,
    replica: String,
    /// Of ROOT/NAME when it was made. It differs after a restart for some file systems: for people.
    pub device: u64,
    /// Inode number of ROOT/NAME.
    pub inode: u64,
}

impl Owner {
    pub fn new(source: &str, replica: ReplicaId, device: u64, inode: u64) -> Self {
        Self { version: VERSION, source: source.to_owned(), replica: replica.to_string(), device, inode }
    }

    /// The replica's id.
    pub fn replica(&self) -> io::Result<ReplicaId> {
        ReplicaId::from_hex(&self.replica).ok_or_else(|| unreadable("the replica's id is not 32 hexadecimal digits"))
    }

    /// Reads it from ROOT/.replfs/NAME; `None` where there is none.
    pub fn read(dir: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(dir, FILE, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let owner: Self = serde_json::from_slice(&bytes).map_err(|e| unreadable(&e.to_string()))?;
        if owner.version != VERSION {
            return Err(unreadable(&format!("version {}, this build reads {VERSION}", owner.version)));
        }
        owner.replica()?;
        Ok(Some(owner))
    }

    /// Writes it to ROOT/.replfs/NAME, whole or not at all, and waits for the disk.
    pub fn write(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::openat(dir, FILE_NEW, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        let renamed = rustix::fs::renameat(dir, FILE_NEW, dir, FILE);
        if renamed.is_err() {
            // The first error is the one to report.
            let _ = rustix::fs::unlinkat(dir, FILE_NEW, AtFlags::empty());
        }
        renamed?;
        Ok(rustix::fs::fsync(dir.as_fd())?)
    }
}

fn unreadable(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the owner file does not parse: {why}"))
}

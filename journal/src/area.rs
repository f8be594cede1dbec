//! An area: a directory with a bound, and the files in it. Which file is used next; no I/O, but for what they are called.

use crate::header::{DATA_AT, Header};
use crate::segment::SlotId;
use std::io;
use std::path::{Path, PathBuf};

/// The smallest area in bytes: four of the smallest segments.
pub const MIN_AREA_BYTES: u64 = SEGMENTS_AT_LEAST * MIN_SEGMENT_BYTES;

const SEGMENTS_AT_LEAST: u64 = 4;
const MIN_SEGMENT_BYTES: u64 = 64 << 10;
const MEMORY_SEGMENT_BYTES: u64 = 4 << 20;
const DISK_SEGMENT_BYTES: u64 = 16 << 20;

/// No segment is larger, in bytes.
pub const MOST_SEGMENT_BYTES: u64 = DISK_SEGMENT_BYTES;

/// What an area is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaKind {
    /// On tmpfs: survives the daemon, not the machine. Nothing in it is ever durable.
    Memory,
    /// On a disk; its files are kept and used again.
    Disk,
    /// On a disk; its files are given back when the areas before it suffice.
    Extension,
}

/// An area as the user wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AreaConfig {
    /// Its directory, which belongs to this journal alone. It is made where it is missing.
    pub dir: PathBuf,
    /// Bound of all its files together, in bytes; at least [`MIN_AREA_BYTES`].
    pub bytes: u64,
    /// What it is for.
    pub kind: AreaKind,
}

/// Why an area was not added or dropped.
#[derive(Debug, thiserror::Error)]
pub enum AreaError {
    /// Its bound is below [`MIN_AREA_BYTES`].
    #[error("journal area {dir} of {bytes} bytes is too small; it takes at least {MIN_AREA_BYTES}")]
    TooSmall {
        /// The area's directory.
        dir: PathBuf,
        /// The bound that was asked for.
        bytes: u64,
    },
    /// Its directory is an area of this journal already, or holds segments that were not read when the journal was opened.
    #[error("journal area {0} is in use; give it a directory of its own, or remove the segments in it")]
    InUse(PathBuf),
    /// It is no area of this journal.
    #[error("{0} is no area of this journal")]
    Unknown(PathBuf),
    /// It holds records that are still needed.
    #[error("journal area {0} holds records that are not trimmed yet; it can be dropped later")]
    NotEmpty(PathBuf),
    /// The system refused.
    #[error("journal area {dir}: {cause}")]
    Io {
        /// The area's directory.
        dir: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// An area as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AreaStatus {
    /// Its directory.
    pub dir: PathBuf,
    /// What it is for.
    pub kind: AreaKind,
    /// Its bound in bytes.
    pub bound_bytes: u64,
    /// What its files take, in bytes.
    pub held_bytes: u64,
    /// What the segments in it that are not trimmed take, in bytes.
    pub used_bytes: u64,
    /// Why the last attempt to use it failed, until one succeeds.
    pub trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Free,
    Live,
    /// Somebody works on it just now.
    Busy,
    /// Writing its header failed: nobody knows what it holds.
    Broken,
}

/// One file of an area.
#[derive(Clone, Debug)]
pub struct Slot {
    pub index: u32,
    pub bytes: u64,
    pub state: Use,
    /// The newest header in it.
    pub header: Option<Header>,
    /// Which of the two copies that is.
    pub page: usize,
    /// This process wrote it. Otherwise that copy may be in the page cache only, and the other one be all that is durable.
    pub ours: bool,
}

#[derive(Debug)]
pub struct Area {
    pub id: u32,
    pub config: AreaConfig,
    pub segment_bytes: u64,
    pub slots: Vec<Slot>,
    pub trouble: Option<String>,
}

/// What can be used next in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Slot(u32),
    /// A file with this index has to be made.
    Create(u32),
    None,
}

const PREFIX: &str = "seg-";

pub fn file_name(index: u32) -> String {
    format!("{PREFIX}{index:08}")
}

pub fn parse_name(name: &str) -> Option<u32> {
    let index = name.strip_prefix(PREFIX)?.parse().ok()?;
    (file_name(index) == name).then_some(index)
}

/// Removes the segments in a directory that is an area of no open journal any more, and the directory where nothing else is in it. One that is not there is
/// as good.
pub fn erase(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| parse_name(name).is_some()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    match std::fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

impl AreaConfig {
    /// An area of this kind.
    pub fn new(kind: AreaKind, dir: impl Into<PathBuf>, bytes: u64) -> Self {
        Self { dir: dir.into(), bytes, kind }
    }

    pub(crate) fn segment_bytes(&self) -> Result<u64, AreaError> {
        if self.bytes < MIN_AREA_BYTES {
            return Err(AreaError::TooSmall { dir: self.dir.clone(), bytes: self.bytes });
        }
        let most = if self.kind == AreaKind::Memory { MEMORY_SEGMENT_BYTES } else { DISK_SEGMENT_BYTES };
        let fitting = (self.bytes / SEGMENTS_AT_LEAST).min(most);
        Ok(fitting - fitting % crate::header::PAGE_BYTES as u64)
    }
}

impl Area {
    pub fn new(id: u32, config: AreaConfig) -> Result<Self, AreaError> {
        let segment_bytes = config.segment_bytes()?;
        Ok(Self { id, config, segment_bytes, slots: Vec::new(), trouble: None })
    }

    pub fn volatile(&self) -> bool {
        self.config.kind == AreaKind::Memory
    }

    pub fn dir(&self) -> &Path {
        &self.config.dir
    }

    pub fn path(&self, index: u32) -> PathBuf {
        self.config.dir.join(file_name(index))
    }

    pub fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.index == index)
    }

    /// The file to use next: a free one, that of the oldest segment first; a new one; none.
    pub fn room(&self) -> Room {
        let fitting = self.slots.iter().filter(|slot| slot.state == Use::Free && slot.bytes == self.segment_bytes);
        let serial = |slot: &&Slot| slot.header.map_or(0, |header| header.segment.serial);
        if let Some(slot) = fitting.min_by_key(serial) {
            return Room::Slot(slot.index);
        }
        if self.held_bytes() + self.segment_bytes > self.config.bytes {
            return Room::None;
        }
        Room::Create(self.slots.iter().map(|slot| slot.index + 1).max().unwrap_or(0))
    }

    pub fn has_room(&self) -> bool {
        self.room() != Room::None
    }

    pub fn held_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.bytes).sum()
    }

    pub fn used_bytes(&self) -> u64 {
        self.slots.iter().filter(|slot| slot.state != Use::Free).map(|slot| slot.bytes).sum()
    }

    /// What records it can hold at the most, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.config.bytes / self.segment_bytes * self.capacity()
    }

    /// What one of its segments can hold, in bytes.
    pub fn capacity(&self) -> u64 {
        self.segment_bytes - DATA_AT
    }

    /// Something in it is in use.
    pub fn is_live(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.state, Use::Live | Use::Busy))
    }

    /// A file is there that can be used at once.
    pub fn has_spare(&self) -> bool {
        matches!(self.room(), Room::Slot(_))
    }

    /// Nothing will use this file as it is.
    pub fn is_misfit(&self, slot: &Slot) -> bool {
        slot.state == Use::Broken || slot.state == Use::Free && slot.bytes != self.segment_bytes
    }

    pub fn slot_id(&self, index: u32) -> SlotId {
        SlotId { area: self.id, index }
    }

    pub fn status(&self) -> AreaStatus {
        AreaStatus {
            dir: self.config.dir.clone(),
            kind: self.config.kind,
            bound_bytes: self.config.bytes,
            held_bytes: self.held_bytes(),
            used_bytes: self.used_bytes(),
            trouble: self.trouble.clone(),
        }
    }
}

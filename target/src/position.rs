//! How far a replica is, on disk: two slots in a small file, written in turn, so that one of them is always whole.
//!
//! The same format serves the position (written with every record; it survives the process in the page cache, and counts
//! in the boot that wrote it only) and the durable position (synced; counts always). R2, R5, R14.
//!
//! The slots are written with `pwrite` and not through a mapping: both survive a `SIGKILL` at any instruction, but a
//! store into a mapping of a full copy-on-write file system kills the process, while `pwrite` says `ENOSPC`.

use protocol::Incarnation;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

/// Begins every slot; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"RFPOS\0\0\x01";
const SLOT_BYTES: usize = 128;
const CRC_AT: usize = SLOT_BYTES - 4;
/// Slots lie in different sectors, so that a power cut tears one of them at most.
const SLOT_AT: [u64; 2] = [0, 2048];
const FILE_BYTES: usize = 4096;

/// A boot of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot([u8; 16]);

impl Boot {
    /// The present one.
    pub fn current() -> io::Result<Self> {
        Ok(Self(platform::sys::boot()?))
    }

    #[cfg(test)]
    pub const OTHER: Self = Self([7; 16]);
}

/// Everything that must outlive the process about a replica's place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub boot: Boot,
    pub incarnation: Incarnation,
    /// Everything up to this is applied.
    pub applied: u64,
    /// The record that was being applied and is not repeatable as it is; zero for none. Always `applied + 1`.
    pub applying: u64,
    /// For a rename being applied: the inodes that the old and the new name had; for something being made: that of what
    /// stood there; for a staging file being placed: its own. Zero for none.
    pub inodes: [u64; 2],
    /// The replica is known to differ from the source until a [`protocol::Mark::Coherent`] with a number above this;
    /// zero for no known damage.
    pub damage: u64,
    /// The replica is a state that the source had.
    pub coherent: bool,
    /// The damage is that the machine lost power, and no other.
    pub power_lost: bool,
    /// The oldest record that asked for durability and may not be durable although those behind it are applied; zero for none.
    pub syncing: u64,
    /// The disk has lost writes that may still be in memory, since the replica was last known to be whole: what is read need not be what the disk has.
    pub lost: bool,
}

impl State {
    /// At the beginning of a run of numbers, with nothing known of the replica.
    pub fn start(boot: Boot, incarnation: Incarnation, applied: u64) -> Self {
        Self {
            boot,
            incarnation,
            applied,
            applying: 0,
            inodes: [0; 2],
            damage: 0,
            coherent: false,
            power_lost: false,
            syncing: 0,
            lost: false,
        }
    }

    /// The same without what only matters while a record is being applied or synced.
    pub fn at_rest(&self) -> Self {
        Self { applying: 0, inodes: [0; 2], syncing: 0, ..*self }
    }

    pub fn encode(&self, generation: u64) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&generation.to_le_bytes());
        out[16..32].copy_from_slice(&self.boot.0);
        out[32..48].copy_from_slice(&self.incarnation.to_bytes());
        let [from, to] = self.inodes;
        let [coherent, power_lost, lost] = [self.coherent, self.power_lost, self.lost].map(u64::from);
        let numbers = [self.applied, self.applying, from, to, self.damage, coherent, power_lost, self.syncing, lost];
        for (place, number) in out[48..CRC_AT].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Self)> {
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&slot[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let id = |at: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&slot[at..at + 16]);
            bytes
        };
        let whole = slot[..8] == MAGIC && crc32c::crc32c(&slot[..CRC_AT]).to_le_bytes() == slot[CRC_AT..];
        whole.then(|| {
            let state = Self {
                boot: Boot(id(16)),
                incarnation: Incarnation::from_bytes(id(32)),
                applied: number(48),
                applying: number(56),
                inodes: [number(64), number(72)],
                damage: number(80),
                coherent: number(88) != 0,
                power_lost: number(96) != 0,
                syncing: number(104),
                lost: number(112) != 0,
            };
            (number(8), state)
        })
    }
}

/// A file of two slots.
#[derive(Debug)]
pub(crate) struct SlotFile {
    file: File,
    generation: u64,
}

impl SlotFile {
    /// Opens `name` in `dir`, making it where it is missing, and reads the newer whole slot; `None` where there is none.
    pub fn open(dir: BorrowedFd<'_>, name: &str) -> io::Result<(Self, Option<State>)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?);
        if file.metadata()?.len() < FILE_BYTES as u64 {
            // All of it now: what is written later needs no new space.
            file.write_all_at(&[0; FILE_BYTES], 0)?;
        }
        let newest = newest(&file)?;
        let generation = newest.map_or(0, |(generation, _)| generation);
        Ok((Self { file, generation }, newest.map(|(_, state)| state)))
    }

    /// The newer whole slot of a file that somebody else may be writing; `None` where there is none. Changes nothing.
    pub fn peek(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<State>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if file.metadata()?.len() < FILE_BYTES as u64 {
            return Ok(None);
        }
        Ok(newest(&file)?.map(|(_, state)| state))
    }

    /// Writes into the older slot. Survives the process, not the machine.
    pub fn store(&mut self, state: &State) -> io::Result<()> {
        let generation = self.generation + 1;
        self.file.write_all_at(&state.encode(generation), SLOT_AT[usize::from(generation % 2 == 1)])?;
        self.generation = generation;
        Ok(())
    }

    /// Writes into the older slot and waits for the disk.
    pub fn store_durably(&mut self, state: &State) -> io::Result<()> {
        self.store(state)?;
        self.file.sync_data()
    }
}

/// The newer whole slot with its generation.
fn newest(file: &File) -> io::Result<Option<(u64, State)>> {
    let mut newest: Option<(u64, State)> = None;
    for at in SLOT_AT {
        let mut slot = [0; SLOT_BYTES];
        file.read_exact_at(&mut slot, at)?;
        if let Some(found) = State::decode(&slot)
            && newest.as_ref().is_none_or(|best| found.0 > best.0)
        {
            newest = Some(found);
        }
    }
    Ok(newest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn state(applied: u64) -> State {
        let mut state = State::start(Boot::OTHER, Incarnation::from_bytes([3; 16]), applied);
        state.applying = applied + 1;
        state.inodes = [11, 12];
        state.damage = 4;
        state.coherent = true;
        state.syncing = 3;
        state.lost = true;
        state
    }

    /// As a program of before `State::lost` wrote it: later ones read it.
    const SAMPLE: &[u8; FILE_BYTES] = include_bytes!("position/sample-v1");

    #[test]
    fn what_an_earlier_program_wrote_is_read() {
        let slots = SLOT_AT.map(|at| State::decode(SAMPLE[usize::try_from(at).unwrap()..].first_chunk().unwrap()));
        let boot = Boot(0x4c78_48a3_ab25_449b_1945_f2cc_e2b3_6632_u128.to_be_bytes());
        let incarnation = Incarnation::from_bytes(0x8ec2_4037_7b67_53bb_886b_5480_e7c6_8ff5_u128.to_be_bytes());
        let of = |applied| State { coherent: true, ..State::start(boot, incarnation, applied) };
        assert_eq!(slots, [Some((20, of(13))), Some((19, of(12)))]);
        // What it did not know it left zero; all else is where it was.
        assert_eq!(of(13).encode(20), SAMPLE[..SLOT_BYTES]);
    }

    #[test]
    fn the_newest_whole_slot_counts_whatever_byte_of_the_other_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        let path = dir.path().join("position");
        let (mut file, none) = SlotFile::open(fd.as_fd(), "position").unwrap();
        assert_eq!(none, None);
        file.store(&state(1)).unwrap();
        file.store(&state(2)).unwrap();
        assert_eq!(SlotFile::open(fd.as_fd(), "position").unwrap().1, Some(state(2)));
        assert_eq!(SlotFile::peek(fd.as_fd(), "position").unwrap(), Some(state(2)));
        assert_eq!(SlotFile::peek(fd.as_fd(), "none").unwrap(), None);
        assert!(!dir.path().join("none").exists(), "a look makes nothing");
        let whole = std::fs::read(&path).unwrap();
        let next = state(3).encode(3);
        for torn_at in 0..SLOT_BYTES {
            let mut bytes = whole.clone();
            let at = usize::try_from(SLOT_AT[1]).unwrap();
            bytes[at..at + torn_at].copy_from_slice(&next[..torn_at]);
            std::fs::write(&path, &bytes).unwrap();
            let found = SlotFile::open(fd.as_fd(), "position").unwrap().1;
            assert_eq!(found, Some(state(2)), "torn after {torn_at} bytes");
        }
    }
}

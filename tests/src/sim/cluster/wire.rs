//! What is on its way to the target, and how it was agreed to be told: programs of either side that know short fronts, blocks and what may be applied beside, or do not.

use super::schedule::Side;
use crate::seed::Random;
use platform::pack::Mode;
use protocol::{BLOCK_HEAD_BYTES, Features};
use std::collections::VecDeque;

/// Which program a side runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// One that offers, and answers with, nothing of what came later.
    #[default]
    Old,
    /// This one.
    New,
    /// The one, and after each end of its daemon the other.
    Changing,
}

impl Program {
    /// Whether it is this one after so many ends.
    pub(super) fn is_new(self, ends: u64) -> bool {
        match self {
            Self::Old => false,
            Self::New => true,
            Self::Changing => ends.is_multiple_of(2),
        }
    }
}

/// How what is sent is told, where both sides know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    /// The source's program.
    pub source: Program,
    /// The target's.
    pub target: Program,
    /// How the source packs.
    pub pack: Mode,
}

impl Wire {
    pub(super) fn of(random: &mut Random) -> Self {
        let mut program = || match random.below(6) {
            0 => Program::Old,
            1 => Program::Changing,
            _ => Program::New,
        };
        let (source, target) = (program(), program());
        // What chooses by itself goes by real time.
        let pack = *random.pick(&[Mode::Off, Mode::Off, Mode::Lz4, Mode::Zstd(1)]);
        Self { source, target, pack }
    }

    pub(super) fn program(&self, side: Side) -> Program {
        if side == Side::Source { self.source } else { self.target }
    }
}

/// What an older target makes of a greeting: it passes over what it does not know.
pub(super) fn known_to_old(offered: Features) -> Features {
    Features::from_bits(offered.bits() & Features::BUSY.bits())
}

/// A part of what is on its way: so many eighths of what was sent at a time, and of the next of those as much of its bytes, which is never all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Eighths, of how many there are.
    pub eighths: usize,
    /// Of 65,536, of its bytes.
    pub within: u16,
}

impl Part {
    /// All of it.
    pub const ALL: Self = Self { eighths: 8, within: 0 };

    pub(super) fn of(random: &mut Random) -> Self {
        let eighths = usize::try_from(random.below(9)).unwrap_or(8);
        Self { eighths, within: u16::try_from(random.bits() >> 48).unwrap_or(0) }
    }
}

/// Bytes on their way, with where each of what was sent at a time ends: how long it is depends on clocks, and where connections are cut must not.
#[derive(Default)]
pub(super) struct Line {
    bytes: VecDeque<u8>,
    sent: VecDeque<Unit>,
}

/// What was sent at a time.
#[derive(Clone, Copy)]
struct Unit {
    /// How much of it is still here.
    left: usize,
    /// What of that may arrive without the rest. Of several frames in a plain block it is little, so that none of them is whole.
    part: usize,
}

impl Line {
    /// A frame, or a block.
    pub fn push(&mut self, bytes: &[u8]) {
        self.push_unit(bytes, bytes.len());
    }

    /// A block that has several frames in it as they are.
    pub fn push_plain(&mut self, bytes: &[u8]) {
        self.push_unit(bytes, BLOCK_HEAD_BYTES);
    }

    fn push_unit(&mut self, bytes: &[u8], part: usize) {
        if !bytes.is_empty() {
            self.bytes.extend(bytes);
            self.sent.push_back(Unit { left: bytes.len(), part });
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes a part.
    pub fn take(&mut self, part: Part) -> Vec<u8> {
        let whole = (self.sent.len() * part.eighths.min(8)) / 8;
        let mut many: usize = self.sent.drain(..whole).map(|unit| unit.left).sum();
        if let Some(unit) = self.sent.front_mut() {
            let some = (unit.part.min(unit.left) * usize::from(part.within)) >> 16;
            unit.left -= some;
            unit.part -= some;
            many += some;
        }
        self.bytes.drain(..many).collect()
    }

    /// Another bit of one of the bytes with which one of those begins. `false`: there is none.
    pub fn flip(&mut self, bits: u64) -> bool {
        let choose = |bits: u64, from: usize| usize::try_from(bits).unwrap_or(0).checked_rem(from);
        let Some(which) = choose(bits >> 16, self.sent.len()) else { return false };
        let begins: usize = self.sent.iter().take(which).map(|unit| unit.left).sum();
        let at = begins + choose((bits >> 3) & 63, self.sent[which].left).unwrap_or(0);
        self.bytes[at] ^= 1 << (bits & 7);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_within_what_was_sent_at_a_time_and_what_is_left_comes_then() {
        let mut line = Line::default();
        for bytes in [&[1u8, 2, 3, 4][..], &[5, 6], &[7, 8, 9]] {
            line.push(bytes);
        }
        let half = Part { eighths: 4, within: 1 << 15 };
        assert_eq!(line.take(half), [1, 2, 3, 4, 5]);
        assert!(line.take(Part { eighths: 0, within: u16::MAX }).is_empty());
        assert!(line.flip(7 << 16 | 1));
        assert_eq!((line.len(), line.take(Part::ALL)), (4, vec![6, 5, 8, 9]));
        assert!(line.is_empty() && !line.flip(0));
    }
}

//! Bytes that are nearly right, from a seed: what a stable build tries where no fuzzer runs.

/// Makes mutations, always the same ones from a seed.
pub struct Mutator {
    state: u64,
}

/// Numbers that borders lie at.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff, 4 << 20, (4 << 20) + 1, u64::MAX];

impl Mutator {
    /// From this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound as u64).max(1)).unwrap_or(0)
    }

    /// `seed` with one to eight changes, some of them from `other`.
    pub fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes, other);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let len = self.below(16) + 1;
        let end = (at + len).min(bytes.len());
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.next().to_le_bytes()[0],
            2 => {
                let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                for (place, byte) in bytes[at..].iter_mut().zip(&edge[..width]) {
                    *place = *byte;
                }
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let twice = bytes[at..end].to_vec();
                bytes.splice(at..at, twice);
            }
            6 if !other.is_empty() => {
                let from = self.below(other.len());
                let to = (from + len * 4).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let fresh = self.next().to_le_bytes();
                bytes.splice(at..at, fresh[..len.min(8)].iter().copied());
            }
        }
        bytes.truncate(1 << 16);
    }
}

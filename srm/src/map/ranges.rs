//! Parts of a file: sorted, apart from each other, bounded in number (S3).

use std::ops::Range;

/// Ranges that lie nearer than this are one. What every path carries in one packet of QUIC (RFC 9000, 14): a record of its own for
/// what comes behind the gap would take the packet that the gap takes.
pub const PACKET_BYTES: u64 = 1200;
/// More ranges than this are merged where they lie nearest.
const MOST: usize = 1024;

/// Sorted ranges with gaps of at least `near` bytes between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    list: Vec<Range<u64>>,
    near: u64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self::with_packets(PACKET_BYTES)
    }
}

impl Ranges {
    /// No ranges yet; those that lie nearer than a packet of so many bytes will be one.
    pub fn with_packets(bytes: u64) -> Self {
        Self { list: Vec::new(), near: bytes }
    }

    /// Adds a range; an empty one changes nothing.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let near = self.near;
        let first = self.list.partition_point(|old| old.end.saturating_add(near) <= range.start);
        let last = self.list.partition_point(|old| old.start < range.end.saturating_add(near));
        let merged =
            self.list[first..last].iter().fold(range, |all, old| all.start.min(old.start)..all.end.max(old.end));
        self.list.splice(first..last, [merged]);
        while self.list.len() > MOST {
            self.widen();
        }
    }

    /// Adds all of another.
    pub fn add_all(&mut self, other: &Self) {
        for range in &other.list {
            self.add(range.clone());
        }
    }

    /// Gaps count as small up to twice the size.
    fn widen(&mut self) {
        self.near = self.near.saturating_mul(2);
        for range in std::mem::take(&mut self.list) {
            self.add(range);
        }
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.list.iter().cloned()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(packet: u64, list: &[Range<u64>]) -> Ranges {
        let mut ranges = Ranges::with_packets(packet);
        for range in list {
            ranges.add(range.clone());
        }
        ranges
    }

    /// The two vectors of S3: (20,+40) and (40,+60) give (20,+80); (20,+40) and (1040,+60) with packets of 512 stay two.
    #[test]
    fn overlapping_and_near_ranges_merge_and_far_ones_do_not() {
        let list = |ranges: &Ranges| ranges.iter().map(|range| (range.start, range.end)).collect::<Vec<_>>();
        for packet in [0, 1, 512, PACKET_BYTES] {
            assert_eq!(list(&of(packet, &[20..60, 40..100])), [(20, 100)], "packets of {packet}");
        }
        assert_eq!(list(&of(512, &[20..60, 1040..1100])), [(20, 60), (1040, 1100)]);
        assert_eq!(list(&of(512, &[1040..1100, 20..60, 500..600])), [(20, 1100)]);
    }

    #[test]
    fn a_gap_of_a_packet_is_kept_and_a_smaller_one_is_not() {
        for packet in [512, PACKET_BYTES] {
            assert_eq!(of(packet, &[0..10, 10 + packet..20 + packet]).len(), 2);
            assert_eq!(of(packet, &[0..10, 9 + packet..20 + packet]).len(), 1);
        }
    }

    proptest! {
        #[test]
        fn whatever_was_added_is_covered_within_the_bound(list in prop::collection::vec((0..1_u64 << 40, 1..1_u64 << 20), 0..3000)) {
            let mut ranges = Ranges::default();
            for (start, len) in &list {
                ranges.add(*start..start + len);
            }
            prop_assert!(ranges.len() <= MOST);
            let all: Vec<_> = ranges.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].end + PACKET_BYTES <= pair[1].start));
            for (start, len) in list {
                prop_assert!(all.iter().any(|range| range.start <= start && start + len <= range.end));
            }
        }
    }
}

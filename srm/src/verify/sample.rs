//! Which files are in a sample: by chance, another choice each time, and the same for all names of a file.

/// Whether the content of the file with this inode number is compared in this verification. `percent` is 1 to 100.
pub(super) fn takes(percent: u8, number: u64, ino: u64) -> bool {
    // SplitMix64: every bit of the input moves every bit of the output.
    let mut z = ino.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % 100 < u64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn a_sample_has_its_share_and_changes_from_time_to_time() {
        for percent in [1, 10, 50] {
            let chosen = |number| (0..100_000).filter(|ino| takes(percent, number, *ino)).count();
            let expected = usize::from(percent) * 1000;
            assert!(chosen(1).abs_diff(expected) < expected / 5 + 100, "{percent}: {}", chosen(1));
        }
        let both = (0..100_000).filter(|ino| takes(10, 1, *ino) && takes(10, 2, *ino)).count();
        assert!((500..1500).contains(&both), "a tenth of a tenth, by chance: {both}");
        assert!((0..10_000).all(|ino| takes(100, 7, ino)));
    }
}

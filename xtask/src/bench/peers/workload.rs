//! The reference workloads W1 to W9 at their full size: what one unit of a case is beside peers.

use crate::bench::case::Case;

/// Cases, what their times and counts are multiplied by for the size that the reference has, and that size. W5 and W9 are counted as
/// they are ([`crate::bench::case::Place::counted`]).
const SIZES: [(&str, f64, &str); 9] = [
    ("W1-write-fsync", 4.0, "1 GiB"),
    ("W2-rand-write-fsync", 12.5, "10 s"),
    ("W3-write-4K-fdatasync", 50.0, "10 s"),
    ("W4-create-4K", 5.0, "10,000 files"),
    ("W5-untar", 1.0, "20,000 files"),
    ("W6-sqlite-wal", 10.0, "10,000 transactions"),
    ("W7-pgbench", 1.0, "15 s"),
    ("W8-rename-unlink", 5.0, "10,000 renames"),
    ("W9-append-100B", 1.0, "50,000 appends"),
];

/// The scale of a case for its reference size, and that size; `None`: it is not one of them.
pub fn reference(case: &Case) -> Option<(f64, &'static str)> {
    SIZES.iter().find(|(name, ..)| *name == case.name).map(|(_, scale, size)| (*scale, *size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases;

    #[test]
    fn each_workload_is_a_case() {
        let cases = cases::all();
        for (name, ..) in SIZES {
            // W7 is there where PostgreSQL is.
            assert!(cases.iter().any(|case| case.name == name) || name.starts_with("W7"), "{name}");
        }
        assert_eq!(
            cases.iter().filter(|case| case.name.starts_with('W')).count(),
            cases.iter().filter_map(reference).count()
        );
    }
}

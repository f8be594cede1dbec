//! What is promised beside bare QUIC (issue 8), and whether what was measured keeps it. Nothing is measured here.

use serde::Serialize;

/// What is measured together, on mounts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Stream,
    Answer,
    Writers,
    Lag,
    Wan,
    Processor,
}

/// In what way replfs is to be compared with what it is beside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Promise {
    /// At least such a part of its speed.
    AtLeast(f64),
    /// At most so many times its time.
    AtMost(f64),
    /// None: what it is, is told.
    Nothing,
}

/// What a speed counts, in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Bytes,
    Operations,
    /// One after the other: the speed is one by the time of one.
    Answers,
    /// Bytes for each second of processor time.
    Worked,
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    pub name: &'static str,
    pub group: Group,
    /// replfs, beside what.
    pub about: &'static str,
    pub unit: Unit,
    pub promise: Promise,
}

impl Floor {
    /// What is told and held to the promise, of the speed of replfs as a multiple of that of what it is beside: of answers how many times
    /// the time they take.
    pub fn ratio(&self, speed: f64) -> f64 {
        if self.unit == Unit::Answers { 1.0 / speed } else { speed }
    }
}

impl Promise {
    /// Whether that is kept; `None` where nothing is promised.
    pub fn is_kept(self, ratio: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(ratio >= bound),
            Self::AtMost(bound) => Some(ratio <= bound),
            Self::Nothing => None,
        }
    }
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
            Self::Nothing => Ok(()),
        }
    }
}

const fn floor(name: &'static str, group: Group, about: &'static str, unit: Unit, promise: Promise) -> Floor {
    Floor { name, group, about, unit, promise }
}

const fn processor(name: &'static str, about: &'static str) -> Floor {
    floor(name, Group::Processor, about, Unit::Worked, Promise::Nothing)
}

/// All, in the order in which they are measured.
pub const FLOORS: [Floor; 18] = [
    floor(
        "stream",
        Group::Stream,
        "`real`, 1 MiB writes until the target has applied all, beside a bare stream into a file",
        Unit::Bytes,
        Promise::AtLeast(0.8),
    ),
    floor(
        "stream-discard",
        Group::Stream,
        "the same beside a bare stream that is read and forgotten",
        Unit::Bytes,
        Promise::Nothing,
    ),
    floor(
        "sync-4k",
        Group::Answer,
        "`sync`, one writer, the median 4 KiB write, beside a bare question of 4 KiB and its answer",
        Unit::Answers,
        Promise::AtMost(3.0),
    ),
    floor(
        "sync-16",
        Group::Writers,
        "`sync`, 4 KiB writes, 16 writers with a file each, beside one",
        Unit::Operations,
        Promise::AtLeast(3.0),
    ),
    floor("sync-64", Group::Writers, "the same with 64 writers", Unit::Operations, Promise::AtLeast(3.0)),
    floor(
        "lag-p50",
        Group::Lag,
        "`real`, writes of 4 to 256 KiB at 20 MB/s, until the target has applied one, the median, beside a bare question of 4 KiB and its answer",
        Unit::Answers,
        Promise::AtMost(5.0),
    ),
    floor(
        "lag-p99",
        Group::Lag,
        "the same, one in a hundred is longer, beside the median of the bare ones",
        Unit::Answers,
        Promise::AtMost(50.0),
    ),
    floor(
        "lag-equal-p50",
        Group::Lag,
        "the median, beside a bare question of the same sizes at the same rate",
        Unit::Answers,
        Promise::Nothing,
    ),
    floor(
        "lag-equal-p99",
        Group::Lag,
        "one in a hundred is longer, beside the median of such",
        Unit::Answers,
        Promise::Nothing,
    ),
    floor(
        "wan",
        Group::Wan,
        "first mirror of four large files with four lanes, 50 ms there and back, 100 Mbit/s, 0.1 % lost, beside four bare connections",
        Unit::Bytes,
        Promise::AtLeast(0.8),
    ),
    processor("cpu-1M-off", "1 MiB writes, `--compress off`"),
    processor("cpu-4K-off", "4 KiB writes, `--compress off`"),
    processor("cpu-1M-auto", "1 MiB writes of text, `--compress auto`"),
    processor("cpu-4K-auto", "4 KiB writes of text, `--compress auto`"),
    processor("cpu-1M-lz4", "1 MiB writes of text, `--compress lz4`"),
    processor("cpu-4K-lz4", "4 KiB writes of text, `--compress lz4`"),
    processor("cpu-1M-zstd:1", "1 MiB writes of text, `--compress zstd:1`"),
    processor("cpu-4K-zstd:1", "4 KiB writes of text, `--compress zstd:1`"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_itself_is_kept() {
        assert_eq!(Promise::AtLeast(0.8).is_kept(0.8), Some(true));
        assert_eq!(Promise::AtLeast(0.8).is_kept(0.79), Some(false));
        assert_eq!(Promise::AtMost(3.0).is_kept(3.0), Some(true));
        assert_eq!(Promise::AtMost(3.0).is_kept(3.01), Some(false));
        assert_eq!(Promise::Nothing.is_kept(0.0), None);
        assert_eq!(Promise::AtMost(3.0).is_kept(f64::NAN), Some(false));
        assert_eq!(Promise::AtLeast(3.0).is_kept(f64::NAN), Some(false));
    }

    #[test]
    #[allow(clippy::float_cmp)] // exact by construction
    fn of_answers_the_time_counts_and_of_all_else_the_speed() {
        for floor in &FLOORS {
            let is_time = floor.unit == Unit::Answers;
            assert_eq!(floor.ratio(0.25), if is_time { 4.0 } else { 0.25 }, "{}", floor.name);
            match floor.promise {
                Promise::AtMost(_) => assert!(is_time, "{}: a time is promised, and the speed told", floor.name),
                Promise::AtLeast(_) => assert!(!is_time, "{}: a speed is promised, and the time told", floor.name),
                Promise::Nothing => {}
            }
        }
    }

    #[test]
    fn no_two_have_a_name() {
        let names: std::collections::BTreeSet<&str> = FLOORS.iter().map(|floor| floor.name).collect();
        assert_eq!(names.len(), FLOORS.len());
    }
}

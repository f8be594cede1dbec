//! How numbers are shown to people: bytes, times, operations by kind; and the lines they are in.

use std::collections::BTreeMap;

/// Kinds of operations shown; the rest is in the JSON document.
const MOST_KINDS: usize = 8;

/// Writing to a string does not fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _ = writeln!($out, $($arg)*); }};
}
pub(super) use line;

/// All operations together.
pub(super) fn total(operations: &BTreeMap<String, u64>) -> u64 {
    operations.values().sum()
}

/// The most frequent kinds: `: write 7, create 2`; nothing where there are none.
pub(super) fn kinds(operations: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = operations.iter().filter(|(_, count)| **count > 0).collect();
    sorted.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), (*word).clone()));
    let mut shown: Vec<String> =
        sorted.iter().take(MOST_KINDS).map(|(word, count)| format!("{word} {count}")).collect();
    if sorted.len() > MOST_KINDS {
        shown.push("...".to_owned());
    }
    if shown.is_empty() { String::new() } else { format!(": {}", shown.join(", ")) }
}

/// A number of bytes with a unit.
#[allow(clippy::cast_precision_loss)] // one digit behind the point is shown
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time in milliseconds: seconds, or hours, minutes and seconds once there is a minute.
pub fn millis(millis: u64) -> String {
    let secs = millis / 1000;
    if secs < 60 {
        return format!("{secs}.{} s", millis % 1000 / 100);
    }
    format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_that_fit() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
        for (count, text) in [(0, "0.0 s"), (1_950, "1.9 s"), (59_999, "59.9 s"), (60_000, "0:01:00")] {
            assert_eq!(millis(count), text, "{count}");
        }
    }

    #[test]
    fn only_the_most_frequent_kinds_are_shown() {
        let many: BTreeMap<String, u64> = (1..=12).map(|n| (format!("kind{n:02}"), n)).collect();
        let text = kinds(&many);
        assert!(text.starts_with(": kind12 12, kind11 11") && text.ends_with(", ..."), "{text}");
        assert_eq!(kinds(&BTreeMap::from([("write".to_owned(), 0)])), "");
    }
}

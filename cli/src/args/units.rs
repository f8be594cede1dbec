//! Sizes and durations as people write them.

use std::path::PathBuf;
use std::time::Duration;

/// Longest duration that is accepted: it must be possible to add it to a point in time.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A size in bytes: a whole number, with `KiB`, `MiB`, `GiB` or `TiB` (or their first letter) behind it. As in the rules of a set.
pub fn size(text: &str) -> Result<u64, String> {
    srm::set::parse_size(text)
}

/// A size of blocks: a power of two from 512 bytes to 1 MiB.
pub fn block_size(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    match u32::try_from(bytes) {
        Ok(block) if block.is_power_of_two() && (512..=1 << 20).contains(&block) => Ok(block),
        _ => Err(format!("block size '{text}' does not serve; give a power of two from 512 to 1MiB, such as 16KiB")),
    }
}

/// The least that a part of the journal holds, in bytes: a few of the largest records.
const LEAST_JOURNAL: u64 = 8 << 20;

/// A size of a part of the journal: none, or enough.
pub fn journal_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes == 0 || bytes >= LEAST_JOURNAL => Ok(bytes),
        _ => Err(format!("journal size '{text}' is too small; give 0, or at least 8MiB")),
    }
}

/// A directory for the journal with its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalArea {
    /// The directory.
    pub dir: PathBuf,
    /// In bytes.
    pub bytes: u64,
}

/// `DIR:SIZE`.
pub fn journal_area(text: &str) -> Result<JournalArea, String> {
    let (dir, bytes) = text.rsplit_once(':').ok_or_else(|| format!("'{text}' has no size; write DIR:SIZE"))?;
    match journal_size(bytes)? {
        _ if dir.is_empty() => Err(format!("'{text}' has no directory; write DIR:SIZE")),
        0 => Err(format!("'{text}' holds nothing; give at least 8MiB")),
        bytes => Ok(JournalArea { dir: dir.into(), bytes }),
    }
}

/// A duration: a whole number with `ms`, `s`, `m`, `h` or `d` behind it; without a unit it is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a duration; write a number with ms, s, m or h, such as 500ms or 5s");
    let (number, unit) = split(text).ok_or_else(bad)?;
    let millis_each = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(bad()),
    };
    number
        .checked_mul(millis_each)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| format!("duration '{text}' is too long; at most 366d"))
}

/// A time after which something is given up, where it ever is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(pub Option<Duration>);

/// A duration, or `none`.
pub fn bound(text: &str) -> Result<Bound, String> {
    if text == "none" { Ok(Bound(None)) } else { duration(text).map(Some).map(Bound) }
}

/// A duration after which something is done again: not none.
pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("'{text}' is no time to wait; give at least 1ms, such as 7d")),
        interval => Ok(interval),
    }
}

/// Bytes in a second, where they are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

/// A rate: a size, with `/s` behind it or without; a number alone is MiB; `none` is no bound.
pub fn rate(text: &str) -> Result<Rate, String> {
    let each = text.strip_suffix("/s").unwrap_or(text).trim_end();
    if each == "none" {
        return Ok(Rate(None));
    }
    let bytes = match each.parse::<u64>() {
        Ok(number) => number.checked_mul(1 << 20).ok_or_else(|| format!("rate '{text}' is too large"))?,
        Err(_) => size(each)?,
    };
    if bytes == 0 {
        Err(format!("rate '{text}' is none; give a size such as 10MiB, or none for no bound"))
    } else {
        Ok(Rate(Some(bytes)))
    }
}

/// A percentage from 1 to 100, with `%` behind it or without.
pub fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<u8>();
    match number {
        Ok(number) if (1..=100).contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is not a percentage; give a whole number from 1 to 100, such as 10%")),
    }
}

/// A time of day: `HH:MM-HH:MM`, as minutes of the day; the second may be that of the next day.
pub fn window(text: &str) -> Option<(u32, u32)> {
    let minute = |clock: &str| {
        let (hours, minutes) = clock.split_once(':')?;
        let (hours, minutes): (u32, u32) = (hours.trim().parse().ok()?, minutes.trim().parse().ok()?);
        (hours < 24 && minutes < 60 || hours == 24 && minutes == 0).then_some(hours * 60 + minutes)
    };
    let (from, to) = text.split_once('-')?;
    Some((minute(from)?, minute(to)?)).filter(|(from, to)| from != to)
}

/// Such a time of day as it is written.
pub fn clock((from, to): (u32, u32)) -> String {
    format!("{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
}

/// Digits and what follows them.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_powers_of_two_within_bounds() {
        assert_eq!(block_size("512"), Ok(512));
        assert_eq!(block_size("1MiB"), Ok(1 << 20));
        for wrong in ["0", "256", "513", "2MiB", "8GiB", "x"] {
            assert!(block_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_of_the_journal_are_not_too_small() {
        assert_eq!((journal_size("0"), journal_size("64MiB")), (Ok(0), Ok(64 << 20)));
        assert!(journal_size("1MiB").unwrap_err().contains("8MiB"));
        let area = journal_area("/var/spool/a:b:2GiB").unwrap();
        assert_eq!((area.dir, area.bytes), ("/var/spool/a:b".into(), 2 << 30));
        for wrong in ["/var/spool", ":1GiB", "/x:0", "/x:1k", "/x:"] {
            assert!(journal_area(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_sizes_in_a_second() {
        for (text, bytes) in [("10", 10 << 20), ("10MiB/s", 10 << 20), ("4k", 4096), ("512B/s", 512)] {
            assert_eq!(rate(text), Ok(Rate(Some(bytes))), "{text}");
        }
        assert_eq!(rate("none"), Ok(Rate(None)));
        for wrong in ["0", "0B", "fast", "-1", "99999999999999999"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_are_whole_numbers_up_to_a_hundred() {
        assert_eq!((percent("1%"), percent("100"), percent("10 %")), (Ok(1), Ok(100), Ok(10)));
        for wrong in ["0", "101", "1.5%", "", "%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
        assert!(interval("0s").is_err() && interval("7d") == Ok(Duration::from_secs(7 * 24 * 3600)));
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("512B", 512),
            ("4KiB", 4096),
            ("4k", 4096),
            ("256MiB", 256 << 20),
            ("256 MiB", 256 << 20),
            ("2GiB", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "MiB", "-1", "1.5GiB", "1MB", "1 M i B", "1MiBs"] {
            assert!(size(text).unwrap_err().contains("256MiB"), "{text}");
        }
        assert!(size("99999999TiB").unwrap_err().contains("too large"));
        assert!(size("99999999999999999999").is_err());
    }

    #[test]
    fn durations_have_units_of_time() {
        for (text, millis) in [
            ("0", 0),
            ("500ms", 500),
            ("5s", 5000),
            ("5", 5000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "s", "-5s", "1.5s", "5 weeks", "5S"] {
            assert!(duration(text).unwrap_err().contains("500ms"), "{text}");
        }
        assert!(duration("367d").unwrap_err().contains("too long"));
        assert!(duration("18446744073709551615h").unwrap_err().contains("too long"));
    }
}

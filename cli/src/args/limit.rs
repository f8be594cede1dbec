//! How fast a mount may send (S4): as it is written for the mount and for `replfs limit`.

use super::{StateArgs, units};
use clap::Args;
use serde::{Deserialize, Serialize};
use srm::sending::is_within;
use std::ffi::OsString;
use std::fmt;

/// Less would keep greetings and heartbeats waiting.
const LEAST: u64 = 16 << 10;

/// A rate, and when it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// From one minute of the day up to another one, which may be that of the next day; `None`: whenever no other one holds.
    pub window: Option<(u32, u32)>,
    /// Bytes per second; `None`: no bound.
    pub rate: Option<u64>,
}

impl Limit {
    /// Whether it holds at this minute of the day.
    pub fn holds(&self, minute: u32) -> bool {
        self.window.is_none_or(|window| is_within(window, minute))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(window) = self.window {
            write!(f, "{}=", units::clock(window))?;
        }
        match self.rate {
            None => f.write_str("none"),
            Some(rate) => write!(f, "{}/s", crate::status::units::bytes(rate)),
        }
    }
}

/// `[HH:MM-HH:MM=]RATE`.
pub fn limit(text: &str) -> Result<Limit, String> {
    let (window, rate) = match text.split_once('=') {
        Some((window, rate)) => (Some(self::window(window, text)?), rate),
        None => (None, text),
    };
    match units::rate(rate)?.0 {
        Some(bytes) if bytes < LEAST => Err(format!("limit '{text}' is too low; give at least 16KiB, or none")),
        rate => Ok(Limit { window, rate }),
    }
}

fn window(text: &str, whole: &str) -> Result<(u32, u32), String> {
    units::window(text)
        .ok_or_else(|| format!("limit '{whole}' has no time of day that can be read; write it as in 08:00-18:00=2MiB"))
}

/// `replfs limit`.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Where the source is mounted, or its NAME
    pub mnt: OsString,
    /// How fast it may send from now on, in a second, by all its connections together: a size (a number alone is MiB), or none; with
    /// HH:MM-HH:MM= before it only at that time of day, on this machine's clock. All of them replace all that held before
    /// [default: show what holds]
    #[arg(value_name = "[HH:MM-HH:MM=]RATE", value_parser = limit)]
    pub limits: Vec<Limit>,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_may_hold_at_a_time_of_day() {
        let night = limit("22:30-6:00=none").unwrap();
        assert_eq!(night, Limit { window: Some((22 * 60 + 30, 360)), rate: None });
        assert!(night.holds(0) && night.holds(23 * 60) && !night.holds(360) && !night.holds(22 * 60));
        let day = limit("08:00-24:00=2MiB/s").unwrap();
        assert!(day.holds(480) && day.holds(24 * 60 - 1) && !day.holds(479));
        assert_eq!((night.to_string(), day.to_string()), ("22:30-06:00=none".into(), "08:00-24:00=2.0 MiB/s".into()));
        assert_eq!(limit("10").unwrap(), Limit { window: None, rate: Some(10 << 20) });
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for wrong in
            ["8-18=1MiB", "08:00=1MiB", "25:00-26:00=1", "08:61-09:00=1", "08:00-08:00=1", "=1", "1KiB", "fast"]
        {
            assert!(limit(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}

//! When a mount sends what is queued (S4): as it is written for the mount and for `replfs send`.

use super::{StateArgs, units};
use crate::control::millis;
use clap::Args;
use srm::sending::Rule;
use std::ffi::OsString;

/// `now`, `size=SIZE`, `age=TIME` or `HH:MM-HH:MM`.
pub fn rule(text: &str) -> Result<Rule, String> {
    match text.split_once('=') {
        None if text == "now" => Ok(Rule::Now),
        None => units::window(text)
            .map(|(from, to)| Rule::Window(from, to))
            .ok_or_else(|| format!("'{text}' does not say when to send; write now, size=64MiB, age=5m or 22:00-06:00")),
        Some(("size", size)) => match units::size(size)? {
            0 => Err(format!("'{text}' holds nothing; write now for that, or a size such as size=64MiB")),
            bytes => Ok(Rule::SizeBytes(bytes)),
        },
        Some(("age", age)) => units::interval(age).map(|age| Rule::AgeMs(millis(age))),
        Some((word, _)) => Err(format!("'{text}': '{word}' lets go of nothing; write size=SIZE or age=TIME")),
    }
}

/// A rule as it is written.
pub fn shown(rule: Rule) -> String {
    use crate::status::units::{bytes, millis};
    match rule {
        Rule::Now => "now".to_owned(),
        Rule::SizeBytes(size) => format!("size={}", bytes(size)),
        Rule::AgeMs(age) => format!("age={}", millis(age)),
        Rule::Window(from, to) => units::clock((from, to)),
    }
}

/// `replfs send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Where the source is mounted, or its NAME
    pub mnt: OsString,
    /// When what changes is sent from now on: now, at once, and with it all that is held; size=SIZE, once so many bytes are queued; age=TIME, once the
    /// oldest of it is so old; HH:MM-HH:MM, at that time of day, on this machine's clock, and nothing at another one. Of several rules each
    /// lets go. All of them replace all that held before ('replfs sync' sends what is held and leaves the rules as they are)
    /// [default: show what holds, and what is held]
    #[arg(value_name = "RULE", value_parser = rule)]
    pub rules: Vec<Rule>,
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
    fn each_kind_of_rule_is_read_and_shown() {
        for (text, read, again) in [
            ("now", Rule::Now, "now"),
            ("size=64MiB", Rule::SizeBytes(64 << 20), "size=64.0 MiB"),
            ("size=1000", Rule::SizeBytes(1000), "size=1000 B"),
            ("age=5m", Rule::AgeMs(300_000), "age=0:05:00"),
            ("age=2", Rule::AgeMs(2000), "age=2.0 s"),
            ("22:30-6:00", Rule::Window(22 * 60 + 30, 360), "22:30-06:00"),
            ("08:00-24:00", Rule::Window(480, 1440), "08:00-24:00"),
        ] {
            assert_eq!(rule(text), Ok(read), "{text}");
            assert_eq!(shown(read), again);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for wrong in
            ["", "later", "8-18", "25:00-26:00", "08:00-08:00", "size=0", "size=many", "age=0s", "age=soon", "speed=3"]
        {
            let told = rule(wrong).unwrap_err();
            let value = wrong.rsplit('=').next().unwrap();
            assert!(told.contains(value), "{wrong}: {told}");
        }
    }
}

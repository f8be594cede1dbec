//! What stands in a line of progress. Pure.

use super::State;
use super::meter::Pace;
use crate::status::units::{bytes, millis};
use std::fmt::Write as _;
use std::time::Duration;

/// A terminal narrower than this has no bar, ...
const ROOM_FOR_BAR: usize = 60;
/// ... and one narrower than this a short line.
const ROOM_FOR_ALL: usize = 120;

/// The line for a terminal with so many columns, cut where it is too long.
pub(super) fn bar_line(state: &State, pace: &Pace, columns: usize) -> String {
    let wide = columns >= ROOM_FOR_ALL;
    let mut line = String::new();
    if columns >= ROOM_FOR_BAR {
        let bar = if wide { 20 } else { 10 };
        let full = usize::from(state.percent()) * bar / 100;
        let _ = write!(line, "[{}{}] ", "#".repeat(full), "-".repeat(bar - full));
    }
    line.push_str(&if wide { plain_line(state, pace) } else { short_line(state, pace) });
    // One column less: a full line would move to the next.
    line.chars().take(columns.saturating_sub(1)).collect()
}

fn short_line(state: &State, pace: &Pace) -> String {
    let mut line = format!("{:>2} % {} {}/s", state.percent(), amounts(state), bytes(pace.bytes));
    if let Some(left) = pace.left {
        let _ = write!(line, " {} left", time(left));
    }
    if state.scanning {
        line.push_str(" scanning");
    }
    line + &trouble(state)
}

/// The line for anything else.
pub(super) fn plain_line(state: &State, pace: &Pace) -> String {
    let mut line = format!("{} {:>2} %", state.phase, state.percent());
    // Writing to a string does not fail.
    let _ = write!(line, ", {}, {}/s, {} files/s", amounts(state), bytes(pace.bytes), pace.files);
    if let Some(left) = pace.left {
        let _ = write!(line, ", {} left", time(left));
    }
    if state.scanning {
        let _ = write!(line, ", scanning, {} found", state.files_total);
    }
    line + &trouble(state)
}

/// The line that stays at the end.
pub(super) fn last_line(state: &State, elapsed: Duration) -> String {
    let (done, all) = state.work();
    let share = if done >= all && !state.scanning && state.errors == 0 { 100 } else { state.percent() };
    format!("{} {share} %, {} in {}{}", state.phase, amounts(state), time(elapsed), trouble(state))
}

fn time(time: Duration) -> String {
    millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn amounts(state: &State) -> String {
    let total = |done: u64, total: u64| total.max(done);
    format!(
        "{}/{} files, {} of {}",
        state.files_done,
        total(state.files_done, state.files_total),
        bytes(state.bytes_done),
        bytes(total(state.bytes_done, state.bytes_total))
    )
}

fn trouble(state: &State) -> String {
    let mut text = String::new();
    if state.aside > 0 {
        let _ = write!(text, ", {} set aside", state.aside);
    }
    if state.errors > 0 {
        let _ = write!(text, ", {} error{}", state.errors, if state.errors == 1 { "" } else { "s" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(done: u64, total: u64) -> State {
        State {
            phase: "restoring".to_owned(),
            files_done: done,
            files_total: total,
            bytes_done: done << 20,
            bytes_total: total << 20,
            ..State::default()
        }
    }

    #[test]
    fn the_share_never_says_the_end_before_it_and_never_passes_it() {
        assert_eq!(state(0, 0).percent(), 0, "nothing is known");
        assert_eq!(state(1, 2).percent(), 50);
        assert_eq!(state(999, 1000).percent(), 99);
        assert_eq!(state(1000, 1000).percent(), 99, "it still runs");
        assert_eq!(state(3, 2).percent(), 99, "more was done than was found");
        assert_eq!(state(u64::MAX >> 20, 1).percent(), 99);
        assert!(
            last_line(&state(2, 2), Duration::ZERO).starts_with("restoring 100 %, 2/2 files, 2.0 MiB of 2.0 MiB in")
        );
        assert!(last_line(&state(1, 2), Duration::ZERO).starts_with("restoring 50 %"));
        assert!(last_line(&State { errors: 1, ..state(2, 2) }, Duration::ZERO).starts_with("restoring 99 %"));
        assert!(last_line(&state(0, 0), Duration::ZERO).starts_with("restoring 100 %, 0/0"), "of nothing all is done");
        assert!(plain_line(&state(3, 2), &Pace::default()).contains("3/3 files, 3.0 MiB of 3.0 MiB"));
    }

    #[test]
    fn a_line_has_rate_rest_scan_and_trouble() {
        let pace = Pace { bytes: 3 << 20, files: 12, left: Some(Duration::from_secs(83)) };
        let line = plain_line(&State { aside: 2, errors: 1, ..state(1, 4) }, &pace);
        assert_eq!(
            line,
            "restoring 25 %, 1/4 files, 1.0 MiB of 4.0 MiB, 3.0 MiB/s, 12 files/s, 0:01:23 left, 2 set aside, 1 error"
        );
        let line = plain_line(&State { scanning: true, ..state(1, 4) }, &Pace { left: None, ..pace });
        assert!(line.ends_with("12 files/s, scanning, 4 found"), "{line}");
    }

    #[test]
    fn a_bar_fits_its_terminal() {
        let line = bar_line(&state(1, 2), &Pace::default(), 200);
        assert!(line.starts_with("[##########----------] restoring 50 %"), "{line}");
        let line = bar_line(&State { scanning: true, ..state(1, 2) }, &Pace::default(), 80);
        assert_eq!(line, "[#####-----] 50 % 1/2 files, 1.0 MiB of 2.0 MiB 0 B/s scanning");
        for columns in [0, 1, 20, 59, 60, 80] {
            assert!(bar_line(&state(1, 2), &Pace::default(), columns).chars().count() <= columns);
        }
        assert!(bar_line(&state(1, 2), &Pace::default(), 59).starts_with("50 %"));
    }
}

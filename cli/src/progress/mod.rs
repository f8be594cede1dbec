//! Showing how far something long is: a line that is drawn anew on a terminal, plain lines elsewhere. Thin: what stands in
//! a line is `text`'s, how fast it goes `meter`'s.

mod meter;
mod state;
mod text;

pub use state::State;

use meter::Meter;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a terminal's line is drawn anew, at most.
const REDRAW: Duration = Duration::from_millis(200);
/// How often a line is written elsewhere.
const PLAIN: Duration = Duration::from_secs(5);
/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// A display of one thing.
#[derive(Debug)]
pub struct Progress {
    out: io::Stderr,
    terminal: bool,
    begun: Instant,
    /// When something was last written. Elsewhere than on a terminal the first line comes after the first interval:
    /// what is soon over says nothing but its last line.
    written: Option<Instant>,
    noted: Option<Instant>,
    meter: Meter,
}

impl Progress {
    /// A display on standard error that has shown nothing yet.
    pub fn new(out: io::Stderr) -> Self {
        let terminal = out.is_terminal();
        Self { out, terminal, begun: Instant::now(), written: None, noted: None, meter: Meter::default() }
    }

    /// Shows how far it is, unless that was shown a moment ago. May be called as often as one likes.
    pub fn update(&mut self, state: &State) {
        let now = Instant::now();
        // The pace is that of the last while, however seldom a line is written.
        if self.noted.is_none_or(|noted| now.duration_since(noted) >= REDRAW) {
            self.noted = Some(now);
            self.meter.note(now.duration_since(self.begun), state);
        }
        let (since, interval) =
            if self.terminal { (self.written, REDRAW) } else { (self.written.or(Some(self.begun)), PLAIN) };
        if since.is_some_and(|since| now.duration_since(since) < interval) {
            return;
        }
        self.written = Some(now);
        let pace = self.meter.pace(state);
        if self.terminal {
            let line = text::bar_line(state, &pace, self.columns());
            // Back to the beginning, the line, and what is left of a longer one cleared. That nobody reads it stops nothing.
            let _ = write!(self.out, "\r{line}\x1b[K").and_then(|()| self.out.flush());
        } else {
            let _ = writeln!(self.out, "{}", text::plain_line(state, &pace));
        }
    }

    /// Shows how it ended, on a line that stays.
    pub fn finish(&mut self, state: &State) {
        let elapsed = self.begun.elapsed();
        let line = text::last_line(state, elapsed);
        let _ = if self.terminal { writeln!(self.out, "\r{line}\x1b[K") } else { writeln!(self.out, "{line}") };
    }

    fn columns(&self) -> usize {
        rustix::termios::tcgetwinsize(&self.out).map_or(COLUMNS, |size| match size.ws_col {
            0 => COLUMNS,
            columns => columns.into(),
        })
    }
}

//! Standard output, which may be closed by whoever reads it, and standard error. What is shown may have been said by another machine, or be the name of
//! somebody's file: no terminal is to obey it.

use crate::exit::{Code, Failure};
use std::borrow::Cow;
use std::io::{self, Write};

/// Moves the cursor home and clears what is below.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

/// Prints a text; what a terminal would obey is escaped.
pub fn text(text: &str) -> Result<(), Failure> {
    print(&[printable(text).as_bytes()])
}

/// The same over what a terminal shows already.
pub fn screen(text: &str) -> Result<(), Failure> {
    print(&[CLEAR, printable(text).as_bytes()])
}

/// Prints a line.
pub fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Prints a line on standard error, of which nobody is told when it is closed.
pub fn error(line: &str) {
    let _closed = writeln!(io::stderr(), "replfs: {}", printable(line));
}

fn print(parts: &[&[u8]]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    parts
        .iter()
        .try_for_each(|part| out.write_all(part))
        .and_then(|()| out.flush())
        .map_err(|e| Failure::io(Code::System, "cannot write to standard output", &e))
}

/// A text with control characters escaped, but for the ends of lines and tabs; and those that turn the direction of writing, which make one name look like
/// another.
pub fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_nothing_else() {
        assert_eq!(printable("a\tb ä 'c'\n"), "a\tb ä 'c'\n");
        let shown = printable("a\u{1b}[31m\u{9b}2J\r\u{7}\u{202e}b\n");
        assert_eq!(shown, "a\\u{1b}[31m\\u{9b}2J\\r\\u{7}\\u{202e}b\n");
    }
}

//! Standard output, which may be closed by whoever reads it.

use crate::exit::{Code, Failure};
use std::io::{self, Write};

/// Prints a text as it is.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::io(Code::System, "cannot write to standard output", &e))
}

/// Prints a line.
pub fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

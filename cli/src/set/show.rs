//! `replfs set show`.

use super::{Daemon, VERSION, print_json, summary};
use crate::args::StateArgs;
use crate::args::set::ShowArgs;
use crate::exit::Failure;
use crate::out;
use crate::source::set_file;
use serde::Serialize;
use srm::set::{Action, Rule};
use std::fmt::Write as _;

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    /// Of the file.
    path: String,
    /// The file says otherwise now.
    file_changed: bool,
    /// Nothing can be left out.
    everything: bool,
    default: Action,
    rules: &'a [Rule],
}

pub(super) fn run(args: &ShowArgs, state: &StateArgs) -> Result<(), Failure> {
    let now = Daemon::find(&args.mount, state)?.in_force()?;
    let file = set_file::read(&now.path).unwrap_or_default();
    let file_changed = file != now.text.as_bytes();
    if args.json {
        return print_json(&Document {
            version: VERSION,
            path: now.path.to_string_lossy().into_owned(),
            file_changed,
            everything: now.set.is_everything(),
            default: now.set.default_action(),
            rules: now.set.rules(),
        });
    }
    let mut shown = if now.text.is_empty() {
        format!("{}: not there when it was read; everything is replicated\n", now.path.display())
    } else {
        format!("{}: {}\n", now.path.display(), summary(&now.set))
    };
    for rule in now.set.rules() {
        // Writing to a string does not fail.
        let _ = writeln!(shown, "{:>4}  {rule}  (line {})", rule.number, rule.line);
    }
    if file_changed {
        shown.push_str("the file has changed since; 'replfs set reload MNT' puts it in force\n");
    }
    out::text(&shown)
}

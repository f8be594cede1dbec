//! `replfs status`: everything on this node, or one of it; for people, for programs, once or again and again.

mod paths;
mod replicas;
mod text;
pub mod units;

pub use text::{mode, send_in_words};

use crate::args::StatusArgs;
use crate::control::client::no_such_mount;
use crate::control::client::{self, Client};
use crate::control::{Request, Response};
use crate::exit::{Code, Failure};
use crate::out;
use crate::source::mounts;
use crate::state::Places;
use serde::Serialize;
use serde_json::Value;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

/// Version of the JSON document; goes up when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// Pause between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(1);

/// The document of `--json`: what the daemons said, as they said it.
#[derive(Debug, Default, Serialize)]
struct Document {
    version: u32,
    sources: Vec<Value>,
    targets: Vec<Value>,
}

impl Document {
    /// Takes in what a daemon said of itself, if it is `wanted` by one of these keys. A daemon that failed says so.
    fn take(&mut self, line: &str, wanted: impl Fn(&Value, &[&str]) -> bool) -> Option<Failure> {
        let Ok(mut value) = serde_json::from_str::<Value>(line) else { return None };
        if let Some(source) = value.get_mut("source").map(Value::take) {
            if wanted(&source, &["name", "mountpoint"]) {
                self.sources.push(source);
            }
        } else if let Some(target) = value.get_mut("target").map(Value::take) {
            if wanted(&target, &["root"]) {
                self.targets.push(target);
            }
        } else if let Ok(Response::Failed(failure)) = serde_json::from_value(value) {
            return Some(failure);
        }
        None
    }

    /// For people; empty where there is nothing.
    fn in_words(&self) -> String {
        let mut shown = String::new();
        for source in &self.sources {
            match serde_json::from_value(source.clone()) {
                Ok(source) => text::source(&mut shown, &source),
                Err(e) => shown.push_str(&other_version("source", &e)),
            }
        }
        for target in &self.targets {
            match serde_json::from_value(target.clone()) {
                Ok(target) => replicas::target(&mut shown, &target),
                Err(e) => shown.push_str(&other_version("target", &e)),
            }
        }
        shown
    }
}

/// What `replfs status` shows of an answer of a daemon, for people and as JSON.
pub(crate) fn shown(line: &str) -> (String, Result<String, serde_json::Error>) {
    let mut document = Document { version: VERSION, ..Document::default() };
    let failure = document.take(line, |_, _| true);
    let words = document.in_words() + &failure.map(|failure| failure.to_string()).unwrap_or_default();
    (words, serde_json::to_string_pretty(&document))
}

/// Shows the status.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    loop {
        show(args, &look(args, &places)?)?;
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

fn show(args: &StatusArgs, document: &Document) -> Result<(), Failure> {
    let bad = |e: serde_json::Error| Failure::new(Code::System, format!("cannot write the status: {e}"));
    if args.json {
        let written = if args.watch { serde_json::to_string(document) } else { serde_json::to_string_pretty(document) };
        return out::line(&written.map_err(bad)?);
    }
    let mut shown = document.in_words();
    if shown.is_empty() {
        shown.push_str("nothing of replfs runs here\n");
    }
    if args.watch && std::io::stdout().is_terminal() {
        return out::screen(&shown);
    }
    if args.watch {
        shown.push('\n');
    }
    out::text(&shown)
}

fn other_version(what: &str, error: &serde_json::Error) -> String {
    format!("{what}: its daemon is of another version ({error}); --json shows what it says\n")
}

/// Asks every daemon that answers.
fn look(args: &StatusArgs, places: &Places) -> Result<Document, Failure> {
    let mut document = Document { version: VERSION, ..Document::default() };
    let wanted = args.which.as_ref().map(|which| Wanted {
        word: which.to_string_lossy().into_owned(),
        place: mounts::locate(Path::new(which)).to_string_lossy().into_owned(),
    });
    let is_wanted = |value: &Value, keys: &[&str]| wanted.as_ref().is_none_or(|wanted| wanted.is(value, keys));
    for path in client::sockets(places.source_sockets()).into_iter().chain(client::sockets(&places.target_sockets())) {
        let Some(mut client) = Client::connect(&path) else { continue };
        let line = match client.ask_line(Request::Status) {
            Ok(line) => line,
            Err(failure) => {
                out::error(&failure.to_string());
                continue;
            }
        };
        if let Some(failure) = document.take(&line, is_wanted) {
            out::error(&failure.to_string());
        }
    }
    match wanted {
        Some(wanted) if document.sources.is_empty() && document.targets.is_empty() => Err(no_such_mount(&wanted.word)),
        _ => Ok(document),
    }
}

/// What the command line names.
struct Wanted {
    word: String,
    place: String,
}

impl Wanted {
    fn is(&self, value: &Value, keys: &[&str]) -> bool {
        keys.iter().filter_map(|key| value.get(key)?.as_str()).any(|text| text == self.word || text == self.place)
    }
}

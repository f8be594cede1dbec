//! `replfs mirror`: has source and target compared by content, and shows how far that is until it is over (S7).

use crate::args::mirror::MirrorArgs;
use crate::control::client::{self, Client};
use crate::control::{Left, Request, Response, Status, millis};
use crate::exit::{Code, Failure};
use crate::progress::{Progress, State};
use crate::state::Places;
use crate::status::units;
use crate::umount::backlog_left;
use crate::{out, paths};
use serde::Serialize;
use srm::status::{PassProgress, SourceStatus, TargetState, TargetStatus};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Version of the JSON documents.
const VERSION: u32 = 1;
/// Between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two lines that say how far it is.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How long the daemon may wait for what runs before it is asked how far that is.
const PATIENCE_MS: u64 = 500;

/// A line of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    /// `running`, `begun` (with `--no-wait`), `done`, `unreadable` or `time-over`.
    outcome: &'a str,
    state: TargetState,
    pass: PassProgress,
    /// Below SRC; not read yet.
    unreadable: &'a [String],
}

/// Asks the daemon, and waits.
pub fn run(args: &MirrorArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let mut daemon = client::source_at(&places, &args.mnt)?;
    let source = status(&mut daemon)?;
    let (mnt, src) = (PathBuf::from(&source.mountpoint), PathBuf::from(&source.source));
    let named = args.paths.iter().map(|word| paths::named(word, &mnt, &src));
    let paths = named.map(|path| Ok(path?.as_bytes().to_vec())).collect::<Result<Vec<_>, Failure>>()?;
    let mut mirror = Mirror {
        daemon,
        mnt,
        show: Show { json: args.json, display: Progress::new(std::io::stderr()), due: Instant::now() + SHOW_EVERY },
        timeout: args.timeout,
        deadline: args.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
    };
    mirror.begin(&paths, args.lanes)?;
    if args.no_wait {
        let source = status(&mut mirror.daemon)?;
        return mirror.show.end("begun", target(&source)?, "it has begun; 'replfs status' shows how far it is");
    }
    mirror.wait()
}

struct Mirror {
    daemon: Client,
    mnt: PathBuf,
    show: Show,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Mirror {
    /// Until the daemon has begun.
    fn begin(&mut self, paths: &[Vec<u8>], lanes: Option<u8>) -> Result<(), Failure> {
        loop {
            let timeout_ms = self.rest().map_or(PATIENCE_MS, |rest| millis(rest).min(PATIENCE_MS));
            match self.daemon.ask(Request::Mirror { paths: paths.to_vec(), lanes, timeout_ms })? {
                Response::Done => return Ok(()),
                Response::Failed(failure) => return Err(failure),
                Response::Left(_) => {
                    let source = status(&mut self.daemon)?;
                    self.show.progress(target(&source)?)?;
                    self.in_time(&source)?;
                }
                _ => return Err(client::unasked()),
            }
        }
    }

    /// Until source and target are brought together.
    fn wait(&mut self) -> Result<(), Failure> {
        // With nothing left but what cannot be read, this has to be applied too.
        let mut last: Option<u64> = None;
        loop {
            let source = status(&mut self.daemon)?;
            let target = target(&source)?;
            if target.coherent {
                return self.show.end("done", target, &said(&target.pass));
            }
            if target.state == TargetState::Bypass {
                let text = format!("{}: replication was switched off meanwhile", self.mnt.display());
                return Err(Failure::new(Code::Unreachable, text));
            }
            let pass = &target.pass;
            let stuck = pass.unreadable > 0 && pass.waiting == pass.unreadable && !pass.scanning;
            last = last.filter(|_| stuck).or_else(|| stuck.then_some(source.sequence));
            if last.is_some_and(|sequence| target.applied >= sequence) {
                self.show.end("unreadable", target, &said(pass))?;
                return Err(unreadable(&self.mnt, target));
            }
            self.show.progress(target)?;
            self.in_time(&source)?;
            std::thread::sleep(self.rest().map_or(PAUSE, |rest| rest.min(PAUSE)));
        }
    }

    fn rest(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn in_time(&mut self, source: &SourceStatus) -> Result<(), Failure> {
        let (Some(timeout), Some(Duration::ZERO)) = (self.timeout, self.rest()) else { return Ok(()) };
        let target = target(source)?;
        self.show.end("time-over", target, &said(&target.pass))?;
        let left = Left { operations: target.lag.operations, bytes: target.lag.bytes, mirror: true };
        Err(backlog_left(&self.mnt, timeout, left, "the daemon goes on; see 'replfs status'"))
    }
}

fn status(daemon: &mut Client) -> Result<SourceStatus, Failure> {
    match daemon.ask(Request::Status)? {
        Response::Status { status } => match *status {
            Status::Source(source) => Ok(source),
            Status::Target(_) => Err(client::unasked()),
        },
        Response::Failed(failure) => Err(failure),
        // The mount is gone.
        _ => Err(Failure::new(Code::NoSuchMount, "the source was unmounted meanwhile; the next mount goes on")),
    }
}

fn target(source: &SourceStatus) -> Result<&TargetStatus, Failure> {
    source.targets.first().ok_or_else(|| {
        Failure::usage(format!("{}: this mount has no target, so there is nothing to mirror to", source.mountpoint))
    })
}

fn unreadable(mnt: &Path, target: &TargetStatus) -> Failure {
    let count = target.pass.unreadable;
    let mut shown = target.unreadable.join(", ");
    if count > target.unreadable.len() as u64 {
        shown.push_str(", ...");
    }
    let text = format!(
        "{}: {count} cannot be read and are missing on the target or old there: {shown}; they are tried again every 30 s",
        mnt.display()
    );
    Failure::new(Code::Unreadable, text)
}

/// What has been done, for people.
fn said(pass: &PassProgress) -> String {
    let names =
        format!("{} names compared, {} differed, {} sent", pass.entries, pass.repaired, units::bytes(pass.sent_bytes));
    if pass.scanning || pass.total_bytes == 0 {
        return names;
    }
    format!("{names}, {} of {} looked at", units::bytes(pass.done_bytes), units::bytes(pass.total_bytes))
}

/// Says how far it is.
struct Show {
    json: bool,
    display: Progress,
    /// When the next document of `--json` is due.
    due: Instant,
}

impl Show {
    fn progress(&mut self, target: &TargetStatus) -> Result<(), Failure> {
        if !self.json {
            self.display.update(&state(target));
            return Ok(());
        }
        if Instant::now() < self.due {
            return Ok(());
        }
        self.due = Instant::now() + SHOW_EVERY;
        document("running", target)
    }

    fn end(&mut self, outcome: &str, target: &TargetStatus, said: &str) -> Result<(), Failure> {
        if self.json {
            return document(outcome, target);
        }
        self.display.finish(&state(target));
        out::line(said)
    }
}

/// How far it is, for the display.
fn state(target: &TargetStatus) -> State {
    let pass = &target.pass;
    let phase = match (&target.blocked, target.state) {
        (Some(blocked), _) => format!("blocked ({blocked})"),
        (None, TargetState::Accumulating | TargetState::Setup) => "waiting for the target".to_owned(),
        _ => "mirroring".to_owned(),
    };
    State {
        phase,
        files_done: pass.entries,
        files_total: pass.entries + pass.waiting,
        bytes_done: pass.done_bytes,
        bytes_total: pass.total_bytes,
        scanning: pass.scanning,
        aside: 0,
        errors: pass.unreadable,
    }
}

fn document(outcome: &str, target: &TargetStatus) -> Result<(), Failure> {
    let document =
        Document { version: VERSION, outcome, state: target.state, pass: target.pass, unreadable: &target.unreadable };
    let line = serde_json::to_string(&document)
        .map_err(|e| Failure::new(Code::System, format!("cannot write the document: {e}")))?;
    out::line(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_said_once_they_do_not_grow() {
        let mut pass = PassProgress {
            entries: 7,
            repaired: 2,
            sent_bytes: 1024,
            total_bytes: 4096,
            done_bytes: 2048,
            ..PassProgress::default()
        };
        assert_eq!(said(&pass), "7 names compared, 2 differed, 1.0 KiB sent, 2.0 KiB of 4.0 KiB looked at");
        pass.scanning = true;
        assert_eq!(said(&pass), "7 names compared, 2 differed, 1.0 KiB sent");
    }
}

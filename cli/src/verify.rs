//! `replfs verify`: asks the daemon to compare, watches it, and says what it found. Comparing is the SRM's.

use crate::args::VerifyArgs;
use crate::control::client::unasked;
use crate::control::{Request, Response, Status};
use crate::exit::{Code, Failure};
use crate::out;
use crate::paths;
use crate::progress::{Progress, State};
use crate::set::Daemon;
use crate::status::units::bytes;
use protocol::RelPath;
use serde::Serialize;
use srm::verify::{VerifyState, VerifyStatus};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Version of the JSON document; goes up when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// How often the daemon is asked how far it is, and how soon at first.
const PAUSE: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(flatten)]
    status: &'a VerifyStatus,
}

/// Begins a verification and waits for its end, or ends one.
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let mut daemon = Daemon::find(&args.mount, &args.state)?;
    if args.stop {
        return match daemon.client.ask(Request::VerifyStop)? {
            Response::Done => out::line("the verification ends"),
            Response::Failed(failure) => Err(failure),
            _ => Err(unasked()),
        };
    }
    let path =
        args.path.as_ref().map_or(Ok(RelPath::root()), |word| paths::named(word, &daemon.mnt, &daemon.source))?;
    let path = path.as_os_str().as_bytes().to_vec();
    let request = Request::Verify { path, repair: args.repair, sample: args.sample, rate: args.rate.0 };
    let number = match daemon.client.ask(request)? {
        Response::Verifying { number } => number,
        Response::Failed(failure) => return Err(failure),
        _ => return Err(unasked()),
    };
    let status = watch(&mut daemon, number)?;
    if args.json {
        let document = Document { version: VERSION, status: &status };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|e| Failure::new(Code::System, format!("cannot write the document: {e}")))?;
        out::line(&text)?;
    } else {
        show(&status)?;
    }
    verdict(&status)
}

/// Waits for the end of a verification.
fn watch(daemon: &mut Daemon, number: u64) -> Result<VerifyStatus, Failure> {
    let mut display = Progress::new(std::io::stderr());
    // One that is soon over is seen before the next begins.
    let mut pause = FIRST_PAUSE;
    loop {
        let status = match daemon.client.ask(Request::Status)? {
            Response::Status { status } => match *status {
                Status::Source(source) => source.verify,
                Status::Target(_) => None,
            },
            Response::Failed(failure) => return Err(failure),
            // The daemon ends, and says so unasked.
            Response::Done | Response::Left(_) => return Err(unmounted()),
            _ => return Err(unasked()),
        };
        match status {
            Some(status) if status.number == number => {
                if status.state.is_over() {
                    display.finish(&state(&status));
                    return Ok(*status);
                }
                display.update(&state(&status));
            }
            _ => {
                let text = "another verification has begun since this one ended; 'replfs status --json' shows how";
                return Err(Failure::new(Code::System, text));
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
}

fn unmounted() -> Failure {
    Failure::new(Code::System, "the source was unmounted before everything was compared; mount it and verify again")
}

/// How far it is, for the display.
fn state(status: &VerifyStatus) -> State {
    let phase = if status.state == VerifyState::Waiting { "waiting for the target" } else { "verifying" };
    State {
        phase: phase.to_owned(),
        files_done: status.entries,
        // As long as directories wait, more names are to come.
        files_total: status.entries + status.waiting,
        bytes_done: status.bytes,
        bytes_total: status.bytes,
        scanning: status.waiting > 0,
        aside: 0,
        errors: status.unreadable(),
    }
}

/// What was compared and what differed, in a line.
pub fn summary(status: &VerifyStatus) -> String {
    let more = if status.waiting > 0 { format!(", {} directories waiting", status.waiting) } else { String::new() };
    let mended = if status.repair { format!(", {} mended", status.mended) } else { String::new() };
    let unreadable = match status.unreadable() {
        0 => String::new(),
        count => format!(", {count} unreadable"),
    };
    format!(
        "{} names in {} directories compared, and {} in {} files{more}; {} differ{mended}{unreadable}",
        status.entries,
        status.directories,
        bytes(status.bytes),
        status.files,
        status.differing()
    )
}

/// What was found, one per line.
fn show(status: &VerifyStatus) -> Result<(), Failure> {
    let mut text = String::new();
    for finding in &status.findings {
        text.push_str(finding.kind.word());
        text.push(' ');
        text.push_str(&finding.path);
        text.push('\n');
    }
    out::text(&text)?;
    let all: u64 = status.found.values().sum();
    let shown = status.findings.len() as u64;
    if all > shown {
        eprintln!("replfs: {} more are not listed", all - shown);
    }
    eprintln!("{}", summary(status));
    Ok(())
}

/// How the command ends.
fn verdict(status: &VerifyStatus) -> Result<(), Failure> {
    let differ = status.differing().saturating_sub(status.mended);
    let unreadable = status.unreadable();
    if differ > 0 {
        let what =
            if status.repair { "could not be mended; see 'replfs status'" } else { "differ; --repair mends them" };
        return Err(Failure::new(Code::Differs, format!("{differ} names of the replica {what}")));
    }
    if status.state != VerifyState::Done {
        let text = "the verification was stopped before everything was compared; begin it again";
        return Err(Failure::new(Code::System, text));
    }
    if unreadable > 0 {
        let text =
            format!("{unreadable} names cannot be read on the source, and were not compared; see their permissions");
        return Err(Failure::new(Code::Unreadable, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use srm::verify::FindingKind;
    use std::collections::BTreeMap;

    fn ended(found: &[(FindingKind, u64)], mended: u64, state: VerifyState) -> Option<Code> {
        let found: BTreeMap<_, _> = found.iter().copied().collect();
        let status = VerifyStatus { state, repair: true, found, mended, ..VerifyStatus::default() };
        verdict(&status).err().map(|failure| failure.code)
    }

    #[test]
    fn the_exit_code_says_what_was_found() {
        use FindingKind::{Edited, Lost, Unreadable};
        assert_eq!(ended(&[], 0, VerifyState::Done), None);
        assert_eq!(ended(&[(Lost, 2), (Edited, 1)], 3, VerifyState::Done), None);
        assert_eq!(ended(&[(Lost, 2), (Edited, 1)], 2, VerifyState::Done), Some(Code::Differs));
        assert_eq!(ended(&[(Unreadable, 1)], 0, VerifyState::Done), Some(Code::Unreadable));
        assert_eq!(ended(&[(Unreadable, 1), (Lost, 1)], 0, VerifyState::Done), Some(Code::Differs));
        assert_eq!(ended(&[], 0, VerifyState::Stopped), Some(Code::System));
    }

    #[test]
    fn numbers_are_said_in_a_line() {
        let status = VerifyStatus { entries: 7, directories: 2, files: 3, bytes: 2048, ..VerifyStatus::default() };
        assert_eq!(summary(&status), "7 names in 2 directories compared, and 2.0 KiB in 3 files; 0 differ");
    }
}

//! `replfs commit`: shows when a changing call of a mount returns, or changes it (S2).

use crate::args::commit::CommitArgs;
use crate::control::client::{self, Client};
use crate::control::{CommitRequest, Request, Response, Status};
use crate::exit::{Code, Failure};
use crate::out;
use crate::state::Places;
use serde::Serialize;
use srm::status::{CommitMode, NearBounds, NearChange, SourceStatus};

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    version: u32,
    commit: CommitMode,
    near: Option<NearBounds>,
    strict: bool,
    degraded: bool,
}

/// Tells the daemon what is wanted, if anything is, and shows what is in force.
pub fn run(args: &CommitArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let mut daemon = client::source_at(&places, &args.mnt)?;
    match args.mode {
        Some(mode) => change(args, mode, &mut daemon)?,
        None if args.near.change() != NearChange::default() => {
            return Err(Failure::usage("bounds belong to a mode: write 'near' before them"));
        }
        None => {}
    }
    show(args, &status(&mut daemon)?)
}

fn change(args: &CommitArgs, mode: CommitMode, daemon: &mut Client) -> Result<(), Failure> {
    let request = CommitRequest { mode, near: args.near.change(), strict: args.strict };
    match daemon.ask(Request::Commit(request))? {
        Response::Done => Ok(()),
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

fn status(daemon: &mut Client) -> Result<SourceStatus, Failure> {
    match daemon.ask(Request::Status)? {
        Response::Status { status } => match *status {
            Status::Source(status) => Ok(status),
            Status::Target(_) => Err(client::unasked()),
        },
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

fn show(args: &CommitArgs, status: &SourceStatus) -> Result<(), Failure> {
    let degraded = status.targets.iter().any(|target| target.degraded);
    if args.json {
        let (commit, near, strict) = (status.commit, status.near, status.strict);
        let document = Document { version: 1, commit, near, strict, degraded };
        let bad = |e: serde_json::Error| Failure::new(Code::System, format!("cannot write the commit mode: {e}"));
        return out::line(&serde_json::to_string_pretty(&document).map_err(bad)?);
    }
    out::line(&format!("{}{}", crate::status::mode(status), if degraded { ", degraded" } else { "" }))
}

//! `replfs limit`: shows how fast a mount may send, or changes it (S4).

use crate::args::limit::{Limit, LimitArgs};
use crate::control::client;
use crate::control::{Request, Response};
use crate::exit::{Code, Failure};
use crate::out;
use crate::state::Places;
use serde::Serialize;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    version: u32,
    /// Bytes per second that may be sent now; none: as many as there are.
    now: Option<u64>,
    limits: Vec<Limit>,
}

/// Tells the daemon what is wanted, if anything is, and shows what holds.
pub fn run(args: &LimitArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let mut daemon = client::source_at(&places, &args.mnt)?;
    let wanted = (!args.limits.is_empty()).then(|| args.limits.clone());
    match daemon.ask(Request::Limit { wanted })? {
        Response::Limits { now, limits } => show(args, now, limits),
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

fn show(args: &LimitArgs, now: Option<u64>, limits: Vec<Limit>) -> Result<(), Failure> {
    if args.json {
        let bad = |e: serde_json::Error| Failure::new(Code::System, format!("cannot write the limits: {e}"));
        return out::line(&serde_json::to_string_pretty(&Document { version: 1, now, limits }).map_err(bad)?);
    }
    out::line(&format!("now {}", Limit { window: None, rate: now }))?;
    limits.iter().try_for_each(|limit| out::line(&format!("  {limit}")))
}

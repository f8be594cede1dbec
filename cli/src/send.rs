//! `replfs send`: shows when a mount sends what is queued and what is held, or changes it (S4).

use crate::args::send::SendArgs;
use crate::control::client;
use crate::control::{Request, Response};
use crate::exit::{Code, Failure};
use crate::out;
use crate::state::Places;
use crate::status::send_in_words;
use serde::Serialize;
use srm::status::SendStatus;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    send: SendStatus,
}

/// Tells the daemon what is wanted, if anything is, and shows what holds.
pub fn run(args: &SendArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let mut daemon = client::source_at(&places, &args.mnt)?;
    let wanted = (!args.rules.is_empty()).then(|| args.rules.clone());
    match daemon.ask(Request::Send { wanted })? {
        Response::Sends(send) => show(args, send),
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

fn show(args: &SendArgs, send: SendStatus) -> Result<(), Failure> {
    if args.json {
        let bad = |e: serde_json::Error| Failure::new(Code::System, format!("cannot write the rules: {e}"));
        return out::line(&serde_json::to_string_pretty(&Document { version: 1, send }).map_err(bad)?);
    }
    out::line(&send_in_words(&send))
}

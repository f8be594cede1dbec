//! `replfs sync`: returns when everything that was changed before is durable on the target.

use crate::args::SyncArgs;
use crate::control::client;
use crate::control::{Request, Response, millis};
use crate::exit::Failure;
use crate::state::Places;
use crate::umount::backlog_left;
use crate::write_back::write_back;
use std::path::Path;

/// Asks the daemon and waits.
pub fn run(args: &SyncArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let mut client = client::source_at(&places, &args.mnt)?;
    write_back(&mut client)?;
    match client.ask(Request::Sync { timeout_ms: millis(args.timeout) })? {
        Response::Done => Ok(()),
        Response::Left(left) => {
            Err(backlog_left(Path::new(&args.mnt), args.timeout, left, "the daemon goes on; see 'replfs status'"))
        }
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

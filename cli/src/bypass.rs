//! `replfs bypass`: switches replication off and on again (S16).

use crate::args::{BypassArgs, Switch};
use crate::control::{Request, Response, client};
use crate::exit::Failure;
use crate::out;
use crate::state::Places;

/// Tells the daemon, and says what that means.
pub fn run(args: &BypassArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let mut daemon = client::source_at(&places, &args.mnt)?;
    let on = args.switch == Switch::On;
    match daemon.ask(Request::Bypass { on })? {
        Response::Done if on => out::line("replication is off; what changes is remembered"),
        Response::Done => out::line("replication is on; what has changed meanwhile is brought over"),
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

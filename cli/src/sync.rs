//! `replfs sync`: returns when everything that was changed before is durable on the target.

use crate::args::SyncArgs;
use crate::control::client;
use crate::control::{Request, Response, millis};
use crate::exit::{Code, Failure};
use crate::source::mounts;
use crate::state::Places;
use crate::umount::backlog_left;
use std::path::Path;

/// Asks the daemon and waits.
pub fn run(args: &SyncArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let mnt = mounts::locate(Path::new(&args.mnt));
    let (path, name) = (mnt.to_string_lossy(), args.mnt.to_string_lossy());
    let found = client::find_source(&places, |source| source.mountpoint == path || source.name == name)?;
    let Some((mut client, _)) = found else {
        return Err(no_such_mount(&name));
    };
    match client.ask(Request::Sync { timeout_ms: millis(args.timeout) })? {
        Response::Done => Ok(()),
        Response::Left(left) => {
            Err(backlog_left(Path::new(&args.mnt), args.timeout, left, "the daemon goes on; see 'replfs status'"))
        }
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

/// Nothing here is called that.
pub fn no_such_mount(which: &str) -> Failure {
    Failure::new(
        Code::NoSuchMount,
        format!(
            "nothing here is mounted at, or named, '{which}'; 'replfs status' lists what is (with its --state DIR)"
        ),
    )
}

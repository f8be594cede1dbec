//! `replfs umount`, `umount.replfs`: unmounts, and waits until everything is on the target.

use crate::args::UmountArgs;
use crate::control::client::{self, Client, Process};
use crate::control::{Left, Request, Response, millis};
use crate::exit::{Code, Failure};
use crate::namespace;
use crate::source::mounts;
use crate::state::Places;
use crate::status::units;
use rustix::mount::UnmountFlags;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a daemon that has everything on the target may take to end.
const END: Duration = Duration::from_secs(30);

/// Unmounts MNT.
pub fn run(args: &UmountArgs) -> Result<(), Failure> {
    namespace::enter(args.namespace.as_deref())?;
    let mnt = mounts::locate(&args.mnt);
    if mounts::replfs_at(&mnt).is_none() {
        let text = format!("nothing of replfs is mounted at {}; 'replfs status' lists what is", mnt.display());
        return Err(Failure::new(Code::NoSuchMount, text));
    }
    let places = Places::find(&args.state)?;
    let shown = mnt.to_string_lossy();
    let Some((client, pid)) = client::find_source(&places, |source| source.mountpoint == shown)? else {
        return without_daemon(&mnt);
    };
    let daemon = Process::open(pid);
    let deadline = Instant::now() + args.timeout;
    unmount(&mnt, flags(args))?;
    if args.verbose {
        eprintln!("replfs: {} is unmounted; waiting for the target", mnt.display());
    }
    drained(client, &mnt, args.timeout)?;
    let rest = deadline.saturating_duration_since(Instant::now()).max(END);
    match daemon {
        Some(daemon) if !daemon.wait(rest) => Err(Failure::new(
            Code::System,
            format!("everything is on the target, but the daemon of {} (process {pid}) has not ended", mnt.display()),
        )),
        _ => Ok(()),
    }
}

/// No daemon answers for a mount: it is dead, or has its state elsewhere.
fn without_daemon(mnt: &Path) -> Result<(), Failure> {
    let shown = mnt.display();
    if mounts::is_dead(mnt) {
        unmount(mnt, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
        eprintln!("replfs: the daemon of {shown} was dead; unmounted. The next mount compares source and target");
        return Ok(());
    }
    let text = format!(
        "no daemon of {shown} answers here; if it was mounted with --state DIR, give the same, or use umount(8)"
    );
    Err(Failure::new(Code::NoSuchMount, text))
}

fn flags(args: &UmountArgs) -> UnmountFlags {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, args.lazy);
    flags.set(UnmountFlags::FORCE, args.force);
    flags
}

fn unmount(mnt: &Path, flags: UnmountFlags) -> Result<(), Failure> {
    mounts::unmount(mnt, flags).map_err(|error| {
        let what = format!("cannot unmount {}", mnt.display());
        if error.kind() == io::ErrorKind::ResourceBusy {
            let text = format!(
                "{what}: programs use it; 'fuser -vm {}' shows them; end them, or unmount with --lazy",
                mnt.display()
            );
            return Failure::new(Code::Mount, text);
        }
        Failure::io(Code::Mount, what, &error)
    })
}

/// What becomes of what is left after an unmount.
const THEN: &str = "the daemon goes on for its drain-timeout, and the next mount brings what is left then";

/// Waits until everything is on the target.
fn drained(mut client: Client, mnt: &Path, timeout: Duration) -> Result<(), Failure> {
    match client.ask(Request::Drain { timeout_ms: millis(timeout) })? {
        Response::Done => Ok(()),
        Response::Left(left) => Err(backlog_left(mnt, timeout, left, THEN)),
        Response::Failed(failure) => Err(failure),
        _ => Err(client::unasked()),
    }
}

/// The time is over.
pub fn backlog_left(mnt: &Path, timeout: Duration, left: Left, then: &str) -> Failure {
    let operations = format!("{} operations ({})", left.operations, units::bytes(left.bytes));
    let what = match (left.mirror, left.operations) {
        (false, 0) => "all is done there, and its disk has not confirmed it yet".to_owned(),
        (false, _) => operations,
        (true, 0) => "source and target are still to be compared".to_owned(),
        (true, _) => format!("{operations}, and source and target are still to be compared"),
    };
    let text =
        format!("{}: not safe on the target after {}: {what}; {then}", mnt.display(), units::millis(millis(timeout)));
    Failure::new(Code::BacklogLeft, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_numbers() {
        let said = |operations, mirror| {
            let left = Left { operations, bytes: operations * 1024, mirror };
            backlog_left(Path::new("/mnt"), Duration::from_secs(5), left, "then")
        };
        assert_eq!(said(3, false).code, Code::BacklogLeft);
        assert_eq!(said(3, false).message, "/mnt: not safe on the target after 5.0 s: 3 operations (3.0 KiB); then");
        assert!(said(0, false).message.contains(": all is done there, and its disk has not confirmed it yet; "));
        assert!(said(0, true).message.contains(": source and target are still to be compared; "));
        assert!(said(2, true).message.contains(": 2 operations (2.0 KiB), and source and target"));
    }
}

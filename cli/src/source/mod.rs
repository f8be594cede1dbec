//! The source: `replfs mount` from its arguments to the moment where the layers are put together (`run`, the only file here
//! that knows them).

mod asked;
mod feed;
mod identity;
mod journal;
mod lanes;
mod limits;
pub mod local;
mod locks;
pub mod memory;
mod mirror;
pub mod mounts;
mod plan;
mod resolve;
mod root;
mod run;
pub mod set_file;
mod stream;
mod watch;

pub use plan::SourcePlan;
pub use set_file::SetFile;

use crate::args::MountArgs;
use crate::args::mount_options::MountFlags;
use crate::daemon::{self, Ready};
use crate::exit::{Code, Failure};
use crate::state::Places;
use crate::{logging, namespace};

/// `replfs mount`: checks, goes into the background unless told otherwise, mounts. Returns when the mount is usable, or, as
/// the daemon itself or in front, when it has ended.
pub fn mount(args: &MountArgs, flags: MountFlags) -> Result<(), Failure> {
    if args.fake {
        namespace::enter(args.namespace.as_deref())?;
        // What an invitation leads to is known when it is used.
        return if asked::is_unused_invitation(args)? { Ok(()) } else { plan::check_only(args, flags) };
    }
    if daemon::is_daemon() {
        let ready =
            Ready::to_parent().map_err(|e| Failure::io(Code::System, "cannot use standard output as a pipe", &e))?;
        return tell(&ready, become_daemon(args, flags, &ready));
    }
    namespace::enter(args.namespace.as_deref())?;
    asked::use_invitation(args)?;
    // What is wrong with the words themselves is known without starting anything.
    let asked = asked::Asked::read(args)?;
    if args.replication.foreground {
        logging::to_stderr();
        let ready = Ready::to_terminal();
        let plan = plan::prepare(args, flags)?;
        return tell(&ready, run::run(&plan, &ready));
    }
    let log = Places::find(&args.replication.state)?.source(asked.name.as_os_str()).join("log");
    if args.verbose {
        eprintln!("replfs: mounting {} at {}, log in {}", args.src.display(), args.mnt.display(), log.display());
    }
    daemon::spawn(&log.display().to_string())
}

fn become_daemon(args: &MountArgs, flags: MountFlags, ready: &Ready) -> Result<(), Failure> {
    let system = |what: &str, e: rustix::io::Errno| Failure::io(Code::System, what, &e.into());
    rustix::process::setsid().map_err(|e| system("cannot leave the session", e))?;
    let plan = plan::prepare(args, flags)?;
    // Relative paths have been resolved; nothing is to keep a file system busy.
    rustix::process::chdir("/").map_err(|e| system("cannot change to /", e))?;
    ready.set_log(logging::to_file(&plan.state_dir.join("log"))?);
    run::run(&plan, ready)
}

/// Tells the one that waits why it failed, and the log where standard error is not the log.
fn tell(ready: &Ready, outcome: Result<(), Failure>) -> Result<(), Failure> {
    if let Err(failure) = &outcome {
        if daemon::is_daemon() {
            tracing::error!(event = "failed", code = failure.code.number(), "{failure}");
        }
        ready.failed(failure);
    }
    outcome
}

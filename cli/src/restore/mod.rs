//! `replfs restore`: brings a replica, or parts of it, from a target to a directory (S10).
//!
//! `plan` reads the words; `remote` asks the target (`scm::fetch` carries that) and checks what it answers; `engine` has the
//! work done by several threads, `directory`, `node`, `links`, `content` and `attributes` do it; `aside` keeps what would be
//! lost; `report` says what was done. Everything in DIR is reached by descriptor, name by name; no symbolic link is followed.

mod aside;
mod attributes;
mod content;
mod copy;
mod directory;
mod engine;
mod fault;
mod links;
mod node;
mod partial;
mod plan;
mod queue;
mod remote;
mod report;
mod select;
mod tally;

use crate::args::RestoreArgs;
use crate::args::target_name::TargetPlace;
use crate::exit::{Code, Failure, reason};
use crate::keys;
use crate::progress::Progress;
use crate::reach::Reach;
use crate::source::local::LocalDialer;
use aside::Aside;
use engine::Engine;
use fault::Fault;
use plan::Plan;
use protocol::{Fetch, RefusalCode, VERSION};
use remote::Remote;
use rustix::fs::{Mode, OFlags};
use scm::ScmError;
use scm::fetch::{FetchError, Fetcher};
use scm::session::Dial;
use srm::said::words;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;
use target::{Reading, TargetError};

const SOFTWARE: &str = env!("CARGO_PKG_VERSION");
/// Files that are worked on at once: each costs round trips, and they pass the time together.
const WORKERS: usize = 16;
/// Of each of those who work: what is set aside on another file system is copied, directories within directories.
const STACK_BYTES: usize = 16 << 20;
/// How often the display looks.
const LOOK: Duration = Duration::from_millis(200);

/// Restores.
pub fn run(args: &RestoreArgs) -> Result<(), Failure> {
    platform::sys::raise_descriptor_limit();
    let plan = Plan::read(args)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| Failure::io(Code::System, "cannot start the threads of the restore", &e))?;
    let fetcher = runtime.block_on(connect(&plan))?;
    let ack = fetcher.ack().clone();
    if !ack.coherent {
        eprintln!(
            "replfs: the replica '{}' is not known to be a whole state of its source: it is being compared, or was left in the middle of that",
            plan.name
        );
    }
    let root = open_root(&plan)?;
    let engine = Engine::new(Remote::new(fetcher), plan.manner, Aside::new(plan.aside.clone()), root);
    let outcome = work(&engine, &plan);
    if let Some(root) = engine.root.as_ref().filter(|_| !plan.manner.dry_run) {
        // What is told of as done survives a power cut. A file system that cannot has nothing to lose.
        let _ = rustix::fs::openat(root, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .and_then(rustix::fs::syncfs);
    }
    let Engine { remote, tally, .. } = engine;
    runtime.block_on(remote.into_fetcher().close());
    // What was set aside is listed however it ended.
    let reported = report::report(&plan, &ack, &tally, outcome.is_ok());
    outcome.and(reported)
}

/// Has the work done and shows how far it is.
fn work(engine: &Engine, plan: &Plan) -> Result<(), Failure> {
    let phase = if plan.manner.dry_run { "comparing" } else { "restoring" };
    let mut progress = Progress::new(io::stderr());
    engine.select(&plan.paths);
    let started = std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let worker = std::thread::Builder::new().name("restore".to_owned()).stack_size(STACK_BYTES);
            if let Err(e) = worker.spawn_scoped(scope, || engine.work()) {
                engine.queue.stop();
                return Err(Failure::io(Code::System, "cannot start the threads of the restore", &e));
            }
        }
        while !engine.queue.wait(LOOK) {
            progress.update(&engine.tally.state(phase));
        }
        Ok(())
    });
    progress.finish(&engine.tally.state(phase));
    started?;
    match engine.fatal() {
        None => Ok(()),
        Some(Fault::Fatal(failure)) => Err(failure),
        Some(Fault::Full(error)) => Err(Failure::new(
            Code::Destination,
            format!(
                "cannot write to {} or {}: {}; make room and run the same command again: it goes on from there",
                plan.to.display(),
                engine.aside.place().display(),
                reason(&error)
            ),
        )),
        Some(Fault::Node(why)) => Err(Failure::new(Code::Incomplete, why)),
        Some(Fault::Moved) => Err(Failure::new(Code::Incomplete, "it changes on the target while it is read")),
    }
}

/// Connects, and is let in or not.
async fn connect(plan: &Plan) -> Result<Fetcher, Failure> {
    let keyring = keys::load(&plan.places)?;
    let dialer: Box<dyn Dial> = match (&plan.from, &plan.trust) {
        (TargetPlace::Remote { host, port }, Some(trust)) => {
            let at = (host.clone(), *port);
            Box::new(Reach::new(at, trust, &plan.places, keyring, plan.connect_timeout).dialer)
        }
        (TargetPlace::Local(root), _) => {
            let reading = Reading::open(root, SOFTWARE).map_err(|error| {
                let code = if matches!(error, TargetError::NoRoot { .. }) { Code::NoReplica } else { Code::System };
                Failure::new(code, error.to_string())
            })?;
            Box::new(LocalDialer::reading(reading, keys::local_peer(&keyring)))
        }
        // Refused when the words were read.
        (TargetPlace::Remote { .. } | TargetPlace::None, _) => return Err(Failure::usage("--from names no target")),
    };
    let fetch = Fetch { version: VERSION, software: SOFTWARE.to_owned(), name: plan.name.clone() };
    let fetcher = Fetcher::connect(&*dialer, fetch).await.map_err(|error| {
        let code = match &error {
            FetchError::Scm(error) => match **error {
                ScmError::WrongKey { .. }
                | ScmError::NotAllowed { .. }
                | ScmError::Revoked { .. }
                | ScmError::Key(_) => Code::Key,
                ScmError::Bind { .. } => Code::System,
                ScmError::Resolve { .. } | ScmError::Unreachable { .. } | ScmError::OtherProtocol { .. } => {
                    Code::Unreachable
                }
            },
            FetchError::Lost(_) => Code::Unreachable,
            FetchError::Refused(refused) => match refused.code {
                RefusalCode::Unknown => Code::Key,
                RefusalCode::Owned => Code::Owned,
                RefusalCode::Changed => Code::Changed,
                RefusalCode::Missing => Code::NoReplica,
                RefusalCode::Busy => Code::Unreachable,
                RefusalCode::NotEmpty
                | RefusalCode::Unwritable
                | RefusalCode::Version
                | RefusalCode::Protocol
                | RefusalCode::Other => Code::System,
            },
        };
        Failure::new(code, format!("{}: {}", plan.from, words(&error.to_string())))
    })?;
    if fetcher.ack().version != VERSION {
        let text = format!(
            "{}: the target greets in version {} of the protocol, this build speaks {VERSION}",
            plan.from,
            fetcher.ack().version
        );
        return Err(Failure::new(Code::System, text));
    }
    Ok(fetcher)
}

/// Opens DIR, which is made if it is missing; `None` in a dry run where it is.
fn open_root(plan: &Plan) -> Result<Option<OwnedFd>, Failure> {
    let fail = |e: io::Error| {
        let text =
            format!("cannot open {}: {}; give a directory that this user may write", plan.to.display(), reason(&e));
        Failure::new(Code::Destination, text)
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(&plan.to, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) if plan.manner.dry_run => return Ok(None),
        Err(rustix::io::Errno::NOENT) => {}
        result => return result.map(Some).map_err(|e| fail(e.into())),
    }
    DirBuilder::new().recursive(true).mode(0o755).create(&plan.to).map_err(fail)?;
    rustix::fs::open(&plan.to, flags, Mode::empty()).map(Some).map_err(|e| fail(e.into()))
}

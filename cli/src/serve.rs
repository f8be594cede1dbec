//! `replfs target`: one ROOT behind a listener; every connection is a session of its own.

use crate::args::{KeepImage, TargetArgs};
use crate::control::server::Server;
use crate::control::{Control, Status, TargetDaemon, Unfinished};
use crate::exit::{Code, Failure};
use crate::paths::{absolute, is_inside};
use crate::state::Places;
use crate::{keys, logging, notify, out};
use scm::ScmError;
use scm::server::{Incoming, Listener};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use target::{ErrorKind, Target, TargetConfig, TargetError};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs the daemon until it is told to end.
pub fn run(args: &TargetArgs) -> Result<(), Failure> {
    logging::to_stderr();
    platform::sys::raise_descriptor_limit();
    let places = Places::find(&args.state)?;
    let root = absolute(&args.root);
    if is_inside(places.state(), &root) {
        let text =
            format!("{} lies inside ROOT {}; give --state DIR outside of it", places.state().display(), root.display());
        return Err(Failure::usage(text));
    }
    let allow = args.allow.iter().map(|text| keys::fingerprint("allow", text)).collect::<Result<Vec<_>, _>>()?;
    let key = keys::load(&places)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|e| Failure::io(Code::System, "cannot start the threads of the target daemon", &e))?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(|e| Failure::io(Code::System, "cannot listen to signals", &e))?;
        // First, so that nothing is made in ROOT where the port is in use.
        let listener = scm::server::listen(args.listen, &key, allow).map_err(cannot_listen)?;
        let config = TargetConfig { root, software: env!("CARGO_PKG_VERSION").to_owned() };
        let target = Target::open(config).map_err(|error| failure(&error))?;
        target.keep_images(args.keep_image == KeepImage::Auto);
        let daemon = Daemon {
            target: Arc::clone(&target),
            listen: listener.local_addr().to_string(),
            fingerprint: key.fingerprint().to_string(),
        };
        let ready = format!("ready {} {}", daemon.listen, daemon.fingerprint);
        let control = Server::start(&places.target_socket(target.root()), Arc::new(daemon))?;
        tracing::info!(event = "ready", root = %target.root().display(), listen = %listener.local_addr(), "serving");
        out::line(&ready)?;
        notify::ready();
        serve(&target, listener, signals).await;
        control.end(Ok(()));
        Ok(())
    })
}

/// Takes connections until a signal comes, then ends them in order. A second signal ends at once.
async fn serve(target: &Arc<Target>, mut listener: Listener, mut signals: Signals) {
    loop {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) => drop(tokio::spawn(session(Arc::clone(target), incoming))),
                None => break,
            },
            () = signals.next() => break,
        }
    }
    tracing::info!(event = "stopping", "ending the sessions");
    notify::stopping();
    tokio::select! {
        () = async { target.shutdown().await; listener.close().await } => {}
        () = signals.next() => tracing::warn!(event = "stopped", "ended at once by a second signal"),
    }
}

async fn session(target: Arc<Target>, incoming: Incoming) {
    let Incoming { peer, addr, reader, writer } = incoming;
    let peer = peer.to_string();
    tracing::info!(event = "connected", %peer, %addr, "a source connected");
    match target.serve(&peer, reader, writer).await {
        Ok(()) => tracing::info!(event = "disconnected", %peer, %addr, "a source has left"),
        Err(error) => tracing::warn!(event = "session-failed", %peer, %addr, "{error}"),
    }
}

/// A target's error in the command line's terms.
pub fn failure(error: &TargetError) -> Failure {
    let code = match error.kind() {
        ErrorKind::Unwritable => Code::Root,
        ErrorKind::InUse => Code::Port,
        ErrorKind::Changed => Code::Changed,
        ErrorKind::Other => Code::System,
    };
    Failure::new(code, error.to_string())
}

fn cannot_listen(error: ScmError) -> Failure {
    match error {
        ScmError::Bind { addr, source } if source.kind() == io::ErrorKind::AddrInUse => Failure::new(
            Code::Port,
            format!("cannot listen on {addr}: the port is in use; end the other program, or give --listen ADDR:PORT"),
        ),
        ScmError::Key(_) => Failure::new(Code::Key, error.to_string()),
        other => Failure::new(Code::System, other.to_string()),
    }
}

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on; within a runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the control socket shows of the daemon.
struct Daemon {
    target: Arc<Target>,
    listen: String,
    fingerprint: String,
}

impl Control for Daemon {
    fn status(&self) -> Status {
        Status::Target(TargetDaemon {
            pid: std::process::id(),
            listen: self.listen.clone(),
            fingerprint: self.fingerprint.clone(),
            status: self.target.status(),
        })
    }

    fn bypass(&self, _: bool) -> Result<(), Unfinished> {
        Err(no_source())
    }

    fn sync(&self, _: Duration) -> Result<(), Unfinished> {
        Err(no_source())
    }

    fn drain(&self, _: Duration) -> Result<(), Unfinished> {
        Err(no_source())
    }
}

fn no_source() -> Unfinished {
    Unfinished::Failed(Failure::new(Code::NoSuchMount, "this is a target daemon; ask where the source is mounted"))
}

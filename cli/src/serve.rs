//! `replfs target`: one ROOT behind a listener; every connection is a session of its own.

use crate::args::{Devices, KeepImage, Setuid, TargetArgs};
use crate::cage::{Begun, Confined};
use crate::control::server::{Bound, Server};
use crate::control::{Control, Status, TargetDaemon, Unfinished};
use crate::exit::{Code, Failure};
use crate::pairing::admit;
use crate::paths::{absolute, is_inside};
use crate::state::Places;
use crate::{keys, logging, low_latency, notify, out};
use protocol::Name;
use scm::ScmError;
use scm::door::Door;
use scm::key::Fingerprint;
use scm::keyring::Keys;
use scm::peers::{Grant, PeerDoor, Rights, Store};
use scm::server::{Incoming, Listener, Purpose, Watch};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use target::{ErrorKind, Limits, Peer, PeerDir, Target, TargetConfig, TargetError};
use tokio::signal::unix::{Signal, SignalKind, signal};

const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// Runs the daemon until it is told to end.
pub fn run(args: &TargetArgs) -> Result<(), Failure> {
    logging::to_stderr();
    platform::sys::raise_descriptor_limit();
    let places = Places::find(&args.state)?;
    // Without it the words do not parse.
    let root = absolute(args.root.as_deref().unwrap_or(Path::new(".")));
    if is_inside(places.state(), &root) {
        let text =
            format!("{} lies inside ROOT {}; give --state DIR outside of it", places.state().display(), root.display());
        return Err(Failure::usage(text));
    }
    let allow = args.allow.iter().map(|text| keys::fingerprint("allow", text)).collect::<Result<Vec<_>, _>>()?;
    let key = keys::load(&places)?;
    notify::prepare();
    // First, so that nothing is made in ROOT where the port is in use.
    let port = scm::server::bind(args.listen).map_err(cannot_listen)?;
    // Of what is counted to know it, not all can be read in the cage.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // The other half applies. More threads than have work only wake each other.
    let threads = args.threads.map_or(cores.div_ceil(2), usize::from);
    let awake = low_latency::open(args.low_latency)?;
    let cage = Begun::of_target(args.cage, &root, &places)?;
    let given = root.to_string_lossy().into_owned();
    let config = TargetConfig { root, software: SOFTWARE.to_owned(), limits: limits(args) };
    let target = Target::open(config).map_err(|error| failure(&error))?;
    target.keep_images(args.keep_image == KeepImage::Auto);
    let socket = Bound::open(&places.target_socket(target.root()))?;
    // No thread has been started until now; all that come are in it.
    let confined = cage.close()?;
    awake.start().map_err(|e| cannot_start(&e))?;
    target.stay_awake(awake);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|e| cannot_start(&e))?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(|e| Failure::io(Code::System, "cannot listen to signals", &e))?;
        let shown = key.fingerprint().to_string();
        let store = Arc::new(Store::new(places.state()));
        let door = PeerDoor::new(given, store, allow, Keys::new(places.keys(), key));
        let listener = scm::server::listen_on(port, Arc::clone(&door) as Arc<_>).map_err(cannot_listen)?;
        let daemon = Daemon {
            target: Arc::clone(&target),
            listen: listener.local_addr().to_string(),
            door: Arc::clone(&door),
            watch: listener.watch(),
            confined,
        };
        let ready = format!("ready {} {shown}", daemon.listen);
        let control = Server::serve(socket, Arc::new(daemon))?;
        tracing::info!(event = "ready", root = %target.root().display(), listen = %listener.local_addr(), "serving");
        out::line(&ready)?;
        notify::ready();
        serve(&target, &door, listener, signals).await;
        control.end(Ok(()));
        Ok(())
    })
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::io(Code::System, "cannot start the threads of the target daemon", error)
}

/// What every source may do to the disk.
fn limits(args: &TargetArgs) -> Limits {
    Limits {
        refuse_devices: args.devices == Devices::Refuse,
        strip_setuid: args.setuid == Setuid::Strip,
        quota: args.quota,
        quota_files: args.quota_files,
    }
}

/// Takes connections until a signal comes, then ends them in order. A second signal ends at once.
async fn serve(target: &Arc<Target>, door: &Arc<PeerDoor>, mut listener: Listener, mut signals: Signals) {
    loop {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) if incoming.purpose == Purpose::Pair => {
                    drop(tokio::spawn(admit::serve(Arc::clone(door), incoming, SOFTWARE)));
                }
                Some(incoming) => drop(tokio::spawn(session(Arc::clone(target), Arc::clone(door), incoming))),
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

async fn session(target: Arc<Target>, door: Arc<PeerDoor>, incoming: Incoming) {
    let Incoming { peer, addr, reader, writer, .. } = incoming;
    // Revoked in this very moment.
    let Some(rights) = door.rights(peer) else { return };
    tracing::info!(event = "connected", %peer, %addr, "a source connected");
    match target.serve(known(peer, rights), reader, writer).await {
        Ok(()) => tracing::info!(event = "disconnected", %peer, %addr, "a source has left"),
        Err(error) => tracing::warn!(event = "session-failed", %peer, %addr, "{error}"),
    }
}

/// A source as the target is told of it.
fn known(key: Fingerprint, rights: Rights) -> Peer {
    let dir = |grant: Grant| {
        let name = Name::new(grant.dir.as_bytes()).ok()?;
        Some(PeerDir { name, quota: grant.quota, take_over: grant.take_over })
    };
    Peer {
        key: key.to_string(),
        former: rights.former.iter().map(ToString::to_string).collect(),
        dirs: rights.grants.map(|grants| grants.into_iter().filter_map(dir).collect()),
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
    door: Arc<PeerDoor>,
    watch: Watch,
    confined: Confined,
}

impl Control for Daemon {
    fn status(&self) -> Status {
        Status::Target(TargetDaemon {
            pid: std::process::id(),
            listen: self.listen.clone(),
            fingerprint: self.door.keyring().fingerprint().to_string(),
            confined: self.confined.clone(),
            status: self.target.status(),
        })
    }

    fn peers_changed(&self) {
        if self.door.keys().reload() {
            self.watch.begin_anew();
        }
        self.watch.recheck();
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

//! A daemon's end of its control socket: a thread that accepts, and one for each connection, of which there is a bound.

use super::{Control, Left, Request, Response, Unfinished, socket};
use crate::exit::{Code, Failure};
use crate::state;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Connections at once; one more is told to come back.
const MOST_CONNECTIONS: usize = 32;

/// Longest request in bytes.
const LONGEST_REQUEST: u64 = 1 << 16;

/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(600);

/// How long a connection may take to take its answer.
const SLOW: Duration = Duration::from_secs(5);

/// Pause after a connection could not be accepted, because descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Open connections by number, each written to by one thread at a time.
type Peers = Arc<Mutex<HashMap<u64, Arc<Mutex<UnixStream>>>>>;

/// A control socket. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Server {
    _socket: Bound,
    peers: Peers,
}

/// A control socket that nobody answers at yet. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Bound {
    path: PathBuf,
    listener: Arc<UnixListener>,
}

impl Bound {
    /// Opens the socket. What a dead daemon left there is removed. The caller holds the lock of what the socket is named
    /// after.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |e: io::Error| {
            Failure::io(Code::State, format!("state: cannot open the control socket {}", path.display()), &e)
        };
        if let Some(dir) = path.parent() {
            state::make_private(dir)?;
            state::close_to_others(dir)?;
        }
        if socket::connect(path).is_ok() {
            let text =
                format!("state: another daemon answers at {}; end it, or use another --state DIR", path.display());
            return Err(Failure::new(Code::InUse, text));
        }
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
            _ => {}
        }
        let listener = Arc::new(socket::bind(path).map_err(fail)?);
        Ok(Self { path: path.to_owned(), listener })
    }
}

impl Server {
    /// Opens the socket, as [`Bound::open`] does, and answers with `control` from then on.
    pub fn start(path: &Path, control: Arc<dyn Control>) -> Result<Self, Failure> {
        Self::serve(Bound::open(path)?, control)
    }

    /// Answers with `control` at a socket that is open.
    pub fn serve(socket: Bound, control: Arc<dyn Control>) -> Result<Self, Failure> {
        let peers = Peers::default();
        let (accepted, listener) = (Arc::clone(&peers), Arc::clone(&socket.listener));
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept_all(&listener, &control, &accepted))
            .map_err(|e| Failure::io(Code::System, "cannot start the thread of the control socket", &e))?;
        Ok(Self { _socket: socket, peers })
    }

    /// The daemon ends: every command that is connected is told how that went, asked or not, so that none is left to guess.
    pub fn end(self, outcome: Result<(), Left>) {
        let last = match outcome {
            Ok(()) => Response::Done,
            Err(left) => Response::Left(left),
        };
        let peers: Vec<_> = self.peers.lock().values().cloned().collect();
        for peer in peers {
            let _gone = send(&peer, &last);
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(event = "socket-stays", path = %self.path.display(), %error, "the control socket stays");
        }
    }
}

fn accept_all(listener: &UnixListener, control: &Arc<dyn Control>, peers: &Peers) {
    for number in 0_u64.. {
        // Commands write little and read at once: one that does not is given up.
        let accepted = listener.accept().and_then(|(stream, _)| {
            stream.set_read_timeout(Some(IDLE))?;
            stream.set_write_timeout(Some(SLOW))?;
            Ok((stream.try_clone()?, Arc::new(Mutex::new(stream))))
        });
        let Ok((reader, writer)) = accepted else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if peers.lock().len() >= MOST_CONNECTIONS {
            let busy = Failure::new(Code::System, "the daemon answers too many commands at once; try again");
            let _gone = send(&writer, &Response::Failed(busy));
            continue;
        }
        peers.lock().insert(number, Arc::clone(&writer));
        let (control, all) = (Arc::clone(control), Arc::clone(peers));
        let work = move || {
            // A command that went away needs no answer.
            let _gone = serve(&reader, &writer, &*control);
            all.lock().remove(&number);
        };
        if let Err(error) = std::thread::Builder::new().name("control-peer".to_owned()).spawn(work) {
            tracing::warn!(event = "control-failed", %error, "no thread for a command");
            peers.lock().remove(&number);
        }
    }
}

/// Answers requests until the other side closes.
fn serve(reader: &UnixStream, writer: &Mutex<UnixStream>, control: &dyn Control) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(LONGEST_REQUEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        send(writer, &answer(&line, control))?;
    }
}

pub(crate) fn answer(line: &[u8], control: &dyn Control) -> Response {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(e) => {
            let text = format!("the daemon does not know this request ({e}); are command and daemon of one version?");
            return Response::Failed(Failure::new(Code::System, text));
        }
    };
    let outcome = match request {
        Request::Status => return Response::Status { status: Box::new(control.status()) },
        Request::Bypass { on } => control.bypass(on),
        Request::Commit(request) => control.commit(request),
        Request::Limit { wanted } => {
            let limits = control.limit(wanted);
            return limits.map_or_else(Response::Failed, |(now, limits)| Response::Limits { now, limits });
        }
        Request::Send { wanted } => {
            return control.send(wanted.as_deref()).map_or_else(Response::Failed, Response::Sends);
        }
        Request::Mirror { paths, lanes, timeout_ms } => {
            control.mirror(&paths, lanes, Duration::from_millis(timeout_ms))
        }
        Request::Writers { after } => {
            let writers = control.writers(after);
            return writers.map_or_else(Response::Failed, |writers| Response::Writers { writers });
        }
        Request::SetShow => return control.set().map_or_else(Response::Failed, Response::Set),
        Request::SetReload { on_remove } => {
            let changes = control.reload_set(on_remove);
            return changes.map_or_else(Response::Failed, |lines| Response::Changes { lines });
        }
        Request::Verify { path, repair, sample, rate } => {
            let Ok(path) = protocol::RelPath::new(&path) else {
                return Response::Failed(Failure::usage("the path is none; give one below MNT"));
            };
            if !(1..=100).contains(&sample) {
                return Response::Failed(Failure::usage("the sample is no percentage; give 1 to 100"));
            }
            let begun = control.verify(srm::verify::VerifyOptions { path, repair, sample, rate });
            return begun.map_or_else(Response::Failed, |number| Response::Verifying { number });
        }
        Request::PeersChanged => {
            control.peers_changed();
            Ok(())
        }
        Request::VerifyStop => control.stop_verify().map_err(Unfinished::Failed),
        Request::Sync { timeout_ms } => control.sync(Duration::from_millis(timeout_ms)),
        Request::Drain { timeout_ms } => control.drain(Duration::from_millis(timeout_ms)),
    };
    match outcome {
        Ok(()) => Response::Done,
        Err(Unfinished::Left(left)) => Response::Left(left),
        Err(Unfinished::Failed(failure)) => Response::Failed(failure),
    }
}

fn send(stream: &Mutex<UnixStream>, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    stream.lock().write_all(&line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::client::{self, Client};
    use super::super::{Status, TargetDaemon};
    use super::*;
    use srm::OnRemove;
    use std::os::unix::fs::PermissionsExt;
    use target::TargetStatus;

    struct Fake;

    impl Control for Fake {
        fn status(&self) -> Status {
            let status =
                TargetStatus { version: 1, root: "/r".to_owned(), software: "x".to_owned(), sources: Vec::new() };
            Status::Target(TargetDaemon {
                pid: 1,
                listen: "l".to_owned(),
                fingerprint: "f".to_owned(),
                confined: crate::cage::Confined::default(),
                status,
            })
        }

        fn bypass(&self, _: bool) -> Result<(), Unfinished> {
            Ok(())
        }

        fn sync(&self, timeout: Duration) -> Result<(), Unfinished> {
            let left = Left { operations: 7, bytes: 8, mirror: false };
            if timeout.is_zero() { Err(Unfinished::Left(left)) } else { Ok(()) }
        }

        fn drain(&self, _: Duration) -> Result<(), Unfinished> {
            Err(Unfinished::Failed(Failure::usage("not here")))
        }
    }

    fn start(path: &Path) -> Server {
        Server::start(path, Arc::new(Fake)).unwrap()
    }

    #[test]
    fn requests_are_answered_over_one_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/x.sock");
        let _server = start(&path);
        let mut client = Client::connect(&path).unwrap();
        let ask = |client: &mut Client, request| client.ask(request).unwrap();
        assert!(matches!(ask(&mut client, Request::Status), Response::Status { status } if *status == Fake.status()));
        assert_eq!(ask(&mut client, Request::Sync { timeout_ms: 1 }), Response::Done);
        let left = Left { operations: 7, bytes: 8, mirror: false };
        assert_eq!(ask(&mut client, Request::Sync { timeout_ms: 0 }), Response::Left(left));
        assert!(matches!(ask(&mut client, Request::Drain { timeout_ms: 0 }), Response::Failed(_)));
        assert!(matches!(ask(&mut client, Request::SetShow), Response::Failed(_)));
        assert!(matches!(ask(&mut client, Request::SetReload { on_remove: OnRemove::Keep }), Response::Failed(_)));
    }

    #[test]
    fn a_command_that_is_connected_learns_how_the_daemon_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let server = start(&path);
        let mut client = Client::connect(&path).unwrap();
        client.ask(Request::Status).unwrap();
        let left = Left { operations: 3, bytes: 4, mirror: true };
        server.end(Err(left));
        assert!(!path.exists());
        assert_eq!(client.ask(Request::Drain { timeout_ms: 1000 }).unwrap(), Response::Left(left));
    }

    #[test]
    fn the_socket_is_private_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/x.sock");
        let server = start(&path);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d".repeat(200)).join("x.sock");
        let _server = start(&path);
        assert!(Client::connect(&path).is_some());
    }

    #[test]
    fn what_a_dead_daemon_left_is_passed_over_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(Client::connect(&path).is_none());
        assert!(client::sockets(dir.path()).contains(&path));
        let _server = start(&path);
        assert!(Client::connect(&path).is_some());
        assert_eq!(Server::start(&path, Arc::new(Fake)).unwrap_err().code, Code::InUse, "a living one is not replaced");
    }

    #[test]
    fn what_is_no_request_is_answered_and_harms_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let _server = start(&path);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"{\"request\":\"dance\"}\n\xff\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(line.contains("failed") && line.contains("version"), "{line}");
        assert!(Client::connect(&path).unwrap().ask(Request::Status).is_ok());
    }
}

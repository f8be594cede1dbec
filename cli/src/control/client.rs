//! A command's end of control sockets: finding them, asking, and knowing when a daemon has ended.

use super::{Request, Response, Status};
use crate::exit::{Code, Failure, reason};
use crate::source::mounts;
use crate::state::Places;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer may take beyond the time that the request itself allows.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a daemon may take to change its set, which waits for operations under way.
const RELOAD: Duration = Duration::from_secs(60);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// `None` where no daemon answers: there is no socket, or the daemon is dead.
    pub fn connect(path: &Path) -> Option<Self> {
        let stream = super::socket::connect(path).ok()?;
        Some(Self { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        let line = self.ask_line(request)?;
        serde_json::from_str(&line)
            .map_err(|e| self.failure(&format!("its answer does not parse ({e}); is it of another version?")))
    }

    /// Asks and gives the answer as it came.
    #[allow(clippy::needless_pass_by_value)] // a request is made for one question
    pub fn ask_line(&mut self, request: Request) -> Result<String, Failure> {
        let allowed = match &request {
            Request::Status
            | Request::SetShow
            | Request::Bypass { .. }
            | Request::Commit(_)
            | Request::Limit { .. }
            | Request::Send { .. }
            | Request::Verify { .. }
            | Request::VerifyStop
            | Request::Writers { .. }
            | Request::PeersChanged => Duration::ZERO,
            Request::SetReload { .. } => RELOAD,
            Request::Sync { timeout_ms } | Request::Drain { timeout_ms } | Request::Mirror { timeout_ms, .. } => {
                Duration::from_millis(*timeout_ms)
            }
        };
        match self.talk(&request, allowed.saturating_add(PATIENCE)) {
            Ok(line) if line.ends_with('\n') => Ok(line),
            Ok(_) => Err(self.failure("it ended before it answered; its log says why")),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(self.failure("it does not answer; its log may say why"))
            }
            Err(e) => Err(self.failure(&reason(&e))),
        }
    }

    fn talk(&mut self, request: &Request, timeout: Duration) -> io::Result<String> {
        let mut line = serde_json::to_string(request)? + "\n";
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // A daemon that has ended may have said how before it was asked.
        let written = stream.write_all(line.as_bytes());
        line.clear();
        match self.stream.read_line(&mut line) {
            Ok(0) => written.map(|()| line),
            Ok(_) => Ok(line),
            Err(e) => Err(e),
        }
    }

    fn failure(&self, text: &str) -> Failure {
        Failure::new(Code::System, format!("the daemon at {}: {text}", self.path.display()))
    }
}

/// A daemon answered another question than it was asked.
pub fn unasked() -> Failure {
    Failure::new(Code::System, "the daemon gave an answer to another question; are command and daemon of one version?")
}

/// The control sockets in a directory, those of dead daemons included, in the order of their names.
pub fn sockets(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect();
    found.sort();
    found
}

/// The daemon of the source that is mounted there, or has this NAME.
pub fn source_at(places: &Places, which: &OsStr) -> Result<Client, Failure> {
    let mnt = mounts::locate(Path::new(which));
    let (path, name) = (mnt.to_string_lossy(), which.to_string_lossy());
    let found = find_source(places, |source| source.mountpoint == path || source.name == name)?;
    found.map(|(client, _)| client).ok_or_else(|| no_such_mount(&name))
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

/// The source for which `wanted` holds: a connection to its daemon, and its process id.
pub fn find_source(
    places: &Places,
    wanted: impl Fn(&srm::status::SourceStatus) -> bool,
) -> Result<Option<(Client, u32)>, Failure> {
    let mut silent = None;
    for path in sockets(places.source_sockets()) {
        let Some(mut client) = Client::connect(&path) else { continue };
        match client.ask(Request::Status) {
            Ok(Response::Status { status }) => {
                if let Status::Source(source) = *status
                    && wanted(&source)
                {
                    return Ok(Some((client, source.pid)));
                }
            }
            Ok(_) => {}
            Err(failure) => silent = Some(failure),
        }
    }
    // The one that was sought may be the one that did not answer.
    silent.map_or(Ok(None), Err)
}

/// A process whose end can be waited for.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// `None`: it has ended.
    pub fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Waits for its end, when everything that it held is free. `false`: the time is over.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let rest = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], rest.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

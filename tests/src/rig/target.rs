//! A target daemon in front, as a child of the test: started, told where it is by its "ready" line, killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longest time from start to "ready".
const START: Duration = Duration::from_secs(30);

/// A running daemon. Dropping it kills it.
pub struct Target {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Who it is.
    pub fingerprint: String,
}

impl Target {
    /// Starts a daemon for ROOT that allows one source, or those that were paired. `program`: the binary; `listen`: port 0 for any. Panics if it does
    /// not come up.
    #[track_caller]
    pub fn start(
        program: Command,
        root: &Path,
        state: &Path,
        allow: Option<&str>,
        listen: &str,
        more: &[String],
    ) -> Self {
        Self::try_start(program, root, state, allow, listen, more).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same. Errors: what it said instead of where it is.
    pub fn try_start(
        mut program: Command,
        root: &Path,
        state: &Path,
        allow: Option<&str>,
        listen: &str,
        more: &[String],
    ) -> Result<Self, String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(state.with_extension("log"));
        let stderr = log.map_or_else(|_| Stdio::inherit(), Stdio::from);
        let mut child = program
            .arg("target")
            .arg("--root")
            .arg(root)
            .args(allow.iter().flat_map(|key| ["--allow", key]))
            .args(["--listen", listen, "--state"])
            .arg(state)
            .args(more)
            // Ctrl-C at a terminal is for the test or demo, which then ends this child in its own order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", program.get_program().display()))?;
        let Some(stdout) = child.stdout.take() else { panic!("the target's standard output was not kept") };
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Later lines are read too, so that the daemon never waits for a reader.
                let _ = send.send(line);
            }
        });
        let line = lines.recv_timeout(START).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let parsed = match words.as_slice() {
            ["ready", address, fingerprint] => address.parse().ok().map(|a: SocketAddr| (a, (*fingerprint).to_owned())),
            _ => None,
        };
        let Some((address, fingerprint)) = parsed else {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(state.with_extension("log")).unwrap_or_default();
            return Err(format!("the target printed {line:?} instead of \"ready ADDR:PORT FPR\"; its log:\n{log}"));
        };
        Ok(Self { child, address, fingerprint })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The signal that it died of, if it has ended; zero where that was no signal.
    pub fn died_of(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap_or_else(|e| panic!("cannot ask for the target's end: {e}"))?;
        Some(status.signal().unwrap_or(0))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end();
    }
}

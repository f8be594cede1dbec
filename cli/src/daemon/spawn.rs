//! Starting this program again as a daemon and waiting for its report.

use super::ready::Report;
use crate::exit::{Code, Failure};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Set for the process that is to be the daemon.
const MARKER: &str = "REPLFS_DAEMON";

/// A report is one line of at most this many bytes.
const LONGEST_REPORT: u64 = 1 << 16;

/// Whether this process was started by [`spawn`].
pub fn is_daemon() -> bool {
    std::env::var_os(MARKER).is_some()
}

/// Starts this program again with the same words, and returns when it is usable or has failed. `log` is where to look
/// when it ends without a word.
pub fn spawn(log: &str) -> Result<(), Failure> {
    let system = |what: &str, e: &std::io::Error| Failure::io(Code::System, format!("cannot {what} the daemon"), e);
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| "replfs".into());
    let mut child = Command::new("/proc/self/exe")
        .arg0(name)
        .args(words)
        .env(MARKER, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| system("start", &e))?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe.take(LONGEST_REPORT)).read_line(&mut line).map_err(|e| system("hear", &e))?;
    }
    match serde_json::from_str(&line) {
        Ok(Report::Mounted { warning }) => {
            if let Some(text) = warning {
                eprintln!("replfs: {text}");
            }
            Ok(())
        }
        Ok(Report::Failed(failure)) => {
            // It has nothing left to do but to end; then its locks are free.
            let _ = child.wait();
            Err(failure)
        }
        Err(_) => {
            let how = child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
            Err(Failure::new(Code::System, format!("the daemon ended before the mount was usable ({how}); see {log}")))
        }
    }
}

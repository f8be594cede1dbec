//! Where the log goes: standard error for what runs in front, a bounded file for what does not.

use crate::exit::{Code, Failure};
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::EnvFilter;

/// A log file of this size becomes the old one, which there is one of: a log takes at most twice this.
const LOG_BYTES: u64 = 4 << 20;

/// The environment variable that says what is logged, as `RUST_LOG` does.
const FILTER: &str = "REPLFS_LOG";

fn filter() -> EnvFilter {
    EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info,quinn=warn,rustls=warn,fuser=warn"))
}

/// Logs to standard error.
pub fn to_stderr() {
    let log = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_target(false);
    // A second call in one process changes nothing.
    let _already = log.log_internal_errors(false).with_writer(io::stderr).try_init();
}

/// Logs to a file. Standard error follows it once [`LogFile::take_stderr`] is called.
pub fn to_file(path: &Path) -> Result<LogFile, Failure> {
    let file = LogFile::open(path, LOG_BYTES)
        .map_err(|e| Failure::io(Code::State, format!("state: cannot write the log {}", path.display()), &e))?;
    let writer = file.clone();
    let log = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_target(false);
    let _already = log.log_internal_errors(false).with_writer(move || writer.clone()).try_init();
    Ok(file)
}

/// A log file of bounded size. Each line is written whole.
#[derive(Clone, Debug)]
pub struct LogFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limit_bytes: u64,
    /// Standard error is this file too: what the runtime prints when a thread panics.
    has_stderr: AtomicBool,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl LogFile {
    fn open(path: &Path, limit_bytes: u64) -> io::Result<Self> {
        let inner = Inner {
            open: Mutex::new(Open::at(path)?),
            path: path.to_owned(),
            limit_bytes,
            has_stderr: AtomicBool::new(false),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// From now on standard error goes here.
    pub fn take_stderr(&self) {
        self.0.has_stderr.store(true, Ordering::Relaxed);
        self.0.redirect(&self.0.open.lock().file);
    }
}

impl Inner {
    fn redirect(&self, file: &File) {
        if self.has_stderr.load(Ordering::Relaxed) {
            // Where this fails, panics are not in the log: nothing that could be told to anybody.
            let _ = rustix::stdio::dup2_stderr(file);
        }
    }

    /// Makes the log the old log and begins a new one. Where that fails it goes on as it is: too long is better than lost.
    fn rotate(&self, open: &mut Open) -> io::Result<()> {
        std::fs::rename(&self.path, self.path.with_extension("old"))?;
        *open = Open::at(&self.path)?;
        self.redirect(&open.file);
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.0.open.lock();
        if open.bytes > 0 && open.bytes + line.len() as u64 > self.0.limit_bytes {
            let _still_the_old_one = self.0.rotate(&mut open);
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_one_old_file_and_stays_within_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path, 100).unwrap();
        for n in 0..100 {
            log.write_all(format!("line number {n:03}\n").as_bytes()).unwrap();
        }
        let (now, old) = (std::fs::read_to_string(&path).unwrap(), std::fs::read_to_string(dir.path().join("log.old")));
        let both = old.unwrap() + &now;
        assert!(now.len() <= 100 && both.len() <= 200);
        assert!(both.ends_with("line number 099\n"));
        assert!(both.starts_with("line number "), "lines stay whole: {both}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_log_goes_on_where_the_last_daemon_left_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        LogFile::open(&path, 100).unwrap().write_all(b"one\n").unwrap();
        LogFile::open(&path, 100).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}

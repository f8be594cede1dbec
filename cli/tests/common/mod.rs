//! A directory of its own for a test, and the program run in it.
#![allow(dead_code)] // each suite uses what it needs

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A fingerprint that is nobody's.
pub const NOBODY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

/// The program under the name `replfs`.
pub fn replfs() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replfs"));
    // What the one who runs the tests has set must not count.
    command.env_remove("REPLFS_LOG").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// How a command ended: exit code, standard output, standard error.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("printed text is UTF-8");
    Outcome { code: status.code().expect("ended by itself"), stdout: text(stdout), stderr: text(stderr) }
}

impl Outcome {
    /// Ended with this code and, unless it is success, one line on standard error that has all of these words.
    #[track_caller]
    pub fn is(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        if code != 0 {
            assert_eq!(self.stderr.lines().count(), 1, "one clear line: {self:?}");
            assert!(self.stderr.starts_with("replfs: "), "{self:?}");
        }
        for word in words {
            assert!(self.stderr.contains(word), "'{word}' is missing: {self:?}");
        }
        self
    }
}

/// SRC, MNT and a place for state.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("replfs-cli-").tempdir().expect("a temporary directory");
        for name in ["src", "mnt"] {
            std::fs::create_dir(dir.path().join(name)).expect("a new directory");
        }
        Self(dir)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command with `--state`.
    pub fn command(&self, name: &str) -> Command {
        let mut command = replfs();
        command.arg(name).arg("--state").arg(self.at("state"));
        command
    }

    /// `replfs mount SRC MNT` with a local target, and further words.
    pub fn mount(&self, more: &[&str]) -> Outcome {
        self.mount_of(&self.at("src"), &self.at("mnt"), more)
    }

    pub fn mount_of(&self, src: &Path, mnt: &Path, more: &[&str]) -> Outcome {
        run(self.command("mount").arg(src).arg(mnt).arg("--target").arg(self.at("root")).args(more))
    }

    /// `replfs target` for ROOT, as a child; gives it and the line that it printed first.
    pub fn target(&self, root: &str, more: &[&str]) -> (Running, String) {
        let mut command = self.command("target");
        command.arg("--root").arg(self.at(root)).args(["--allow", NOBODY]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line of text");
        (Running(child), line)
    }
}

/// A child that does not outlive its test.
pub struct Running(pub Child);

impl Running {
    /// Sends a signal and waits for the end; gives the exit code.
    pub fn end(mut self, signal: rustix::process::Signal) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("the child is there");
        self.0.wait().expect("the child ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

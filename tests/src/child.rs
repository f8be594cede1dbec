//! A second process that does something of its own, for what Linux counts by process: record locks, limits, signals,
//! mappings. It is a fork of the test: what it does are system calls on paths, because every descriptor of the test is
//! closed there.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The longest that a child lives, in seconds.
const LIFE: libc::c_uint = 60;

/// Exit code of a child that panicked.
const PANICKED: i32 = 101;

/// Where a child has its end of the line.
const LINE: libc::c_int = 3;

/// One end of the line between a test and its child: numbers go over it, both ways.
#[derive(Debug)]
pub struct Line(UnixStream);

impl Line {
    /// Sends a number.
    #[track_caller]
    pub fn say(&mut self, number: i32) {
        self.0.write_all(&number.to_le_bytes()).unwrap_or_else(|e| panic!("nobody listens at the other end: {e}"));
    }

    /// Waits for a number.
    #[track_caller]
    pub fn hear(&mut self) -> i32 {
        let mut number = [0; 4];
        self.0.read_exact(&mut number).unwrap_or_else(|e| panic!("nothing comes from the other end any more: {e}"));
        i32::from_le_bytes(number)
    }
}

/// A child that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    ended: bool,
    /// To talk with it.
    pub line: Line,
}

/// Runs `work` in a process of its own; its exit code, or 128 and the signal that ended it.
#[track_caller]
pub fn run(work: impl FnOnce() -> i32) -> i32 {
    Child::start(|_| work()).end()
}

impl Child {
    /// Starts `work` in a process of its own. What it gives is its exit code.
    #[track_caller]
    pub fn start(work: impl FnOnce(&mut Line) -> i32) -> Self {
        let (here, there) = UnixStream::pair().unwrap_or_else(|e| panic!("cannot make a pair of sockets: {e}"));
        // SAFETY: the child is a copy of this thread alone. It never returns from the branch below, takes no lock that
        // another thread may hold but the allocator's, which the C library hands over unlocked, and ends with _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "cannot fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            let code = catch_unwind(AssertUnwindSafe(|| work(&mut alone(&there)))).unwrap_or(PANICKED);
            // SAFETY: ends this process at once; nothing of the test's is run.
            unsafe { libc::_exit(code) };
        }
        let Some(pid) = Pid::from_raw(pid) else { panic!("fork gave no process") };
        Self { pid, ended: false, line: Line(here) }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits until it has ended; its exit code, or 128 and the signal that ended it.
    #[track_caller]
    pub fn end(mut self) -> i32 {
        self.wait()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(self) {
        drop(self);
    }

    fn wait(&mut self) -> i32 {
        self.ended = true;
        let status = match waitpid(Some(self.pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => status,
            other => panic!("cannot wait for process {:?}: {other:?}", self.pid),
        };
        status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended && kill_process(self.pid, Signal::KILL).is_ok() {
            self.wait();
        }
    }
}

/// In the child: nothing of the test's stays open but the line, and it ends by itself some time, or with the test.
fn alone(there: &UnixStream) -> Line {
    // SAFETY: plain system calls without pointers that concern this process only; what is closed belongs to values of the
    // test's, none of which is used or dropped here.
    unsafe {
        libc::dup2(there.as_raw_fd(), LINE);
        libc::syscall(libc::SYS_close_range, LINE + 1, libc::c_uint::MAX, 0);
        libc::alarm(LIFE);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        Line(UnixStream::from_raw_fd(LINE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_talks_and_its_end_is_told() {
        let mut child = Child::start(|line| {
            let heard = line.hear();
            line.say(heard + 1);
            heard
        });
        child.line.say(41);
        assert_eq!(child.line.hear(), 42);
        assert_eq!(child.end(), 41);
        assert_eq!(run(|| panic!("in a child")), PANICKED);
        let killed = run(|| {
            let _ = kill_process(rustix::process::getpid(), Signal::XFSZ);
            0
        });
        assert_eq!(killed, 128 + libc::SIGXFSZ);
        let silent = Child::start(|line| line.hear());
        let pid = silent.pid();
        silent.kill();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

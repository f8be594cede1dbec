//! A child that cages itself and says what went wrong: a fork of the test, because a cage is for good and for one thread.

#![allow(dead_code)] // every test file uses a part of it
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)] // a test that fails says where

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a child found: a line for each thing that was not as it should be.
#[derive(Default)]
pub struct Found(Vec<String>);

impl Found {
    /// `what` must be refused with one of these error numbers.
    #[allow(clippy::needless_pass_by_value)] // outcomes are used once
    pub fn refused<T>(&mut self, what: &str, outcome: Result<T, i32>, with: &[i32]) {
        match outcome {
            Ok(_) => self.0.push(format!("{what}: was done")),
            Err(errno) if with.contains(&errno) => {}
            Err(errno) => self.0.push(format!("{what}: error {errno}, not one of {with:?}")),
        }
    }

    /// `what` must be done.
    pub fn done<T>(&mut self, what: &str, outcome: Result<T, i32>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(errno) => {
                self.0.push(format!("{what}: error {errno}"));
                None
            }
        }
    }

    pub fn that(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.0.push(what.into());
        }
    }
}

/// Runs `work` in a process of its own; it must find nothing.
#[track_caller]
pub fn in_a_child(work: impl FnOnce(&mut Found)) {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    // SAFETY: the child is a copy of this thread alone; it leaves with `_exit` and never returns from the branch.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "cannot fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        drop(here);
        let mut found = Found::default();
        let end = catch_unwind(AssertUnwindSafe(|| work(&mut found)));
        let mut text = found.0.join("\n");
        if end.is_err() {
            text.push_str("\nit panicked");
        }
        let _told = there.write_all(text.as_bytes()).and_then(|()| there.shutdown(std::net::Shutdown::Write));
        // SAFETY: ends this process only, without what the test would do at its end.
        unsafe { libc::_exit(0) };
    }
    drop(there);
    let mut text = String::new();
    here.read_to_string(&mut text).unwrap();
    let mut status = 0;
    // SAFETY: `status` is where the kernel writes; the child is ours.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert!(text.is_empty(), "in the child:\n{text}");
    assert_eq!(status, 0, "the child ended by itself, with nothing to say");
}

/// A system call by its number.
pub fn call(number: libc::c_long, arguments: [u64; 6]) -> Result<i64, i32> {
    let [one, two, three, four, five, six] = arguments;
    // SAFETY: tests give numbers, or pointers to what lives through the call.
    answer(unsafe { libc::syscall(number, one, two, three, four, five, six) })
}

pub fn answer(answer: libc::c_long) -> Result<i64, i32> {
    if answer < 0 { Err(errno(&std::io::Error::last_os_error())) } else { Ok(answer) }
}

pub fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

pub fn io<T>(outcome: std::io::Result<T>) -> Result<T, i32> {
    outcome.map_err(|e| errno(&e))
}

pub fn sys<T>(outcome: rustix::io::Result<T>) -> Result<T, i32> {
    outcome.map_err(rustix::io::Errno::raw_os_error)
}

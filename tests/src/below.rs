//! One case, run in an ordinary directory and in the mount (F3): its answers must be the same, and the trees that it
//! leaves, and the replica. What a case answers is compared and printed as it is, so a case gives errno values, not
//! messages.
#![allow(clippy::unwrap_used)] // a helper that fails is a failed test

use crate::compare::{self, Class};
use crate::rig::{Commit, Rig};
use rustix::io::Errno;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

/// A result as the application sees it: a value or an errno.
pub type Answer<T = ()> = Result<T, Errno>;

/// What turns a result of the standard library into an [`Answer`].
pub trait Answered<T> {
    /// The value or the errno; panics on an error that no system call gave.
    fn answer(self) -> Answer<T>;
}

impl<T> Answered<T> for std::io::Result<T> {
    #[track_caller]
    fn answer(self) -> Answer<T> {
        self.map_err(|error| Errno::from_io_error(&error).unwrap_or_else(|| panic!("not of a system call: {error}")))
    }
}

/// Runs `case` in an ordinary directory and in a mount of its own, and compares everything.
#[track_caller]
pub fn as_below<T: PartialEq + Debug>(commit: Commit, case: impl Fn(&Path) -> T) {
    as_below_in(Rig::start(commit), case);
}

/// The same in a rig that is mounted already.
#[track_caller]
pub fn as_below_in<T: PartialEq + Debug>(rig: Rig, case: impl Fn(&Path) -> T) {
    let (native, inside) = places(&rig, "case");
    both(&native, &inside, &case);
    rig.finish();
}

/// An ordinary directory, and a new one in the mount.
pub fn places(rig: &Rig, name: &str) -> (PathBuf, PathBuf) {
    let (native, inside) = (rig.home().join(format!("native-{name}")), rig.mnt().join(name));
    fs::create_dir(&native).unwrap();
    fs::create_dir(&inside).unwrap();
    (native, inside)
}

/// Runs `case` in two directories; answers and trees must be the same, times aside.
#[track_caller]
pub fn both<T: PartialEq + Debug>(native: &Path, inside: &Path, case: impl Fn(&Path) -> T) {
    let (below, through) = (case(native), case(inside));
    assert!(below == through, "an ordinary directory (-) against the mount (+):\n{}", difference(&below, &through));
    assert_left_the_same(native, inside);
}

/// Two trees are the same, times aside.
#[track_caller]
pub fn assert_left_the_same(native: &Path, inside: &Path) {
    let report = compare::trees(native, inside).unwrap();
    let differences: Vec<String> =
        report.differences.iter().filter(|d| d.class != Class::Mtime).map(ToString::to_string).collect();
    assert!(
        differences.is_empty(),
        "an ordinary directory (first) against the mount (second):\n{}",
        differences.join("\n")
    );
}

/// Where two answers differ, a line for each part of theirs; long answers say little as a whole.
fn difference(one: &impl Debug, other: &impl Debug) -> String {
    let (one, other) = (lines(&format!("{one:?}")), lines(&format!("{other:?}")));
    if one.len() != other.len() {
        return format!("- {}\n+ {}", one.join("\n- "), other.join("\n+ "));
    }
    let differ = (0..one.len()).filter(|at| one[*at] != other[*at]);
    let before = |at: usize| if at > 0 { format!("  {}\n", one[at - 1]) } else { String::new() };
    differ.map(|at| format!("{}- {}\n+ {}", before(at), one[at], other[at])).collect::<Vec<_>>().join("\n")
}

/// Breaks the text of a value behind the commas of its two outer levels.
fn lines(text: &str) -> Vec<String> {
    const LEVELS: usize = 2;
    let (mut lines, mut line, mut depth) = (Vec::new(), String::new(), 0_usize);
    for c in text.chars() {
        line.push(c);
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth <= LEVELS => lines.push(std::mem::take(&mut line)),
            _ => {}
        }
    }
    lines.push(line);
    lines
}

/// `truncate(2)`: by path, without opening the file first.
pub fn truncate(path: &Path, len: i64) -> Answer {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: `path` is NUL-terminated and lives through the call.
    let result = unsafe { libc::truncate(path.as_ptr(), len) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).answer() }
}

//! The public suites: where their programs are, how they are run on a directory and what they said of each case. No
//! expectation of replfs stands here; `tests/suites.rs` has those.

pub mod fio;
pub mod fsx;
pub mod pjdfstest;
mod sides;
pub mod stress;
pub mod tools;
mod verdict;

pub use sides::Sides;
pub use verdict::{Verdict, Verdicts};

use crate::command::{self, Outcome};
use std::process::Command;
use std::time::Duration;

/// Runs a program of a suite to its end, or kills it after `most`: exit code 124 or 137 then.
#[track_caller]
fn run_at_most(most: Duration, program: &Command) -> Outcome {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=5", &most.as_secs().to_string()]).arg(program.get_program()).args(program.get_args());
    if let Some(dir) = program.get_current_dir() {
        bounded.current_dir(dir);
    }
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    command::run(&mut bounded)
}

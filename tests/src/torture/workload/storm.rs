//! Roamers in a tree of their own, which is given up for a new one after a while: nothing is known of what they leave but that both sides have it.

use super::Workload;
use crate::roam::Roamers;
use crate::torture::running::Running;
use std::io;
use std::path::Path;

const NAME: &str = "storm";
/// Operations in one tree.
const MOST: u64 = 20_000;

/// Roamers.
#[derive(Debug)]
pub struct Storm {
    seed: u64,
}

impl Storm {
    /// With chances of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Workload for Storm {
    fn run(&self, at: &Path, running: &Running) {
        for number in 0.. {
            let here = at.join(format!("storm{number}"));
            // Where it cannot be made the roamers find nothing, and the next one is tried.
            if let Err(error) = std::fs::create_dir(&here) {
                running.failed(NAME, "the directory of a tree", &error);
            } else {
                let roamers = Roamers::start(&here, 2, self.seed.wrapping_add(number));
                while !running.is_shut() && running.goes_on_for_a_moment() && roamers.tried() < MOST {}
                roamers.stop();
                running.did(NAME);
            }
            if !running.goes_on() {
                return;
            }
            // With those that could not be removed before, or the disk is full of them in the end.
            if empty(at).is_err() {
                running.program_failed(NAME, "the tree cannot be removed");
            }
        }
    }

    fn lacking(&self, _at: &Path, _scratch: &Path) -> Vec<String> {
        Vec::new()
    }
}

/// Removes all that is in a directory, as far as that is possible. The last error.
fn empty(at: &Path) -> io::Result<()> {
    let mut result = Ok(());
    for entry in std::fs::read_dir(at)? {
        let entry = entry?;
        let is_dir = entry.file_type()?.is_dir();
        let removed = if is_dir { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        result = removed.and(result);
    }
    result
}

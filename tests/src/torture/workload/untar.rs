//! Trees that are unpacked from an archive beside the mount, and removed after a while. What was unpacked to its end has to be what the archive has.

use super::{Workload, program};
use crate::torture::running::Running;
use crate::tree;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const NAME: &str = "untar";
const FILES: usize = 120;

/// Unpacked trees; at most two are there.
#[derive(Debug)]
pub struct Trees {
    archive: PathBuf,
    unpacked: Mutex<Vec<String>>,
}

impl Trees {
    /// Makes the archive.
    #[track_caller]
    pub fn packed_in(home: &Path) -> Self {
        let (made, archive) = (home.join("packed"), home.join("packed.tar"));
        tree::sources(&made, FILES);
        let words = ["--format=posix", "-C", &made.to_string_lossy(), "-cf", &archive.to_string_lossy(), "."];
        program(home, "tar", &words).unwrap_or_else(|said| panic!("cannot make an archive: {said}"));
        Self { archive, unpacked: Mutex::default() }
    }

    fn unpack(&self, at: &Path, number: u64) -> Result<(), String> {
        let name = format!("tree{number}");
        std::fs::create_dir(at.join(&name)).map_err(|error| format!("a directory to unpack into: {error}"))?;
        program(&at.join(&name), "tar", &["-xpf", &self.archive.to_string_lossy()])?;
        let gone = {
            let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
            unpacked.push(name);
            if unpacked.len() > 2 { Some(unpacked.remove(0)) } else { None }
        };
        gone.map_or(Ok(()), |gone| program(at, "rm", &["-rf", &gone]).map(drop))
    }
}

impl Workload for Trees {
    fn run(&self, at: &Path, running: &Running) {
        for number in 0.. {
            if !running.goes_on() {
                return;
            }
            match self.unpack(at, number) {
                Ok(()) => running.did(NAME),
                Err(said) => {
                    running.program_failed(NAME, &said);
                    // What is left of it is of no use to anybody; where it cannot be removed now, it stays and is compared.
                    let _stays = program(at, "rm", &["-rf", &format!("tree{number}")]);
                }
            }
        }
    }

    fn lacking(&self, at: &Path, _scratch: &Path) -> Vec<String> {
        let unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        let compare = |name: &String| {
            program(&at.join(name), "tar", &["-df", &self.archive.to_string_lossy()])
                .err()
                .map(|said| format!("{name}: {said}"))
        };
        unpacked.iter().filter_map(compare).collect()
    }
}

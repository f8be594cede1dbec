//! Commits, in repositories that are given up for new ones after a while, or after a failure. Each commit that was made has to be there and whole.

use super::{Workload, program};
use crate::seed::Random;
use crate::torture::running::Running;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const NAME: &str = "git";
/// Commits in a repository.
const MOST: usize = 20;

/// Repositories; at most two are there.
#[derive(Debug)]
pub struct Repositories {
    seed: u64,
    /// Their names with the commits that they have.
    made: Mutex<Vec<(String, Vec<String>)>>,
}

impl Repositories {
    /// With chances of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, made: Mutex::default() }
    }

    /// A new repository; the one before the last goes.
    fn begin(&self, at: &Path, number: u64) -> Result<String, String> {
        let name = format!("repository{number}");
        program(at, "git", &["init", "-q", "-b", "main", &name])?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.push((name.clone(), Vec::new()));
        let gone = if made.len() > 2 { Some(made.remove(0).0) } else { None };
        drop(made);
        if let Some(gone) = gone {
            // Nothing is asked about it any more; where it cannot be removed, its remains are compared like everything.
            program(at, "rm", &["-rf", &gone])?;
        }
        Ok(name)
    }

    fn commit(&self, at: &Path, name: &str, random: &mut Random, number: usize) -> Result<(), String> {
        let work = at.join(name);
        for _ in 0..5 {
            let dir = work.join(format!("dir{}", random.below(3)));
            let text = format!("commit {number}\n{:x}\n", random.bits()).repeat(1 + number % 7);
            let written =
                fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(format!("file{}", random.below(9))), text));
            written.map_err(|error| format!("a file of a repository: {error}"))?;
        }
        program(&work, "git", &["add", "-A"])?;
        program(&work, "git", &["commit", "-q", "--allow-empty", "-m", &format!("commit {number}")])?;
        let hash = program(&work, "git", &["rev-parse", "HEAD"])?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, commits)) = made.last_mut() {
            commits.push(hash.trim().to_owned());
        }
        Ok(())
    }
}

impl Workload for Repositories {
    fn run(&self, at: &Path, running: &Running) {
        let (mut random, mut repositories, mut current) = (Random::new(self.seed), 0, None);
        while running.goes_on() {
            let name = match current.take() {
                Some((name, commits)) if commits < MOST => Ok((name, commits)),
                _ => {
                    repositories += 1;
                    self.begin(at, repositories).map(|name| (name, 0))
                }
            };
            let done = name
                .and_then(|(name, commits)| self.commit(at, &name, &mut random, commits).map(|()| (name, commits + 1)));
            match done {
                Ok(more) => {
                    running.did(NAME);
                    current = Some(more);
                }
                Err(said) => running.program_failed(NAME, &said),
            }
        }
    }

    fn lacking(&self, at: &Path, scratch: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for (name, commits) in self.made.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Some(last) = commits.last() else { continue };
            let copied = program(scratch, "cp", &["-a", &at.join(name).to_string_lossy(), "."]);
            let copy = scratch.join(name);
            let checked = copied.and_then(|_| program(&copy, "git", &["fsck", "--full", "--strict"]));
            if let Err(said) = checked {
                found.push(format!("{name}: {said}"));
            }
            let known = program(&copy, "git", &["rev-list", last]).unwrap_or_default();
            let gone = commits.iter().filter(|hash| !known.lines().any(|line| line == hash.as_str()));
            found.extend(gone.map(|hash| format!("{name}: commit {hash} is gone")));
        }
        found
    }
}

//! What works in a mount while it is tormented, and knows afterwards what has to be there. One file each.

mod git;
mod shadow;
mod sqlite;
mod storm;
mod untar;
mod writer;

pub use writer::Writer;

use super::running::Running;
use crate::rig::Rig;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// Something that works until it is stopped. It keeps what it was told, outside of the mount.
pub trait Workload: Send + Sync {
    /// Works below a directory that is there, until [`Running::goes_on`] says no. Whatever fails it notes there, and goes on.
    fn run(&self, at: &Path, running: &Running);

    /// After that: what a tree lacks of what was acknowledged, one line each. `scratch`: an empty directory.
    fn lacking(&self, at: &Path, scratch: &Path) -> Vec<String>;

    /// The history, where there is one that can be asked at any time.
    fn as_writer(&self) -> Option<&Writer> {
        None
    }
}

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two random writers; always there, because faults are timed by what they try.
    Writers,
    /// Random operations on one file, each read compared with a shadow of it.
    Shadow,
    /// Transactions of a database in WAL mode.
    Sqlite,
    /// Commits.
    Git,
    /// Trees that are unpacked and removed.
    Untar,
    /// Roaming renames, links, removals on whatever is there.
    Storm,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 6] = [Self::Writers, Self::Shadow, Self::Sqlite, Self::Git, Self::Untar, Self::Storm];

    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writers => "writers",
            Self::Shadow => "shadow",
            Self::Sqlite => "sqlite",
            Self::Git => "git",
            Self::Untar => "untar",
            Self::Storm => "storm",
        }
    }

    /// What it is.
    pub fn what(self) -> &'static str {
        match self {
            Self::Writers => {
                "random writers whose blocks say file, place and version, with a history of what was acknowledged"
            }
            Self::Shadow => "random operations on one file, each read compared with a shadow in memory",
            Self::Sqlite => "transactions in WAL mode: integrity, and each committed row",
            Self::Git => "commits: fsck, and each commit that was made",
            Self::Untar => "trees unpacked, compared with the archive, and removed",
            Self::Storm => "renames, links, removals of whatever is there, directories too",
        }
    }

    /// The workloads of this kind, each with the name of its directory.
    pub fn start(self, rig: &Rig, seed: u64) -> Vec<(String, Arc<dyn Workload>)> {
        let one: Arc<dyn Workload> = match self {
            Self::Writers => {
                let writer = |n: u64| -> (String, Arc<dyn Workload>) {
                    (format!("writer{n}"), Arc::new(Writer::new(n, seed.wrapping_add(n))))
                };
                return [1, 2].map(writer).into();
            }
            Self::Shadow => Arc::new(shadow::Shadow::new(seed)),
            Self::Sqlite => Arc::new(sqlite::Database::default()),
            Self::Git => Arc::new(git::Repositories::new(seed)),
            Self::Untar => Arc::new(untar::Trees::packed_in(rig.home())),
            Self::Storm => Arc::new(storm::Storm::new(seed)),
        };
        vec![(self.name().to_owned(), one)]
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("there is no workload {name:?}; --list shows all"))
    }
}

/// Runs a program to its end; its output where it succeeded. Errors: what it said.
fn program(dir: &Path, name: &str, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(name);
    command.args(words).current_dir(dir).stdin(Stdio::null());
    for (name, value) in [("AUTHOR", "torture"), ("COMMITTER", "torture")] {
        command.env(format!("GIT_{name}_NAME"), value).env(format!("GIT_{name}_EMAIL"), "torture@localhost");
    }
    let said = |output: &Output| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    match command.output() {
        Ok(output) if output.status.success() => Ok(said(&output).0),
        Ok(output) => {
            let (out, err) = said(&output);
            Err(format!("{name} {}: {}: {out}{err}", words.join(" "), output.status))
        }
        Err(error) => Err(format!("{name}: cannot be started in {}: {error}", dir.display())),
    }
}

//! The cage of a process that holds replicas: which directories it keeps, when it may do without, and what the status says. How
//! is `platform::cage`'s.

use crate::exit::{Code, Failure};
use crate::state::{Places, close_to_others, make_private};
use platform::cage::{self, Plan};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Whether a target is caged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CageMode {
    /// It does not start where any of it cannot be.
    Require,
    /// As far as the kernel can; the log and the status say what it cannot.
    Auto,
    /// It is not.
    Off,
}

/// What the cage of a target consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// It has a root of its own, in which there is nothing but its directories, and in those no device can be opened.
    pub namespace: bool,
    /// Version of the kernel's Landlock that is in force; none: it is not.
    pub landlock: Option<u32>,
    /// System calls that are not on the list are refused.
    pub seccomp: bool,
    /// The capabilities that it has left; empty for an ordinary user.
    pub capabilities: Vec<String>,
    /// What could not be done, and why. Everything, where it was switched off.
    pub missing: Vec<String>,
}

/// A cage that is begun: what is opened from now on is opened in it.
pub struct Begun {
    mode: CageMode,
    trees: Vec<PathBuf>,
    places: Vec<PathBuf>,
    /// A root of its own, or why not.
    namespace: Result<(), Option<String>>,
}

impl Begun {
    /// For a target: it keeps ROOT, which is made where it is missing, the state and the directory of its control socket.
    pub fn of_target(mode: CageMode, root: &Path, places: &Places) -> Result<Self, Failure> {
        let sockets = places.target_sockets();
        places.make_state()?;
        make_private(&sockets)?;
        close_to_others(&sockets)?;
        rustix::process::umask(Mode::empty());
        // Who opens it says what is wrong with it.
        let _there_or_not = DirBuilder::new().mode(0o755).create(root);
        Self::begin(mode, vec![root.to_owned()], vec![places.state().to_owned(), sockets])
    }

    /// For a command that works on one directory.
    pub fn of_root(root: &Path) -> Result<Self, Failure> {
        Self::begin(CageMode::Auto, vec![root.to_owned()], Vec::new())
    }

    fn begin(mode: CageMode, trees: Vec<PathBuf>, places: Vec<PathBuf>) -> Result<Self, Failure> {
        let mut begun = Self { mode, trees, places, namespace: Err(None) };
        let is_root = rustix::process::geteuid().is_root();
        // An ordinary user has nothing that it would take from him but the eyes: see decision 22.
        if mode != CageMode::Off && is_root && begun.trees.iter().all(|tree| tree.is_dir()) {
            let dirs: Vec<&Path> = begun.trees.iter().chain(&begun.places).map(PathBuf::as_path).collect();
            begun.namespace = match cage::separate(&dirs).map_err(|e| broken(&e))? {
                None => Ok(()),
                Some(why) => Err(Some(format!("namespace: {why}"))),
            };
        }
        Ok(begun)
    }

    /// Closes it, before there is a second thread.
    pub fn close(self) -> Result<Confined, Failure> {
        if self.mode == CageMode::Off {
            let missing = vec!["switched off (--cage off)".to_owned()];
            tracing::warn!(event = "not-confined", "the target is not confined: --cage off");
            return Ok(Confined { missing, ..Confined::default() });
        }
        // Read while it can be.
        platform::sys::boot().map_err(|e| Failure::io(Code::System, "cannot read the id of this boot", &e))?;
        let trees: Vec<&Path> = self.trees.iter().map(PathBuf::as_path).collect();
        let places: Vec<&Path> = self.places.iter().map(PathBuf::as_path).collect();
        let closed = cage::close(&Plan { trees: &trees, places: &places }).map_err(|e| broken(&e))?;
        let confined = Confined {
            namespace: self.namespace.is_ok(),
            landlock: closed.landlock,
            seccomp: closed.syscalls,
            capabilities: closed.capabilities,
            missing: self.namespace.err().flatten().into_iter().chain(closed.missing).collect(),
        };
        tracing::info!(event = "confined", "confined: {}", confined.text());
        if self.mode == CageMode::Require && !confined.missing.is_empty() {
            let text = format!(
                "--cage require: the target cannot be confined as a whole ({}); use another kernel, or --cage auto",
                confined.missing.join("; ")
            );
            return Err(Failure::new(Code::Uncaged, text));
        }
        Ok(confined)
    }
}

impl Confined {
    /// In a line, for people.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        if self.namespace {
            parts.push("namespace".to_owned());
        }
        parts.extend(self.landlock.map(|version| format!("landlock {version}")));
        if self.seccomp {
            parts.push("seccomp".to_owned());
        }
        if parts.is_empty() {
            parts.push("no".to_owned());
        } else {
            parts.push(match self.capabilities.len() {
                0 => "no capabilities".to_owned(),
                1 => "1 capability".to_owned(),
                count => format!("{count} capabilities"),
            });
        }
        let missing = if self.missing.is_empty() { String::new() } else { format!("; {}", self.missing.join("; ")) };
        parts.join(", ") + &missing
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::io(Code::System, "cannot confine this process; '--cage off' starts a target without", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_knows_of_no_cage_is_understood() {
        let said =
            r#"{"pid":1,"listen":"l","fingerprint":"f","version":1,"root":"/r","software":"0.1.0","sources":[]}"#;
        let daemon: crate::control::TargetDaemon = serde_json::from_str(said).expect("an older status");
        assert_eq!(daemon.confined, Confined::default());
    }

    #[test]
    fn a_cage_is_shown_in_a_line() {
        let whole = Confined {
            namespace: true,
            landlock: Some(6),
            seccomp: true,
            capabilities: vec!["chown".to_owned(), "fowner".to_owned()],
            missing: Vec::new(),
        };
        assert_eq!(whole.text(), "namespace, landlock 6, seccomp, 2 capabilities");
        let user = Confined { namespace: false, capabilities: Vec::new(), ..whole.clone() };
        assert_eq!(user.text(), "landlock 6, seccomp, no capabilities");
        let old = Confined { landlock: None, missing: vec!["landlock: not here".to_owned()], ..whole };
        assert_eq!(old.text(), "namespace, seccomp, 2 capabilities; landlock: not here");
        let off = Confined { missing: vec!["switched off".to_owned()], ..Confined::default() };
        assert_eq!(off.text(), "no; switched off");
    }
}

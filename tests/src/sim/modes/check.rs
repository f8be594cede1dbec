//! The promises of the commit modes (docs/semantics.md), as they are to hold whoever ends at whatever moment.

use super::moments::Files;
use super::source::{Action, What};
use srm::status::{CommitMode, NearBounds};
use std::fmt;

/// What is promised; what a failed check was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// `sync`: what was answered is on the target.
    Sync,
    /// `near`: of what was answered no more than the bounds is not on the target.
    Near,
    /// `real`: what was answered is on the source, and on the target in the end.
    Real,
    /// `local`: what was answered is on the source after it lost power.
    Local,
    /// `remote`: what was answered is on both, what failed on neither.
    Remote,
    /// Records are applied in order, each once, and a number means one thing.
    Order,
    /// A target that calls itself coherent shows what the source showed, and never goes back.
    Prefix,
    /// When all is up again, both come to be the same, and operations are answered.
    Recovery,
    /// What ships asserts.
    Assertion,
}

/// What a check says.
pub type Checked = Result<(), (Promise, String)>;

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Near => "near",
            Self::Real => "real",
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Order => "order",
            Self::Prefix => "prefix",
            Self::Recovery => "recovery",
            Self::Assertion => "assertion",
        })
    }
}

/// What an application was told of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// That it is done.
    Done,
    /// The same, while the mode was not in force.
    Released,
    /// That it failed.
    Failed,
}

/// An operation, and what became of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its number, above that of those before it.
    pub number: u64,
    /// What it is.
    pub action: Action,
    /// What its application knows.
    pub told: Told,
}

impl Known {
    /// Whether this shows it, or what came later to the same file.
    fn is_in(&self, files: &Files) -> bool {
        match self.action.what {
            What::Write => files.get(&self.action.name()).is_some_and(|content| *content >= self.number),
            What::Create => files.contains_key(&self.action.name()),
            What::Remove => !files.contains_key(&self.action.name()),
        }
    }

    /// Whether it shows that it was carried out, where it was not to be.
    fn shows_in(&self, files: &Files) -> bool {
        match self.action.what {
            What::Write => files.get(&self.action.name()) == Some(&self.number),
            What::Create => files.contains_key(&self.action.name()),
            What::Remove => !files.contains_key(&self.action.name()),
        }
    }
}

/// What is there.
pub struct View<'a> {
    /// On the source.
    pub source: &'a Files,
    /// On the target.
    pub target: &'a Files,
    /// Of an operation, at the least, in bytes as the bounds count them.
    pub cost: u64,
}

fn missing(promise: Promise, known: &Known, side: &str) -> Checked {
    Err((promise, format!("operation {}, {}, was answered and is not on the {side}", known.number, known.action)))
}

/// What was promised of these, with the daemons in whatever state.
pub fn check(mode: CommitMode, bounds: NearBounds, known: &[Known], view: &View<'_>) -> Checked {
    let done = || known.iter().filter(|known| known.told == Told::Done);
    match mode {
        CommitMode::Sync => {
            done().find(|k| !k.is_in(view.target)).map_or(Ok(()), |k| missing(Promise::Sync, k, "target"))
        }
        CommitMode::Near => {
            let behind = done().filter(|known| !known.is_in(view.target)).count() as u64;
            let bytes = behind.saturating_mul(view.cost);
            if behind > bounds.operations || bytes > bounds.bytes {
                let text = format!(
                    "{behind} operations of {} bytes at the least were answered and are not on the target",
                    view.cost
                );
                return Err((Promise::Near, text));
            }
            Ok(())
        }
        CommitMode::Real => on_source(Promise::Real, known, view),
        CommitMode::Local => on_source(Promise::Local, known, view),
        CommitMode::Remote => {
            on_source(Promise::Remote, known, view)?;
            done().find(|k| !k.is_in(view.target)).map_or(Ok(()), |k| missing(Promise::Remote, k, "target"))
        }
    }
}

/// What was answered is on the source.
pub fn on_source(promise: Promise, known: &[Known], view: &View<'_>) -> Checked {
    let mut done = known.iter().filter(|known| known.told == Told::Done);
    done.find(|known| !known.is_in(view.source)).map_or(Ok(()), |known| missing(promise, known, "source"))
}

/// When everything is up again, and neither machine has lost power: what was answered is on both, and what failed on neither.
pub fn check_end(promise: Promise, known: &[Known], view: &View<'_>) -> Checked {
    on_source(promise, known, view)?;
    for one in known {
        match one.told {
            Told::Done if !one.is_in(view.target) => return missing(promise, one, "target"),
            Told::Failed if one.shows_in(view.source) || one.shows_in(view.target) => {
                return Err((promise, format!("operation {}, {}, failed and was carried out", one.number, one.action)));
            }
            _ => {}
        }
    }
    Ok(())
}

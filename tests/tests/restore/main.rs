//! Bringing a replica back: exactly, only what differs, without losing what is there, from where it was interrupted. Here:
//! what the cases share.
#![allow(clippy::unwrap_used)]

mod contents;
mod interruptions;
mod places;
mod rights;

use replfs_tests::command::Outcome;
use replfs_tests::compare;
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Exit codes.
const USAGE: i32 = 1;
const LOST: i32 = 36;
const OWNED: i32 = 38;
const INCOMPLETE: i32 = 50;
const DESTINATION: i32 = 51;
const NO_REPLICA: i32 = 52;

/// The words that name a rig's replica.
fn from(rig: &Rig) -> Vec<String> {
    let mut words = vec!["--from".to_owned(), rig.target_argument(), "--name".to_owned(), NAME.to_owned()];
    if !rig.target_argument().contains('/') {
        words.extend(["--target-key".to_owned(), rig.target_key().to_owned()]);
    }
    words
}

/// Restores this rig's replica to `to`.
#[track_caller]
fn restore(rig: &Rig, to: &Path, more: &[&str]) -> Outcome {
    let mut words = from(rig);
    words.extend(["--to".to_owned(), to.to_str().unwrap().to_owned()]);
    words.extend(more.iter().map(|word| (*word).to_owned()));
    rig.replfs("restore", &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Restores and gives the document that says what was done.
#[track_caller]
fn document(rig: &Rig, to: &Path, more: &[&str]) -> Value {
    let outcome = restore(rig, to, &[&["--json"], more].concat());
    serde_json::from_str(outcome.ok()).unwrap()
}

fn counts(document: &Value) -> [u64; 5] {
    ["new", "changed", "attributes", "aside", "extra"].map(|what| document["counts"][what].as_u64().unwrap())
}

#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    let report = compare::trees(a, b).unwrap();
    assert!(report.differences.is_empty(), "{} against {}:\n{}", a.display(), b.display(), report.text(20));
}

/// A rig whose replica was made, with nothing mounted any more.
fn at_rest(setup: Setup, make: impl FnOnce(&Path)) -> Rig {
    let mut rig = Rig::prepare(Commit::Real, setup);
    make(&rig.src());
    rig.mount();
    rig.settle();
    rig.unmount();
    rig
}

fn lines(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> = outcome.ok().lines().map(ToOwned::to_owned).collect();
    lines.pop();
    lines
}

/// A file that is not whole yet.
fn partial_of(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    names.into_iter().find(|path| path.file_name().unwrap().to_str().is_some_and(|n| n.starts_with(".replfs-restore-")))
}

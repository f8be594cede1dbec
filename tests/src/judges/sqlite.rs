//! `SQLite` in WAL mode: no server, its shells share the files.

use super::client::{Client, QUESTION, TABLES};
use crate::command::{run, tool};
use std::path::Path;
use std::process::Command;

const FILE: &str = "data.db";

/// Makes an empty database.
#[track_caller]
pub fn create(dir: &Path) {
    let made = std::fs::create_dir(dir);
    made.unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
    tool(dir, "sqlite3", [FILE, &format!("pragma journal_mode=wal; {TABLES}")]);
}

/// A client of it. `full`: each commit is synced, and not only each checkpoint.
#[track_caller]
pub fn client(dir: &Path, number: u64, full: bool) -> Client {
    let mut shell = Command::new("stdbuf");
    shell.args(["-oL", "sqlite3", "-bail", "-batch"]).arg(dir.join(FILE)).args(["-cmd", ".timeout 60000"]);
    shell.args(["-cmd", if full { "pragma synchronous=full" } else { "pragma synchronous=normal" }]);
    Client::start(number, "begin immediate", shell.args(["-cmd", "pragma wal_autocheckpoint=50"]))
}

/// What is in it, once it has recovered. Panics where it does not, or is damaged.
#[track_caller]
pub fn judge(dir: &Path) -> String {
    let sound = run(Command::new("sqlite3").arg(dir.join(FILE)).arg("pragma integrity_check"));
    assert_eq!(sound.ok(), "ok", "the replica as a database");
    run(Command::new("sqlite3").arg(dir.join(FILE)).arg(QUESTION)).ok().to_owned()
}

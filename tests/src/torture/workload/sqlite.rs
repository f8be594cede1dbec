//! Transactions of a database in WAL mode, one after the other. What the program said it had committed has to be there.

use super::{Workload, program};
use crate::torture::running::Running;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

const NAME: &str = "sqlite";
/// Rows; each transaction replaces one, so that the database stays small however long this goes on.
const ROWS: u64 = 500;

/// A database, and which transaction each row was last committed by.
#[derive(Debug, Default)]
pub struct Database {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last transaction that was begun.
    begun: u64,
    committed: Vec<u64>,
}

/// A `sqlite3` that waits for more. Dropping it kills it.
struct Session {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Session {
    fn open(at: &Path) -> Result<Self, String> {
        let mut command = Command::new("sqlite3");
        command.args(["-bail", "data.db"]).current_dir(at);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("sqlite3 cannot be started: {error}"))?;
        let Some(answers) = child.stdout.take() else { return Err("sqlite3 has no output".into()) };
        let mut session = Self { child, answers: BufReader::new(answers) };
        session.ask(
            "pragma busy_timeout=3000; pragma journal_mode=wal; pragma synchronous=normal; pragma wal_autocheckpoint=20;
             create table if not exists t(slot integer primary key, n integer, pad text);",
            "open",
        )?;
        Ok(session)
    }

    /// Has something done, and waits until it is.
    fn ask(&mut self, script: &str, word: &str) -> Result<(), String> {
        let Some(input) = self.child.stdin.as_mut() else { return Err("sqlite3 has no input".into()) };
        let sent = writeln!(input, "{script}\nselect 'done {word}';").and_then(|()| input.flush());
        sent.map_err(|error| format!("sqlite3 has ended: {error}"))?;
        let mut line = String::new();
        loop {
            line.clear();
            match self.answers.read_line(&mut line) {
                Ok(0) => return Err("sqlite3 ended with an error".into()),
                Ok(_) if line.trim() == format!("done {word}") => return Ok(()),
                // What a pragma answers.
                Ok(_) => {}
                Err(error) => return Err(format!("sqlite3 cannot be read: {error}")),
            }
        }
    }
}

impl Database {
    fn transaction(&self, session: &mut Session) -> Result<(), String> {
        let n = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.begun += 1;
            state.begun
        };
        let (one, two) = (n % ROWS, (n * 7 + 1) % ROWS);
        session.ask(
            &format!(
                "begin; insert or replace into t values ({one}, {n}, hex(randomblob(100)));
                 insert or replace into t values ({two}, {n}, hex(randomblob(100))); commit;"
            ),
            &n.to_string(),
        )?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.committed.resize(usize::try_from(ROWS).unwrap_or(0), 0);
        for slot in [one, two] {
            state.committed[usize::try_from(slot).unwrap_or(0)] = n;
        }
        Ok(())
    }
}

impl Workload for Database {
    fn run(&self, at: &Path, running: &Running) {
        let mut session = None;
        loop {
            if running.is_shut() {
                session = None;
            }
            if !running.goes_on() {
                return;
            }
            let open = match session.take() {
                Some(open) => Ok(open),
                None => Session::open(at),
            };
            match open.and_then(|mut open| self.transaction(&mut open).map(|()| open)) {
                Ok(open) => {
                    running.did(NAME);
                    session = Some(open);
                }
                Err(said) => running.program_failed(NAME, &said),
            }
        }
    }

    fn lacking(&self, at: &Path, scratch: &Path) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = program(scratch, "bash", &["-c", "cp -a \"$1\"/data.db* .", "copy", &at.to_string_lossy()]);
        if copied.is_err() && state.committed.is_empty() {
            return Vec::new();
        }
        let asked = copied.and_then(|_| program(scratch, "sqlite3", &["data.db", "pragma integrity_check"]));
        match asked {
            Ok(said) if said.trim() == "ok" => {}
            Ok(said) | Err(said) => return vec![format!("the database is damaged: {said}")],
        }
        let rows = program(scratch, "sqlite3", &["data.db", "select slot, n from t"]).unwrap_or_default();
        let mut there = vec![0; state.committed.len()];
        for (slot, n) in rows.lines().filter_map(|line| line.split_once('|')) {
            if let (Ok(slot), Ok(n)) = (slot.parse::<usize>(), n.parse::<u64>())
                && slot < there.len()
            {
                there[slot] = n;
            }
        }
        let lost = there.iter().zip(&state.committed).enumerate().filter(|(_, (has, committed))| has < committed);
        lost.map(|(slot, (has, committed))| format!("row {slot} is of transaction {has}, {committed} was committed"))
            .collect()
    }
}

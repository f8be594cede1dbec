//! A client of a database: its shell on a pipe, one transaction after the other, each on record when the shell has said that it is committed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Makes the tables that clients write to.
pub const TABLES: &str =
    "create table judged(client integer, number integer, filler text, primary key (client, number));
     create table twin(client integer, number integer);
     create index twins on twin(client, number);\n";

/// Asks for what is there: by client how many and the highest number of both tables, and what is in one of them alone.
pub const QUESTION: &str = "select client, count(*), max(number) from judged group by client order by client;
     select client, count(*), max(number) from twin group by client order by client;\n";

/// A client at work.
#[derive(Debug)]
pub struct Client {
    shell: Child,
    committed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Client {
    /// Starts one. `shell`: reads SQL from its standard input, and ends at the first error.
    #[track_caller]
    pub fn start(number: u64, begin: &'static str, shell: &mut Command) -> Self {
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", shell.get_program().display()));
        let (Some(mut to), Some(from)) = (shell.stdin.take(), shell.stdout.take()) else {
            panic!("a pipe to a client was not kept")
        };
        let committed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&committed);
        let thread = std::thread::spawn(move || {
            let mut lines = BufReader::new(from).lines();
            for n in 1_u64.. {
                let filler = "x".repeat(usize::try_from(n * 37 % 900).unwrap_or(0));
                let transaction = format!(
                    "{begin};\ninsert into judged values ({number}, {n}, '{filler}');\n\
                     insert into twin values ({number}, {n});\ncommit;\nselect 'done {n}';\n"
                );
                // It ends when its shell does.
                if to.write_all(transaction.as_bytes()).and_then(|()| to.flush()).is_err() {
                    break;
                }
                let done = format!("done {n}");
                if !lines.by_ref().map_while(Result::ok).any(|line| line == done) {
                    break;
                }
                count.store(n, Ordering::SeqCst);
            }
        });
        Self { shell, committed, thread }
    }

    /// Its transactions so far.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    /// Its shell is killed; how many transactions it was told are committed.
    #[track_caller]
    pub fn kill(mut self) -> u64 {
        let _ended = self.shell.kill();
        let _ended = self.shell.wait();
        assert!(self.thread.join().is_ok(), "a client panicked");
        self.committed.load(Ordering::SeqCst)
    }

    /// Whether it has ended by itself.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// What a database says is there of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Transactions.
    pub count: u64,
    /// The number of the last.
    pub last: u64,
}

/// Reads the answers to [`QUESTION`]; what is wrong with them by themselves.
pub fn found(answer: &str, clients: usize) -> Result<Vec<Found>, String> {
    let mut tables = [vec![Found::default(); clients], vec![Found::default(); clients]];
    let (mut table, mut before) = (0, None);
    for line in answer.lines() {
        let fields: Vec<u64> = line.split('|').filter_map(|field| field.parse().ok()).collect();
        let [client, count, last] = fields[..] else { return Err(format!("{line:?} is no answer")) };
        // Clients are in order within a table.
        if before.is_some_and(|before| client <= before) {
            table = 1;
        }
        before = Some(client);
        let place = usize::try_from(client).ok().and_then(|client| tables[table].get_mut(client));
        *place.ok_or_else(|| format!("client {client} never was"))? = Found { count, last };
    }
    let [judged, twin] = tables;
    if judged != twin {
        return Err(format!("transactions are torn: {judged:?} in one table, {twin:?} in the other"));
    }
    for (client, found) in judged.iter().enumerate() {
        if found.count != found.last {
            return Err(format!(
                "client {client}: {} transactions, and the last is number {}",
                found.count, found.last
            ));
        }
    }
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_what_is_torn_or_missing_is_seen() {
        let two = [Found { count: 5, last: 5 }, Found { count: 7, last: 7 }];
        assert_eq!(found("0|5|5\n1|7|7\n0|5|5\n1|7|7\n", 2).as_deref(), Ok(&two[..]));
        assert_eq!(found("0|5|5\n0|5|5\n", 2).map(|found| found[1]), Ok(Found::default()));
        assert_eq!(found("", 1).map(|found| found[0]), Ok(Found::default()));
        assert!(found("0|5|5\n0|4|4\n", 1).is_err_and(|reason| reason.contains("torn")));
        assert!(found("0|5|6\n0|5|6\n", 1).is_err_and(|reason| reason.contains("the last is number 6")));
        assert!(found("error\n", 1).is_err());
        assert!(found("3|5|5\n", 1).is_err());
    }
}

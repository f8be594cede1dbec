//! What applications do, on paths that are there: which ones is decided by the event's numbers and by what the directory has in it at that time.

use super::schedule::{Action, What};
use super::snapshot::{Kind, Snapshot};
use fsi::stepped::{Change, Files};
use protocol::Time;
use srm::Ticket;
use std::cell::Cell;
use std::io;

/// Names that are made.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Bytes of a file at the most.
const LONGEST: u64 = 6000;
/// Applications that keep a file open.
pub(super) const CLIENTS: usize = 3;

fn pick<'a>(from: &[&'a String], by: u64) -> io::Result<&'a str> {
    let at = usize::try_from(by).unwrap_or(0).checked_rem(from.len());
    at.and_then(|at| from.get(at)).map(|path| path.as_str()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A name that is perhaps there and perhaps not.
fn some_name(now: &Snapshot, by: u64) -> io::Result<String> {
    let dirs = now.paths(|kind| *kind == Kind::Dir);
    let dir = pick(&dirs, by >> 8)?;
    let name = NAMES[usize::try_from(by % NAMES.len() as u64).unwrap_or(0)];
    Ok(if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") })
}

/// Bytes that no other write has.
fn content(number: u64, len: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| u8::try_from((number * 31 + at / 64) % 251).unwrap_or(0)).collect();
    for (at, byte) in number.to_le_bytes().iter().enumerate().take(bytes.len()) {
        bytes[at] = *byte;
    }
    bytes
}

/// Does it. An error with a ticket: something was changed all the same.
pub(super) fn act(
    files: &Files,
    open: &[Cell<Option<u64>>; CLIENTS],
    now: &Snapshot,
    action: &Action,
    number: u64,
) -> (io::Result<()>, Ticket) {
    try_act(files, open, now, action, number).unwrap_or_else(|error| (Err(error), Ticket::NONE))
}

fn try_act(
    files: &Files,
    open: &[Cell<Option<u64>>; CLIENTS],
    now: &Snapshot,
    action: &Action,
    number: u64,
) -> io::Result<(io::Result<()>, Ticket)> {
    let Action { what, client, a, b } = *action;
    let is_file = |kind: &Kind| matches!(kind, Kind::File(_));
    let file = || pick(&now.paths(is_file), a).map(str::to_owned);
    let slot = &open[client % CLIENTS];
    let done = |(result, ticket): (io::Result<u32>, Ticket)| (result.map(drop), ticket);
    Ok(match what {
        What::Write | What::Append => {
            let (path, kept) = (file(), slot.get());
            let (handle, opened) = match kept.filter(|_| b % 3 == 0) {
                Some(handle) => (handle, false),
                None => (files.open(&path?)?, true),
            };
            let size = |path: &String| match now.0.get(path).map(|entry| &entry.kind) {
                Some(Kind::File(bytes)) => bytes.len() as u64,
                _ => 0,
            };
            let at = if what == What::Append { file().map_or(0, |path| size(&path)) } else { b % LONGEST / 2 };
            let written = files.write(handle, at.min(LONGEST), &content(number, 16 + (a ^ b) % 1500));
            if opened {
                files.release(handle);
            }
            done(written)
        }
        What::Truncate => files.change(&file()?, Change { size: Some(b % LONGEST), ..Change::default() }),
        What::Create => {
            let (result, ticket) = files.create(&some_name(now, a)?);
            let kept = result.map(|handle| match slot.get() {
                None if b % 2 == 0 => slot.set(Some(handle)),
                _ => files.release(handle),
            });
            (kept, ticket)
        }
        What::Mkdir => files.mkdir(&some_name(now, a)?),
        What::Symlink => files.symlink(&some_name(now, a)?, NAMES[client % NAMES.len()]),
        What::Unlink => files.unlink(pick(&now.paths(|kind| *kind != Kind::Dir), a)?),
        What::Rmdir => files.rmdir(pick(&now.paths(|kind| *kind == Kind::Dir), a)?),
        What::Rename => {
            let all: Vec<&String> = now.0.keys().filter(|path| !path.is_empty()).collect();
            files.rename(pick(&all, a)?, &some_name(now, b)?, 0)
        }
        What::Exchange => {
            let all: Vec<&String> = now.0.keys().filter(|path| !path.is_empty()).collect();
            files.rename(pick(&all, a)?, pick(&all, b)?, libc::RENAME_EXCHANGE)
        }
        What::Link => files.link(&file()?, &some_name(now, b)?),
        What::Chmod => {
            let mode = [0o600, 0o644, 0o755, 0o700][usize::try_from(b % 4).unwrap_or(0)];
            let all: Vec<&String> = now.paths(|kind| !matches!(kind, Kind::Link(_)));
            files.change(pick(&all, a)?, Change { mode: Some(mode), ..Change::default() })
        }
        What::Times => {
            let mtime = Time { secs: 1_000_000_000 + i64::try_from(b % 1_000_000).unwrap_or(0), nanos: 5 };
            files.change(&file()?, Change { mtime: Some(mtime), ..Change::default() })
        }
        What::Open => {
            if let Some(handle) = slot.take() {
                files.release(handle);
            }
            slot.set(Some(files.open(&file()?)?));
            (Ok(()), Ticket::NONE)
        }
        What::Close => {
            slot.take().into_iter().for_each(|handle| files.release(handle));
            (Ok(()), Ticket::NONE)
        }
        What::Fsync => {
            if let Some(handle) = slot.get() {
                files.fsync(handle)
            } else {
                let handle = files.open(&file()?)?;
                let synced = files.fsync(handle);
                files.release(handle);
                synced
            }
        }
    })
}

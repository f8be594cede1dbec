//! What a target parses of bytes that it did not write in this process, as functions for those who try any bytes at all (`tests/fuzzed`).
//! Nothing else uses them, and no parser lives here.

use crate::position::State;
use crate::undo::log;
use platform::parts::Parts;
use protocol::{PieceOp, Record};
use std::os::fd::BorrowedFd;

/// Whether a record can be asked of a target at all; the reason where not.
pub fn record(record: &Record, payload: &Parts) -> Result<(), &'static str> {
    crate::check::check(record, payload)
}

/// Whether a piece can be asked of a target at all; the reason where not.
pub fn piece(op: &PieceOp, payload: &Parts) -> Result<(), &'static str> {
    crate::check::check_piece(op, payload)
}

/// A slot of a position file of 128 bytes, as it would be written again; `None` for what is none.
pub fn position_slot(bytes: &[u8]) -> Option<Vec<u8>> {
    let (generation, state) = State::decode(bytes.try_into().ok()?)?;
    Some(state.encode(generation).to_vec())
}

/// How many records the undo log in a directory has; the reason where it is no log.
pub fn undo_log(dir: BorrowedFd<'_>) -> Result<u64, String> {
    let mut records = 0;
    match log::read(dir, &mut |_, _, _| records += 1) {
        Ok(next) if next == records + 1 => Ok(records),
        Ok(next) => Err(format!("{records} records were read and the next is {next}")),
        Err(log::Unread::Io(e)) => Err(e.to_string()),
        Err(log::Unread::Damaged(why)) => Err(why),
    }
}

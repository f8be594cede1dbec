//! How the outcome of an operation becomes fuser's reply, and when. What an operation does stands elsewhere.

use crate::convert::errno;
use crate::fs::{Done, Failed, Fs};
use fuser::{Errno, ReplyEmpty, ReplyWrite, ReplyXattr};
use std::io;

/// Answers when the commit mode says so.
pub(crate) fn finish<T: Send + 'static>(
    fs: &Fs,
    outcome: Result<Done<T>, Failed>,
    reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
) {
    let (result, ticket) = split(outcome);
    if result.is_err() && ticket == srm::Ticket::NONE {
        // Nothing was changed: there is nothing to wait for.
        return reply(result);
    }
    fs.srm.commit(ticket, move || reply(result));
}

/// What is answered, and what that waits for.
pub(crate) fn split<T>(outcome: Result<Done<T>, Failed>) -> (Result<T, Errno>, srm::Ticket) {
    match outcome {
        Ok(done) => (Ok(done.value), done.ticket),
        Err(failed) => (Err(errno(&failed.error)), failed.ticket),
    }
}

pub(crate) fn empty(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

pub(crate) fn written(result: Result<u32, Errno>, reply: ReplyWrite) {
    match result {
        Ok(len) => reply.written(len),
        Err(error) => reply.error(error),
    }
}

/// The value of an attribute, or how long it is, as the request's `size` (0: how long) asks.
pub(crate) fn xattr(result: io::Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match result {
        Ok(value) => match u32::try_from(value.len()) {
            Ok(len) if size == 0 => reply.size(len),
            Ok(len) if len <= size => reply.data(&value),
            _ => reply.error(Errno::ERANGE),
        },
        Err(error) => reply.error(errno(&error)),
    }
}

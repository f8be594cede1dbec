//! Going into the background: the program starts itself again, before any thread runs, and the first process waits until
//! the second says how it went.

mod ready;
mod spawn;

pub use ready::Ready;
pub use spawn::{is_daemon, spawn};

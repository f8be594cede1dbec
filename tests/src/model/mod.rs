//! The reference model: random sequences of operations, by several users and from several threads, carried out in the mount and
//! in an ordinary directory of the same file system. The ordinary directory is the model: every result and errno must be
//! the same, the trees must end the same, and the replica must be exactly the source.
//!
//! - [`op`] is the language of operations, [`strategy`] makes sequences of them (and names what it leaves out, and why);
//! - [`side`] carries operations out in one directory as a given user, and says what a program would have seen;
//! - [`agree`] runs one sequence on two sides; [`lanes`] runs several at a time;
//! - [`bench`] has the mount, the ordinary directory and the replica;
//! - [`search`] looks for a sequence on which a check fails, makes it small, and prints the one command that repeats it.
//!
//! Nothing here knows how replfs works.

pub mod agree;
pub mod bench;
pub mod lanes;
pub mod op;
pub mod outcome;
pub mod search;
pub mod side;
pub mod strategy;
#[cfg(test)]
mod tests;
pub mod user;

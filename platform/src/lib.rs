//! The ground both sides stand on: system calls on descriptors, and the source's backing directory with its node table.
//!
//! No policy, no network, no FUSE: nothing here knows what replication is.

pub mod awake;
pub mod cage;
pub mod inlet;
pub mod killpoint;
pub mod machine;
pub mod pack;
pub mod parts;
pub mod random;
pub mod sys;
pub mod tree;
pub mod wire;

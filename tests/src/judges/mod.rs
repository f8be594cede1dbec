//! Databases as judges: clients write down what they were told is committed, the source is lost, and the replica is started as a
//! database, which says what is in it.

pub mod client;
pub mod postgres;
pub mod round;
pub mod sqlite;

//! The cases, one file per kind. Each is a function that prepares what it needs in a directory and gives the part to time;
//! none of them knows whether the directory is the mount or the bare one.

mod append;
mod database;
mod lookup;
mod names;
mod random;
mod sequential;
mod untar;

use super::case::Case;

/// All cases, in the order in which they run and are printed.
pub fn all() -> Vec<Case> {
    [
        sequential::cases(),
        random::cases(),
        append::cases(),
        names::cases(),
        lookup::cases(),
        untar::cases(),
        database::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

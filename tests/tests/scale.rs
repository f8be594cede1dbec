//! A hundred thousand files in one mount: programs walk them, and the daemon's memory and descriptors stay within their
//! bounds. `cargo xtask scale` does the same with a million.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::scale;

#[test]
fn a_hundred_thousand_files_cost_less_than_400_bytes_each_and_are_forgotten() {
    let figures = scale::measure(Rig::prepare(Commit::Real, Setup::default()), 100_000, 4);
    println!("{figures}");
    assert!(figures.broken().is_empty(), "{:#?}", figures.broken());
}

//! The mount is the directory below it, whatever programs do: random sequences of operations by several users, from one thread and
//! from several, against an ordinary directory; and the replica is the source. `model` in the library has the language,
//! the generator and what is left out of it.
//!
//! By hand, for longer: `REPLFS_MODEL_CASES=10000 cargo xtask test one_sequence`.

use replfs_tests::in_both_modes;
use replfs_tests::model::bench::Bench;
use replfs_tests::model::{lanes, search, strategy};
use replfs_tests::rig::Commit;

in_both_modes!(
    one_sequence_at_a_time_does_as_an_ordinary_directory,
    several_sequences_at_a_time_do_as_ordinary_directories,
);

/// Cases of each property and mode in an ordinary run.
const SEQUENCES: u64 = 120;
const MEETINGS: u64 = 50;

fn one_sequence_at_a_time_does_as_an_ordinary_directory(commit: Commit) {
    let mut bench = Bench::new(commit);
    let show = |steps: &Vec<_>| steps.iter().map(|step| format!("{step:?}")).collect();
    search::assert_none(&strategy::sequence(60, true), SEQUENCES, |steps| bench.one_after_the_other(steps), show);
    bench.finish();
}

fn several_sequences_at_a_time_do_as_ordinary_directories(commit: Commit) {
    let mut bench = Bench::new(commit);
    let show = |all: &Vec<_>| lanes::show(all);
    search::assert_none(&lanes::lanes(40), MEETINGS, |all| bench.at_the_same_time(all), show);
    bench.finish();
}

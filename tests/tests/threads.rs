//! How many threads take requests, how many pack, and how many receive (C4).
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use std::fs;

/// Threads of a process whose names begin so. A thread names itself once it runs.
fn until_threads(pid: u32, name: &str, wanted: usize) {
    until(&format!("{wanted} threads {name}*"), PATIENCE, || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
        (names.filter(|comm| comm.starts_with(name)).count() == wanted).then_some(())
    });
}

// claim: A284
#[test]
fn there_are_as_many_threads_as_are_asked_for() {
    let cores = std::thread::available_parallelism().unwrap().get();
    for (asked, takes, receives) in [(None, 3 * cores, cores.div_ceil(2)), (Some("5"), 5, 5)] {
        let words: Vec<&str> = asked.iter().flat_map(|number| ["--threads", number]).collect();
        let mut rig = Rig::prepare(Commit::Sync, Setup::default().option(&words).target_option(&words));
        // Before any source has come: what a target has to wait for has threads of the same name.
        until_threads(rig.target_pid(), "tokio-rt-worker", receives);
        rig.mount();
        until_threads(rig.source_pid(), "fuser-", takes.max(2));
        fs::write(rig.mnt().join("file"), "content").unwrap();
        rig.finish();
    }
}

// claim: A284
#[test]
fn what_takes_long_is_packed_by_as_many_threads_as_are_asked_for() {
    let text: Vec<u8> = (0..1 << 19).flat_map(|n| format!("{n} and on\n").into_bytes()).collect();
    for (asked, packs) in [("1", 1), ("3", 3)] {
        let words = ["--compress", "zstd:19", "--packers", asked];
        let mut rig = Rig::prepare(Commit::Real, Setup::default().option(&words));
        rig.mount();
        until_threads(rig.source_pid(), "packer", 0);
        fs::write(rig.mnt().join("file"), &text).unwrap();
        until_threads(rig.source_pid(), "packer", packs);
        rig.settle();
        until_threads(rig.source_pid(), "packer", packs);
        let target = rig.status().target().clone();
        assert!(target.packed_bytes < text.len() as u64 / 2, "{target:?}");
        rig.finish();
    }
}

// claim: A284
#[test]
fn numbers_that_are_none_of_threads_are_refused() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    for (word, number) in [
        ("--threads", "0"),
        ("--threads", "1"),
        ("--threads", "257"),
        ("--threads", "many"),
        ("--packers", "0"),
        ("--packers", "65"),
    ] {
        let refused = rig.try_mount(&[word, number]);
        assert!(refused.code == 1 && refused.stderr.contains(word), "{refused:?}");
    }
}

//! A source daemon that is killed at any moment (S5, S6): the next one sends what was queued, in order, and finds what was changed without having been
//! queued; nothing that is right travels again.
#![allow(clippy::unwrap_used)]

use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{seed, tree};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

fn rig(options: &[&str]) -> Rig {
    Rig::with(Commit::Real, Setup::default().linked().option(options))
}

/// The files of this rig's journal.
fn journal(rig: &Rig) -> Vec<PathBuf> {
    let places = ["run/journal/tree", "run/journal/tree/memory", "sources/tree/journal"];
    let files = |place: &str| fs::read_dir(rig.source_state().join(place)).into_iter().flatten();
    places
        .iter()
        .flat_map(|place| files(place))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect()
}

// claim: A160
#[test]
fn what_was_queued_is_sent_by_the_next_daemon_and_nothing_else() {
    let mut rig = rig(&["--backlog", "8MiB", "--journal-size", "256MiB"]);
    tree::sources(&rig.mnt().join("before"), 300);
    fs::write(rig.mnt().join("big"), Random::new(1).bytes(20 << 20)).unwrap();
    rig.settle();
    rig.link().cut();
    fs::write(rig.mnt().join("new"), Random::new(2).bytes(30 << 20)).unwrap();
    fs::rename(rig.mnt().join("big"), rig.mnt().join("moved")).unwrap();
    fs::rename(rig.mnt().join("before"), rig.mnt().join("after")).unwrap();
    let before = rig.status();
    assert!(
        before.target().held.entries == 0 && !before.target().mirror_due,
        "all of it is in the journal: {before:?}"
    );
    rig.kill_source();
    assert!(journal(&rig).len() > 1);
    let before_it = rig.link().bytes_there();
    rig.link().mend();
    rig.mount();
    rig.assert_equal();
    let sent = rig.link().bytes_there() - before_it;
    assert!(sent < 34 << 20, "{sent} bytes travelled for 30 MiB that were new");
    assert!(rig.source_log().contains("journal-resumed"));
    assert!(rig.status().sequence > before.sequence, "numbers go on");
    rig.finish();
}

// claim: A160
#[test]
fn killed_beside_writers_again_and_again() {
    let seed = seed::chosen();
    let mut random = Random::new(seed);
    let mut rig = rig(&["--degrade-after", "2s"]);
    tree::sources(&rig.mnt().join("sources"), 200);
    rig.settle();
    for round in 0..5 {
        let dir = rig.mnt().join(format!("load{round}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("big"), vec![7; 2 << 20]).unwrap();
        let writers = Load::start(&dir, 4, seed + round);
        let until = rig.status().sequence + 200 + random.below(2000);
        if random.below(2) == 0 {
            rig.link().cut();
        }
        rig.wait_status("some operations", |status| status.sequence >= until);
        rig.kill_source();
        // What they were told when the mount died is no matter.
        writers.stop();
        rig.link().mend();
        rig.mount();
        rig.assert_equal();
        assert!(rig.source_log().contains("journal-resumed"), "seed {seed}, round {round}");
    }
    rig.finish();
}

fn switch(rig: &Rig, how: &str) {
    rig.replfs("bypass", &[&rig.mnt().to_string_lossy(), how]).ok();
}

/// Waits until it is written down that something was renamed to this.
fn wait_for_note(rig: &Rig, to: &str) {
    let file = rig.source_state().join("run/journal/tree/held");
    until("what is held to be written down", PATIENCE, || {
        let written = fs::read(&file).unwrap_or_default();
        written.windows(to.len()).any(|part| part == to.as_bytes()).then_some(())
    });
}

// claim: A187
#[test]
fn what_was_renamed_while_things_were_held_is_renamed_by_the_next_daemon() {
    let mut rig = rig(&[]);
    let mnt = rig.mnt();
    let mut random = Random::new(7);
    for dir in ["a", "a/b", "c", "d", "e"] {
        fs::create_dir(mnt.join(dir)).unwrap();
    }
    for file in ["a/1", "a/b/2", "c/3", "d/4", "e/5", "6", "7", "8"] {
        fs::write(mnt.join(file), random.bytes(2 << 20)).unwrap();
    }
    rig.settle();
    switch(&rig, "on");
    let mv = |from: &str, to: &str| fs::rename(mnt.join(from), mnt.join(to)).unwrap();
    // Two files change places, three directories go round in a circle, one moves below what was its child, one is new.
    for (from, to) in
        [("6", "x"), ("7", "6"), ("x", "7"), ("a/b", "b"), ("a", "b/a"), ("c", "y"), ("d", "c"), ("e", "d")]
    {
        mv(from, to);
    }
    mv("y", "e");
    fs::create_dir_all(mnt.join("new/below")).unwrap();
    mv("8", "new/below/8");
    fs::remove_file(mnt.join("c/4")).unwrap();
    fs::write(mnt.join("c/4"), b"another").unwrap();
    fs::create_dir(mnt.join("marked")).unwrap();
    mv("b/a/1", "marked/last");
    wait_for_note(&rig, "marked/last");
    rig.kill_source();
    let before = rig.link().bytes_there();
    rig.mount();
    rig.assert_equal();
    let sent = rig.link().bytes_there() - before;
    assert!(sent < 200_000, "{sent} bytes for names alone\n{}", rig.source_log());
    rig.finish();
}

// claim: A187
#[test]
fn killed_while_things_are_held_again_and_again() {
    let seed = seed::chosen();
    let mut rig = rig(&[]);
    tree::sources(&rig.mnt().join("sources"), 200);
    tree::sources(&rig.mnt().join("roamed"), 50);
    for round in 0..6 {
        rig.settle();
        switch(&rig, "on");
        let roamers = Roamers::start(&rig.mnt().join("roamed"), 3, seed + round);
        roamers.roam(300);
        if round % 2 == 0 {
            roamers.stop();
            let mark = format!("mark{round}");
            fs::rename(rig.mnt().join("sources"), rig.mnt().join(&mark)).unwrap();
            wait_for_note(&rig, &mark);
            rig.kill_source();
            rig.mount();
            fs::rename(rig.mnt().join(&mark), rig.mnt().join("sources")).unwrap();
        } else {
            rig.kill_source();
            roamers.stop();
            rig.mount();
        }
        rig.assert_equal();
        assert!(rig.source_log().contains("journal-resumed"), "seed {seed}, round {round}");
    }
    rig.finish();
}

// claim: A160
#[test]
fn a_file_that_was_deleted_and_open_is_gone_on_the_target_too() {
    let mut rig = rig(&[]);
    let file = File::create(rig.mnt().join("file")).unwrap();
    file.write_all_at(b"content", 0).unwrap();
    fs::remove_file(rig.mnt().join("file")).unwrap();
    rig.settle();
    let orphans = rig.root().join(".replfs/tree/orphan");
    assert_eq!(fs::read_dir(&orphans).unwrap().count(), 1);
    rig.kill_source();
    drop(file);
    rig.mount();
    rig.settle();
    assert_eq!(fs::read_dir(&orphans).unwrap().count(), 0);
    rig.finish();
}

// claim: A161
#[test]
fn an_unmount_without_a_target_leaves_the_journal_for_the_next_mount() {
    let mut rig = rig(&["--drain-timeout", "100ms"]);
    rig.settle();
    rig.link().cut();
    fs::write(rig.mnt().join("file"), Random::new(3).bytes(5 << 20)).unwrap();
    let pid = rig.source_pid();
    let outcome = rig.replfs("umount", &[&rig.mnt().to_string_lossy(), "--timeout", "100ms"]);
    assert!(outcome.code == 43, "{outcome:?}");
    rig.wait_for_end(pid);
    rig.link().mend();
    rig.mount();
    rig.assert_equal();
    assert!(rig.source_log().contains("journal-resumed"));
    rig.finish();
}

// claim: A161
#[test]
fn a_clean_end_leaves_no_journal() {
    let mut rig = rig(&[]);
    fs::write(rig.mnt().join("file"), b"content").unwrap();
    assert!(!journal(&rig).is_empty());
    rig.settle();
    rig.unmount();
    assert_eq!(journal(&rig), Vec::<PathBuf>::new());
    rig.mount();
    rig.finish();
}

// claim: A162
#[test]
fn a_journal_that_somebody_touched_is_not_believed() {
    for (what, damage) in [
        ("a flipped bit", (|bytes: &mut Vec<u8>| bytes[8192 + 3000] ^= 4) as fn(&mut Vec<u8>)),
        ("half a segment", |bytes| bytes.truncate(bytes.len() / 2)),
        ("an empty file", Vec::clear),
    ] {
        let mut rig = rig(&["--backlog", "8MiB", "--journal-size", "64MiB"]);
        tree::sources(&rig.mnt().join("before"), 50);
        rig.settle();
        rig.link().cut();
        for n in 0..100 {
            fs::write(rig.mnt().join(format!("file{n}")), Random::new(n).bytes(100_000)).unwrap();
        }
        rig.kill_source();
        // All of the part in memory is full of what is not sent.
        let segment =
            journal(&rig).into_iter().filter(|path| path.parent().unwrap().ends_with("memory")).min().unwrap();
        let mut bytes = fs::read(&segment).unwrap();
        damage(&mut bytes);
        fs::write(segment, bytes).unwrap();
        rig.link().mend();
        rig.mount();
        let log = fs::read_to_string(rig.source_state().join("sources/tree/log")).unwrap();
        assert!(log.contains("journal-damage") && !log.contains("journal-resumed"), "{what}:\n{log}");
        rig.finish();
    }
}

// claim: A163
#[test]
fn a_journal_extension_is_used_when_the_rest_is_full_and_given_back() {
    let spool = tempfile::tempdir().unwrap();
    let extend = format!("{}:64MiB", spool.path().display());
    let rig = rig(&["--backlog", "8MiB", "--journal-size", "8MiB", "--journal-extend", &extend]);
    rig.settle();
    rig.link().cut();
    fs::write(rig.mnt().join("file"), Random::new(4).bytes(40 << 20)).unwrap();
    let status = rig.status();
    assert_eq!(status.target().held.entries, 0, "nothing was folded: {status:?}");
    let files = || fs::read_dir(spool.path().join("tree")).map_or(0, Iterator::count);
    assert!(files() > 0);
    rig.link().mend();
    rig.settle();
    replfs_tests::wait::until("the extension's files to be given back", Duration::from_secs(30), || {
        (files() == 0).then_some(())
    });
    rig.finish();
}

// claim: A160
#[test]
fn changes_behind_the_mount_between_two_daemons_are_found() {
    let mut rig = rig(&[]);
    let file = OpenOptions::new().create(true).write(true).truncate(true).open(rig.mnt().join("file")).unwrap();
    file.write_all_at(&vec![1; 100_000], 0).unwrap();
    drop(file);
    rig.settle();
    rig.kill_source();
    fs::write(rig.src().join("other"), b"made while nothing was mounted").unwrap();
    OpenOptions::new().write(true).open(rig.src().join("file")).unwrap().write_all_at(b"behind", 5000).unwrap();
    rig.mount();
    rig.finish();
}

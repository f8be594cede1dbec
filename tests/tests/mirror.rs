//! `replfs mirror`, and what a mirror sends (S7, S8): only what differs, over lanes that are open as long as there is something to copy.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{Random, seed};
use replfs_tests::tree;
use replfs_tests::user::his_own;
use replfs_tests::wait::{PATIENCE, until};
use serde_json::Value;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Exit codes.
const USAGE: i32 = 1;
const UNREACHABLE: i32 = 36;
const TIME_OVER: i32 = 43;
const UNREADABLE: i32 = 48;

fn mirror(rig: &Rig, words: &[&str]) -> replfs_tests::command::Outcome {
    let mnt = rig.mnt();
    let mut all = vec![mnt.to_str().unwrap()];
    all.extend(words);
    rig.replfs("mirror", &all)
}

/// Changes content behind replfs's back in a way that no attribute shows.
fn spoil(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let mut byte = [0];
    File::open(path).unwrap().read_at(&mut byte, 0).unwrap();
    file.write_all_at(&[!byte[0]], 0).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap()).set_accessed(before.accessed().unwrap()))
        .unwrap();
}

// claim: A130
#[test]
fn a_mirror_finds_by_content_what_no_attribute_shows() {
    let rig = Rig::prepare(Commit::Sync, Setup::default());
    let mut rig = rig;
    tree::sources(&rig.src(), 300);
    fs::write(rig.src().join("large"), Random::new(1).bytes(5 << 20)).unwrap();
    fs::hard_link(rig.src().join("large"), rig.src().join("linked")).unwrap();
    fs::create_dir(rig.src().join("dir")).unwrap();
    fs::write(rig.src().join("dir/file"), "content").unwrap();
    rig.mount();
    rig.assert_equal();
    // Both names are known to the source from here on.
    fs::metadata(rig.mnt().join("large")).unwrap();
    fs::metadata(rig.mnt().join("linked")).unwrap();
    let spoilt = ["large", "dir/file", "package000/extra"];
    fs::create_dir_all(rig.replica().join("package000")).unwrap();
    fs::write(rig.replica().join(spoilt[2]), "not of the source").unwrap();
    spoil(&rig.replica().join(spoilt[0]));
    spoil(&rig.replica().join(spoilt[1]));
    let same = |path: &str| fs::read(rig.src().join(path)).ok() == fs::read(rig.replica().join(path)).ok();
    assert!(spoilt.iter().all(|path| !same(path)));

    // Below one name only, by every way to say it.
    mirror(&rig, &["dir"]).ok();
    assert_eq!((same(spoilt[0]), same(spoilt[1]), same(spoilt[2])), (false, true, false));
    spoil(&rig.replica().join("dir/file"));
    mirror(&rig, &[rig.mnt().join("dir/file").to_str().unwrap()]).ok();
    assert!(same("dir/file"));
    mirror(&rig, &[rig.src().join("package000/extra").to_str().unwrap()]).ok();
    assert!(!rig.replica().join("package000/extra").exists(), "what only the target has is taken out of the way");
    assert!(!same("large"));

    let said = mirror(&rig, &["--lanes", "2"]);
    assert!(said.ok().contains("names compared"), "{said:?}");
    let pass = rig.status().target().pass;
    assert!(!pass.scanning && pass.done_bytes == pass.total_bytes, "{pass:?}");
    assert!(pass.sent_bytes > 0 && pass.sent_bytes < 1 << 20, "only the block that differs is sent: {pass:?}");
    rig.finish();
}

// claim: A154
#[test]
fn a_link_of_which_another_name_lies_elsewhere_is_compared_too() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    fs::create_dir(rig.src().join("dir")).unwrap();
    for (number, name) in ["large", "same", "small"].iter().enumerate() {
        let len = if *name == "small" { 3000 } else { 5 << 20 };
        fs::write(rig.src().join(name), Random::new(number as u64).bytes(len)).unwrap();
        fs::hard_link(rig.src().join(name), rig.src().join("dir").join(name)).unwrap();
    }
    rig.mount();
    rig.assert_equal();
    for name in ["large", "same", "small"] {
        fs::metadata(rig.mnt().join(name)).unwrap();
        fs::metadata(rig.mnt().join("dir").join(name)).unwrap();
    }
    spoil(&rig.replica().join("large"));
    spoil(&rig.replica().join("dir/small"));
    fs::set_permissions(rig.replica().join("small"), Permissions::from_mode(0o600)).unwrap();
    let incarnation = rig.status().target().passes;
    mirror(&rig, &["dir"]).ok();
    assert_eq!(rig.status().target().passes, incarnation + 1, "only the directory: {}", rig.source_log());
    let pass = rig.status().target().pass;
    assert!(pass.sent_bytes < 1 << 20, "only what differs is sent: {pass:?}");
    rig.finish();
}

// claim: A155
#[test]
fn files_without_a_name_are_kept_up_to_date_during_a_mirror_and_go_when_they_are_closed() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    tree::sources(&rig.src(), 1500);
    rig.mount();
    rig.assert_equal();
    let kept = rig.root().join(".replfs").join(NAME).join("orphan");
    let contents = || {
        let files = fs::read_dir(&kept).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    };
    let open = |name: &str| {
        let path = rig.mnt().join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        file.write_all_at(&[0; 100], 0).unwrap();
        fs::remove_file(path).unwrap();
        file
    };
    for round in 0..3 {
        let [first, second, third] = ["first", "second", "third"].map(open);
        rig.settle();
        assert_eq!(contents().len(), 3);
        let passes = rig.status().target().passes;
        let mut third = Some(third);
        let mut writes = 0_u64;
        std::thread::scope(|scope| {
            let mirrored = scope.spawn(|| mirror(&rig, &[]));
            until("the mirror to begin", PATIENCE, || rig.status().target().pass.scanning.then_some(()));
            while !mirrored.is_finished() {
                for file in [&first, &second] {
                    // Each in a place of its own: none hides that another was lost.
                    file.write_all_at(&(writes + 1).to_le_bytes(), 8 * writes).unwrap();
                    writes += 1;
                }
                drop(third.take());
            }
            mirrored.join().unwrap().ok();
        });
        assert!(writes > 10 && rig.status().target().passes == passes + 1, "{writes} writes");
        rig.settle();
        let mine = [&first, &second].map(|file| {
            let mut content = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut content, 0).unwrap();
            content
        });
        let mut expected = mine.to_vec();
        expected.sort();
        assert!(contents() == expected, "round {round}: what was written during the mirror is kept too");
        drop((first, second));
        rig.settle();
        assert!(contents().is_empty(), "what was closed is gone");
    }
    rig.finish();
}

// claim: A130
#[test]
fn a_mirror_that_cannot_be_is_refused_with_the_reason() {
    let setup = Setup::default().option(&["--degrade-after", "2s", "--connect-timeout", "3s"]);
    let mut rig = Rig::prepare(Commit::Real, setup);
    let set = rig.home().join("set.toml");
    fs::write(&set, "version = 1\n[[rule]]\nexclude = \"*.tmp\"\n").unwrap();
    fs::write(rig.src().join("file"), "x").unwrap();
    fs::write(rig.src().join("a.tmp"), "x").unwrap();
    rig.try_mount(&["--set", set.to_str().unwrap()]).ok();
    rig.wait_status("the first mirror", replfs_tests::rig::status::Source::is_settled);
    let says = |words: &[&str], code: i32, text: &str| {
        let outcome = mirror(&rig, words);
        outcome.expect(code);
        assert!(outcome.stderr.contains(text), "{outcome:?}");
    };
    says(&["/etc/passwd"], USAGE, "neither below MNT nor below SRC");
    says(&["../file"], USAGE, "without '..'");
    says(&["nothing"], USAGE, "neither on the source nor on the target");
    says(&["no/such/file"], USAGE, "the directory above it is not on the source");
    says(&["a.tmp"], USAGE, "left out: rule 1");
    says(&["--lanes", "17"], USAGE, "17");
    mirror(&rig, &["file", "--lanes", "16"]).ok();

    rig.replfs("bypass", &[NAME, "on"]).ok();
    says(&[], UNREACHABLE, "replication is switched off");
    rig.replfs("bypass", &[NAME, "off"]).ok();
    rig.wait_status("the catch-up", replfs_tests::rig::status::Source::is_settled);
    mirror(&rig, &[]).ok();
    rig.kill_target();
    rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
    let outcome = mirror(&rig, &[]);
    outcome.expect(UNREACHABLE);
    assert!(outcome.stderr.contains("the target is not connected"), "{outcome:?}");
    rig.start_target();
    rig.settle();
    mirror(&rig, &["--no-wait"]).ok();
    rig.settle();
}

// claim: A130
#[test]
fn a_mirror_shows_how_far_it_is_and_never_more_than_there_is() {
    let mut rig = Rig::prepare(Commit::Real, Setup::default().linked());
    tree::sources(&rig.src(), 1000);
    for n in 0..4 {
        fs::write(rig.src().join(format!("large{n}")), Random::new(n).bytes(12 << 20)).unwrap();
    }
    rig.mount();
    rig.link().delay(Duration::from_millis(3));
    let mut last = (0, 0);
    let mut shares = Vec::new();
    rig.wait_status("the mirror", |status| {
        let pass = status.target().pass;
        assert!(pass.done_bytes <= pass.total_bytes, "{pass:?}");
        assert!(pass.done_bytes >= last.0 && pass.total_bytes >= last.1, "{last:?}, then {pass:?}");
        last = (pass.done_bytes, pass.total_bytes);
        if !pass.scanning && pass.total_bytes > 0 {
            shares.push(pass.done_bytes * 1000 / pass.total_bytes);
        }
        status.is_settled()
    });
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!(shares.last(), Some(&1000));
    assert!(last.1 >= 48 << 20, "{last:?}");

    // In time or not.
    let outcome = mirror(&rig, &["--timeout", "0s", "--json"]);
    outcome.expect(TIME_OVER);
    assert!(outcome.stderr.contains("not safe on the target after"), "{outcome:?}");
    rig.link().delay(Duration::ZERO);
    let outcome = mirror(&rig, &["--json", "--timeout", "60s"]);
    let last: Value = serde_json::from_str(outcome.ok().lines().last().unwrap()).unwrap();
    assert_eq!((&last["version"], &last["outcome"]), (&Value::from(1), &Value::from("done")));
    assert_eq!(last["pass"]["sent_bytes"], 0, "{last}");
    rig.finish();
}

// claim: A131
#[test]
fn two_blocks_that_differ_are_two_blocks_that_travel() {
    let mut rig = Rig::prepare(Commit::Real, Setup::default().option(&["--block-size", "512", "--min-size", "0"]));
    let before = Random::new(8).bytes(4096);
    fs::write(rig.src().join("file"), &before).unwrap();
    rig.mount();
    rig.assert_equal();
    rig.unmount();
    let file = OpenOptions::new().write(true).open(rig.src().join("file")).unwrap();
    for block in [1_u64, 4] {
        file.write_all_at(&Random::new(block).bytes(512), block * 512).unwrap();
    }
    drop(file);
    rig.mount();
    rig.settle();
    let pass = rig.status().target().pass;
    assert_eq!(pass.sent_bytes, 1024, "{pass:?}");
    rig.finish();
}

// claim: A132
#[test]
fn lanes_are_open_while_something_is_copied_and_five_seconds_more() {
    let mut rig = Rig::prepare(Commit::Real, Setup::default().linked().option(&["--lanes", "3"]));
    for n in 0..4 {
        fs::write(rig.src().join(format!("large{n}")), Random::new(n).bytes(16 << 20)).unwrap();
    }
    rig.mount();
    rig.link().delay(Duration::from_millis(5));
    let mut most = 0;
    rig.wait_status("the mirror", |status| {
        most = most.max(status.target().lanes);
        assert!(most <= 3, "{status:?}");
        status.is_settled()
    });
    let done = Instant::now();
    assert!(most >= 1 && rig.status().target().lanes >= 1, "at most {most} lanes were open");
    rig.wait_status("the lanes to close", |status| status.target().lanes == 0);
    let took = done.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(12), "closed after {took:?}");
    rig.link().delay(Duration::ZERO);
    fs::write(rig.mnt().join("live"), "in the ordered stream").unwrap();
    rig.assert_equal();
    assert_eq!(rig.status().target().lanes, 0, "what is not copied opens none");
    rig.finish();
}

// claim: A134
#[test]
fn big_files_that_are_touched_during_their_copy_come_out_exact() {
    const MIB: u64 = 1 << 20;
    let seed = seed();
    let mut random = Random::new(seed);
    let mut rig = Rig::prepare(Commit::Real, Setup::default().linked().option(&["--lanes", "2"]));
    let names = ["written", "shorter", "longer", "renamed", "deleted", "replaced", "linked", "emptied"];
    for (n, name) in (0..).zip(names) {
        fs::write(rig.src().join(name), Random::new(n).bytes(12 << 20)).unwrap();
    }
    rig.mount();
    rig.link().delay(Duration::from_millis(4));
    let mnt = rig.mnt();
    let open = |name: &str| OpenOptions::new().write(true).open(mnt.join(name)).unwrap();
    let (written, shorter, longer) = (open("written"), open("shorter"), open("longer"));
    // Each time that some more has gone over: something of everything.
    for round in 1..=6 {
        let enough = round * 10 * MIB + random.below(4 * MIB);
        until("bytes to go over the link", PATIENCE, || (rig.link().bytes_there() >= enough).then_some(()));
        for _ in 0..20 {
            written.write_all_at(&random.bytes(5000), random.below(12 * MIB)).unwrap();
        }
        shorter.set_len(12 * MIB - round * 2 * MIB + 77).unwrap();
        longer.write_all_at(&random.bytes(300_000), 12 * MIB + round * MIB).unwrap();
        tree::change_name(&mnt, round, &mut random);
    }
    assert!(!rig.status().target().coherent, "all of that was in the first mirror");
    rig.link().delay(Duration::ZERO);
    drop((written, shorter, longer));
    rig.finish();
}

// claim: A22
#[test]
fn a_target_that_is_full_in_the_middle_of_a_mirror_shows_it_and_goes_on() {
    let mut rig = Rig::bare(Commit::Real, Setup::default());
    let root = rig.root();
    rig.mount_other("tmpfs", "size=16m,mode=755", &root);
    rig.start_target();
    tree::sources(&rig.src(), 500);
    for n in 0..6 {
        fs::write(rig.src().join(format!("large{n}")), Random::new(n).bytes(5 << 20)).unwrap();
    }
    rig.mount();
    let blocked = rig.wait_status("blocked", |s| s.target().state == "blocked");
    let reason = blocked.target().blocked.clone().unwrap_or_default();
    assert!(reason.contains("large") || reason.contains("package"), "the path is named: {reason:?}");
    assert!(!blocked.target().coherent, "{blocked:?}");
    replfs_tests::command::tool(rig.home(), "mount", ["-o", "remount,size=128m", &root.to_string_lossy()]);
    rig.finish();
}

// claim: A130, A95
#[test]
fn what_cannot_be_read_is_listed_and_the_rest_is_done() {
    let before = |src: &Path| {
        fs::create_dir(src.join("dir")).unwrap();
        for name in ["open", "dir/closed"] {
            fs::write(src.join(name), name).unwrap();
        }
    };
    his_own(Commit::Real, before, |rig| {
        rig.settle();
        spoil(&rig.replica().join("open"));
        fs::set_permissions(rig.src().join("dir/closed"), Permissions::from_mode(0o000)).unwrap();
        spoil(&rig.replica().join("dir/closed"));
        let outcome = mirror(&rig, &[]);
        outcome.expect(UNREADABLE);
        assert!(outcome.stderr.contains("dir/closed"), "{outcome:?}");
        assert_eq!(fs::read_to_string(rig.replica().join("open")).unwrap(), "open");
        assert_eq!(rig.status().target().unreadable, ["dir/closed"]);
        fs::set_permissions(rig.src().join("dir/closed"), Permissions::from_mode(0o600)).unwrap();
    });
}

// claim: A130
#[test]
fn mirrors_under_random_operations_end_exact() {
    let seed = seed();
    let mut rig = Rig::prepare(Commit::Real, Setup::default());
    tree::sources(&rig.src(), 800);
    rig.mount();
    rig.settle();
    let roamers = Roamers::start(&rig.mnt(), 3, seed);
    for round in 0..6 {
        roamers.roam(400);
        // Of everything, of a part, of everything while that of a part runs.
        let words: &[&str] = match round % 3 {
            0 => &["--no-wait"],
            // It may be gone by then, which is said.
            1 => &["package000", "--no-wait"],
            _ => &["--timeout", "60s"],
        };
        let outcome = mirror(&rig, words);
        assert!(outcome.code == 0 || round % 3 == 1 && outcome.code == USAGE, "{outcome:?}\n{}", rig.source_log());
    }
    roamers.stop();
    rig.finish();
}

//! The replication set (S1) as the target sees it: what is in it is exact there, what is not is not; renames and hard links
//! across its border, directories that are only visible, rules that change while mounted, sizes that change.
#![allow(clippy::unwrap_used)]

use protocol::RelPath;
use replfs_tests::compare;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::seed;
use replfs_tests::user::{USER, as_user, with_fuse_for_everybody};
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{command, in_both_modes, tree};
use srm::set::{Kind, Set};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

in_both_modes!(
    what_is_in_the_set_is_exact_under_random_operations,
    a_file_that_crosses_a_size_while_it_is_looked_at_is_exact,
);

fn rules(rig: &Rig) -> PathBuf {
    rig.home().join("set.toml")
}

fn with_rules(commit: Commit, text: &str, before: impl FnOnce(&Path)) -> Rig {
    let mut rig = Rig::prepare(commit, Setup::default());
    fs::write(rules(&rig), text).unwrap();
    before(&rig.src());
    let file = rules(&rig);
    rig.try_mount(&["--set", file.to_str().unwrap()]).ok();
    rig
}

fn change(rig: &Rig, text: &str, on_remove: &str) {
    fs::write(rules(rig), text).unwrap();
    rig.replfs("set", &["reload", rig.mnt().to_str().unwrap(), "--on-remove", on_remove]).ok();
    rig.settle();
}

/// Takes from a copy of SRC all that the set leaves out, and compares it with the replica.
#[track_caller]
fn assert_replica_is_the_set(rig: &Rig) {
    rig.settle();
    let set = Set::parse(&fs::read_to_string(rules(rig)).unwrap()).unwrap();
    let expected = rig.home().join("expected");
    command::run(Command::new("cp").args(["-a", "--"]).arg(rig.src()).arg(&expected)).ok();
    prune(&expected, &expected, &rig.src(), &set);
    let report = compare::trees(&expected, &rig.replica()).unwrap();
    // `cp` makes holes of its own, and other space.
    let exact = |d: &&compare::Difference| !matches!(d.class, compare::Class::Holes | compare::Class::Allocation);
    let differences: Vec<String> = report.differences.iter().filter(exact).map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{differences:#?}\n{}", rig.source_log());
    fs::remove_dir_all(expected).unwrap();
}

fn prune(dir: &Path, root: &Path, src: &Path, set: &Set) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        let stat = fs::symlink_metadata(&path).unwrap();
        let kind = match stat.file_type() {
            t if t.is_dir() => Kind::Directory,
            t if t.is_file() => Kind::File,
            t if t.is_symlink() => Kind::Symlink,
            _ => Kind::Special,
        };
        match (set.takes(&RelPath::new(relative).unwrap(), kind, stat.len()), kind) {
            (true, Kind::Directory) => prune(&path, root, src, set),
            (true, _) => {}
            (false, Kind::Directory) => fs::remove_dir_all(&path).unwrap(),
            (false, _) => fs::remove_file(&path).unwrap(),
        }
    }
    let original = src.join(dir.strip_prefix(root).unwrap());
    command::run(Command::new("touch").arg("-r").arg(original).arg(dir)).ok();
}

/// Half of the names that the roamers make, and some places.
const HALF: &str = "version = 1\n[[rule]]\nexclude = \"n*[0-7]\"\n[[rule]]\nexclude = \"/package01*/\"\n\
    [[rule]]\ninclude = \"/package010/level0/\"\n[[rule]]\nexclude = \"*.c\"\n";

// claim: A105
fn what_is_in_the_set_is_exact_under_random_operations(commit: Commit) {
    let seed = seed();
    let rig = with_rules(commit, HALF, |src| tree::sources(src, 600));
    assert_replica_is_the_set(&rig);
    for round in 0..4 {
        let roamers = Roamers::start(&rig.mnt(), 3, seed.wrapping_add(round * 10));
        roamers.roam(600);
        if round % 2 == 1 {
            rig.replfs("bypass", &[rig.mnt().to_str().unwrap(), "on"]).ok();
            roamers.roam(600);
            rig.replfs("bypass", &[rig.mnt().to_str().unwrap(), "off"]).ok();
        }
        roamers.roam(200);
        roamers.stop();
        assert_replica_is_the_set(&rig);
    }
}

// claim: A106
#[test]
fn renames_and_links_across_the_border_do_the_right_thing() {
    let rig = with_rules(
        Commit::Sync,
        "version = 1\n[[rule]]\nexclude = \"*.tmp\"\n[[rule]]\nexclude = \"/scratch/\"\n",
        |src| {
            fs::create_dir_all(src.join("scratch/deep")).unwrap();
            fs::write(src.join("scratch/deep/inner"), "inner").unwrap();
        },
    );
    let (mnt, replica) = (rig.mnt(), rig.replica());
    let mv = |from: &str, to: &str| fs::rename(mnt.join(from), mnt.join(to)).unwrap();
    let holds = |name: &str, text: &str| {
        rig.settle();
        assert_eq!(fs::read_to_string(replica.join(name)).unwrap(), text, "{name}");
    };
    let lacks = |name: &str| {
        rig.settle();
        assert!(fs::symlink_metadata(replica.join(name)).is_err(), "{name}");
    };
    lacks("scratch");
    // As editors and downloads do it.
    fs::write(mnt.join("file.tmp"), "first").unwrap();
    lacks("file.tmp");
    mv("file.tmp", "file");
    holds("file", "first");
    fs::write(mnt.join("file.tmp"), "second").unwrap();
    mv("file.tmp", "file");
    holds("file", "second");
    // Out of the set, and back.
    mv("file", "file.tmp");
    lacks("file");
    lacks("file.tmp");
    fs::write(mnt.join("file.tmp"), "third").unwrap();
    mv("file.tmp", "file");
    holds("file", "third");
    // A directory with all in it.
    mv("scratch/deep", "deep");
    holds("deep/inner", "inner");
    mv("deep", "scratch/deep");
    lacks("deep");
    // Links: the file is replicated as long as one of its names is.
    fs::hard_link(mnt.join("file"), mnt.join("also.tmp")).unwrap();
    lacks("also.tmp");
    fs::write(mnt.join("also.tmp"), "fourth").unwrap();
    holds("file", "fourth");
    fs::remove_file(mnt.join("file")).unwrap();
    lacks("file");
    fs::write(mnt.join("also.tmp"), "fifth").unwrap();
    fs::hard_link(mnt.join("also.tmp"), mnt.join("again")).unwrap();
    holds("again", "fifth");
    fs::hard_link(mnt.join("again"), mnt.join("twice")).unwrap();
    holds("twice", "fifth");
    let inode = |name: &str| fs::metadata(replica.join(name)).unwrap().ino();
    assert_eq!(inode("again"), inode("twice"));
    assert_replica_is_the_set(&rig);
}

// claim: A107
#[test]
fn a_rule_that_changes_brings_in_and_takes_out() {
    let all = "version = 1\n";
    let none = "version = 1\n[[rule]]\nexclude = \"/logs/\"\n[[rule]]\ninclude = \"/logs/keep/*.log\"\n";
    let rig = with_rules(Commit::Real, none, |src| {
        fs::create_dir_all(src.join("logs/keep")).unwrap();
        for name in ["logs/a", "logs/keep/b.log", "logs/keep/c", "d"] {
            fs::write(src.join(name), name).unwrap();
        }
    });
    assert_replica_is_the_set(&rig);
    let there = |name: &str| rig.replica().join(name).exists();
    assert!(
        there("logs/keep/b.log") && !there("logs/a") && !there("logs/keep/c"),
        "a visible directory and what is in it"
    );
    change(&rig, all, "keep");
    assert_replica_is_the_set(&rig);
    assert!(there("logs/a") && there("logs/keep/c"));
    change(&rig, none, "keep");
    assert!(there("logs/a") && there("logs/keep/c"), "what goes out is kept");
    fs::write(rig.mnt().join("logs/a"), "changed").unwrap();
    fs::write(rig.mnt().join("logs/keep/b.log"), "changed").unwrap();
    rig.settle();
    assert_eq!(fs::read_to_string(rig.replica().join("logs/a")).unwrap(), "logs/a", "and not changed any more");
    assert_eq!(fs::read_to_string(rig.replica().join("logs/keep/b.log")).unwrap(), "changed");
    change(&rig, all, "keep");
    assert_replica_is_the_set(&rig);
    change(&rig, none, "delete");
    assert_replica_is_the_set(&rig);
    assert!(rig.src().join("logs/a").exists(), "the source keeps it in any case");
}

// claim: A108
#[test]
fn files_leave_and_enter_by_size() {
    let rig = with_rules(
        Commit::Sync,
        "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = \"1MiB\"\n",
        |_| {},
    );
    let path = rig.mnt().join("file");
    fs::write(&path, vec![1; 1000]).unwrap();
    rig.settle();
    assert_eq!(fs::read(rig.replica().join("file")).unwrap(), vec![1; 1000]);
    fs::write(&path, vec![2; 2 << 20]).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
    rig.settle();
    assert_eq!(fs::read(rig.replica().join("file")).unwrap(), vec![2; 5000]);
    assert_replica_is_the_set(&rig);
}

/// Its size, as often as the passes that follow from it come to look at it meanwhile.
fn cross_often(path: &Path, border: u64, times: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for turn in 0..times {
        file.set_len(border + 1 + turn).unwrap();
        file.write_all_at(&turn.to_le_bytes(), turn % border).unwrap();
        file.set_len(border - turn).unwrap();
    }
}

// claim: A151
fn a_file_that_crosses_a_size_while_it_is_looked_at_is_exact(commit: Commit) {
    const BORDER: u64 = 8 << 10;
    let rig =
        with_rules(commit, "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = \"8KiB\"\n", |src| {
            fs::write(src.join("file"), "small").unwrap();
        });
    for name in ["a", "b", "c"] {
        fs::write(rig.mnt().join(name), "small").unwrap();
        fs::hard_link(rig.mnt().join(name), rig.mnt().join(format!("{name}.link"))).unwrap();
    }
    for round in 0..20 {
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "file"] {
                let path = rig.mnt().join(name);
                scope.spawn(move || cross_often(&path, BORDER, 20 + round));
            }
        });
        assert_replica_is_the_set(&rig);
    }
}

/// What was seen to once is not right for ever: while it is out, nothing of it is sent.
// claim: A151
#[test]
fn a_file_that_comes_back_while_everything_is_compared_is_compared_too() {
    with_fuse_for_everybody(|| {
        let mut rig = Rig::prepare(Commit::Real, Setup::default().user(USER));
        let text = "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = \"1KiB\"\n";
        fs::write(rules(&rig), text).unwrap();
        let (src, mnt, replica, file) = (rig.src(), rig.mnt(), rig.replica(), rules(&rig));
        as_user(USER, &[], || {
            fs::write(src.join("file"), "small").unwrap();
            fs::write(src.join("closed"), "closed").unwrap();
            // Tried again and again: that is how long the comparison lasts.
            fs::set_permissions(src.join("closed"), Permissions::from_mode(0o000)).unwrap();
        });
        rig.try_mount(&["--set", file.to_str().unwrap()]).ok();
        let comes = |what: &[u8]| {
            until("the file on the target", PATIENCE, || {
                fs::read(replica.join("file")).is_ok_and(|there| there == what).then_some(())
            });
        };
        comes(b"small");
        rig.wait_status("what cannot be read", |s| s.target().pass.unreadable == 1);
        as_user(USER, &[], || {
            let file = OpenOptions::new().write(true).open(mnt.join("file")).unwrap();
            file.write_all_at(&[7; 2000], 0).unwrap();
            file.set_len(500).unwrap();
        });
        comes(&[7; 500]);
        assert_eq!(rig.status().target().passes, 0, "all of that was in the first one");
    });
}

/// What happens `then` while everything is compared, which lasts: something cannot be read. After that it can, and all is as it should be.
fn with_an_open_pass(text: &str, before: fn(&Path), then: fn(&Rig)) {
    with_fuse_for_everybody(|| {
        let mut rig = Rig::prepare(Commit::Real, Setup::default().user(USER));
        fs::write(rules(&rig), text).unwrap();
        let (src, file) = (rig.src(), rules(&rig));
        as_user(USER, &[], || {
            before(&src);
            fs::write(src.join("closed"), "closed").unwrap();
            fs::set_permissions(src.join("closed"), Permissions::from_mode(0o000)).unwrap();
        });
        rig.try_mount(&["--set", file.to_str().unwrap()]).ok();
        is_compared(&rig);
        as_user(USER, &[], || then(&rig));
        assert_eq!(rig.status().target().passes, 0, "all of that was before the end of the first one");
        as_user(USER, &[], || fs::set_permissions(rig.mnt().join("closed"), Permissions::from_mode(0o644)).unwrap());
        rig.settle();
        assert_replica_is_the_set(&rig);
        rig.replfs("verify", &[rig.mnt().to_str().unwrap()]).ok();
    });
}

fn is_compared(rig: &Rig) {
    rig.wait_status("all but what cannot be read", |status| {
        let pass = status.target().pass;
        pass.unreadable == 1 && !pass.scanning && status.target().lag.operations == 0
    });
}

fn rename(rig: &Rig, from: &str, to: &str) {
    fs::rename(rig.mnt().join(from), rig.mnt().join(to)).unwrap();
}

fn link(rig: &Rig, from: &str, to: &str) {
    fs::hard_link(rig.mnt().join(from), rig.mnt().join(to)).unwrap();
}

const BY_NAME: &str = "version = 1\n[[rule]]\nexclude = \"*.tmp\"\n";

// claim: A288
#[test]
fn a_name_that_comes_in_while_everything_is_compared_is_there_too() {
    let before = |src: &Path| {
        for name in ["one", "two", "three", "four"] {
            fs::create_dir(src.join(format!("{name}-dir"))).unwrap();
            fs::write(src.join(name), name).unwrap();
            fs::write(src.join(format!("{name}-dir/in")), name).unwrap();
        }
    };
    with_an_open_pass(BY_NAME, before, |rig| {
        // A file under a name beside it.
        link(rig, "one", "one.tmp");
        rename(rig, "one.tmp", "one-more");
        // As who makes a copy out of links does.
        fs::create_dir(rig.mnt().join("copy.tmp")).unwrap();
        link(rig, "two", "copy.tmp/two");
        link(rig, "two-dir/in", "copy.tmp/in");
        rename(rig, "copy.tmp", "copy");
        // Out of a directory that has left: by itself, from another one, and in another one.
        for dir in ["one-dir", "two-dir", "three-dir"] {
            rename(rig, dir, &format!("{dir}.tmp"));
        }
        fs::write(rig.mnt().join("one-dir.tmp/in"), "other").unwrap();
        rename(rig, "one-dir.tmp/in", "again");
        fs::create_dir(rig.mnt().join("dir.tmp")).unwrap();
        link(rig, "two-dir.tmp/in", "dir.tmp/link");
        rename(rig, "three-dir.tmp/in", "dir.tmp/moved");
        rename(rig, "dir.tmp/moved", "moved");
        rename(rig, "dir.tmp", "dir");
        // One name goes, and another comes.
        link(rig, "four", "four.tmp");
        rename(rig, "four", "gone.tmp");
        rename(rig, "four.tmp", "four-more");
    });
}

// claim: A288
#[test]
fn a_directory_that_comes_back_while_everything_is_compared_is_there_with_all_below() {
    let before = |src: &Path| {
        for name in ["one", "two", "three"] {
            fs::create_dir_all(src.join(name).join("deep/deeper")).unwrap();
            fs::write(src.join(name).join("deep/in"), name).unwrap();
            fs::write(src.join(name).join("deep/deeper/in"), name).unwrap();
        }
    };
    with_an_open_pass(BY_NAME, before, |rig| {
        rename(rig, "one", "one.tmp");
        fs::write(rig.mnt().join("one.tmp/deep/in"), "other").unwrap();
        rename(rig, "one.tmp", "one");
        fs::write(rig.mnt().join("one/deep/new"), "new").unwrap();
        is_compared(rig);
        // In another one, and out of it.
        rename(rig, "two", "two.tmp");
        rename(rig, "three", "three.tmp");
        fs::create_dir(rig.mnt().join("dir.tmp")).unwrap();
        rename(rig, "two.tmp", "dir.tmp/two");
        rename(rig, "dir.tmp", "dir");
        is_compared(rig);
        rename(rig, "three.tmp/deep", "deep");
        is_compared(rig);
    });
}

// claim: A291
#[test]
fn what_is_done_through_a_name_that_is_left_out_reaches_the_others_of_the_file() {
    let both = |src: &Path| {
        fs::create_dir(src.join("deep")).unwrap();
        for name in ["one", "deep/two"] {
            fs::write(src.join(name), name).unwrap();
            fs::hard_link(src.join(name), src.join(format!("{name}.tmp"))).unwrap();
        }
        fs::write(src.join("three"), "three").unwrap();
        fs::hard_link(src.join("three"), src.join("deep/three")).unwrap();
    };
    let mut rig = with_rules(Commit::Sync, BY_NAME, both);
    rig.settle();
    let passes = rig.status().target().passes;
    // Nobody has asked for the other name since the pass did.
    fs::set_permissions(rig.mnt().join("one.tmp"), Permissions::from_mode(0o600)).unwrap();
    fs::write(rig.mnt().join("one.tmp"), "other").unwrap();
    assert_replica_is_the_set(&rig);
    assert_eq!(rig.status().target().passes, passes, "{}", rig.source_log());
    // The next daemon looks at all there is.
    rig.kill_source();
    rig.try_mount(&["--set", rules(&rig).to_str().unwrap()]).ok();
    rig.settle();
    fs::write(rig.mnt().join("deep/two.tmp"), "other").unwrap();
    assert_replica_is_the_set(&rig);
    assert!(!rig.source_log().contains("mirror-due"), "{}", rig.source_log());
    // A name is left out with its directory, and nobody has asked for the other one.
    fs::rename(rig.mnt().join("deep"), rig.mnt().join("deep.tmp")).unwrap();
    for content in ["other", "once more"] {
        fs::write(rig.mnt().join("deep.tmp/three"), content).unwrap();
        assert_replica_is_the_set(&rig);
    }
    assert_eq!(rig.source_log().matches("mirror-due").count(), 1, "once is enough: {}", rig.source_log());
}

// claim: A291
#[test]
fn what_is_done_through_a_name_that_is_left_out_while_nothing_is_sent_reaches_the_next_name() {
    let files = |src: &Path| ["one", "two", "three"].iter().for_each(|name| fs::write(src.join(name), name).unwrap());
    let rig = with_rules(Commit::Sync, BY_NAME, files);
    rig.settle();
    let bypass = |how: &str| drop(rig.replfs("bypass", &[rig.mnt().to_str().unwrap(), how]));
    bypass("on");
    for name in ["one", "two"] {
        link(&rig, name, &format!("{name}.tmp"));
    }
    // By which way its other name goes.
    fs::remove_file(rig.mnt().join("one")).unwrap();
    rename(&rig, "three", "two");
    for name in ["one", "two"] {
        fs::write(rig.mnt().join(format!("{name}.tmp")), "other").unwrap();
        rename(&rig, &format!("{name}.tmp"), &format!("{name}-more"));
    }
    bypass("off");
    assert_replica_is_the_set(&rig);
}

/// Rules that say of one place what they do not of another.
const BY_PLACE: &str = "version = 1\n[[rule]]\nexclude = \"/out/*/b*\"\n[[rule]]\nexclude = \"/in/*/a*\"\n";

fn places(src: &Path) {
    for dir in ["in", "out", "in/one", "in/one/a-dir", "in/one/b-dir", "in/two", "in/two/b-dir"] {
        fs::create_dir(src.join(dir)).unwrap();
    }
    for file in
        ["in/one/a-dir/in", "in/one/b-dir/in", "in/one/a", "in/one/b", "in/one/c", "in/two/b", "in/two/b-dir/in"]
    {
        fs::write(src.join(file), file).unwrap();
    }
}

// claim: A289
#[test]
fn a_directory_that_moves_to_where_rules_differ_while_everything_is_compared_is_exact() {
    with_an_open_pass(BY_PLACE, places, |rig| {
        rename(rig, "in/one", "out/one");
        // There and back, with what nobody sends in between.
        rename(rig, "in/two", "out/two");
        fs::write(rig.mnt().join("out/two/b"), "other").unwrap();
        rename(rig, "out/two", "in/two");
    });
}

// claim: A289
#[test]
fn a_directory_that_moves_to_where_rules_differ_while_nothing_is_sent_is_exact() {
    let rig = with_rules(Commit::Sync, BY_PLACE, places);
    rig.settle();
    let bypass = |how: &str| drop(rig.replfs("bypass", &[rig.mnt().to_str().unwrap(), how]));
    bypass("on");
    rename(&rig, "in/one", "out/one");
    rename(&rig, "in/two", "out/two");
    fs::write(rig.mnt().join("out/two/b"), "other").unwrap();
    rename(&rig, "out/two", "in/two");
    bypass("off");
    rig.settle();
    assert!(rig.replica().join("out/one/a-dir/in").exists() && !rig.replica().join("out/one/b-dir").exists());
    assert_replica_is_the_set(&rig);
    rename(&rig, "out/one", "in/one");
    assert_replica_is_the_set(&rig);
}

// claim: A290
#[test]
fn nothing_is_compared_for_names_that_rules_say_the_same_of() {
    let rig = with_rules(Commit::Sync, BY_NAME, places);
    rig.settle();
    let passes = rig.status().target().passes;
    rename(&rig, "in/one", "out/one");
    fs::rename(rig.mnt().join("out"), rig.mnt().join("out-more")).unwrap();
    // Another name of what the target has, by way of one that is left out.
    link(&rig, "in/two/b", "in/two/b.tmp");
    rename(&rig, "in/two/b.tmp", "in/two/more");
    rig.settle();
    let inode = |name: &str| fs::metadata(rig.replica().join(name)).unwrap().ino();
    assert_eq!(inode("in/two/b"), inode("in/two/more"));
    assert_eq!(rig.status().target().passes, passes, "{}", rig.source_log());
    assert_replica_is_the_set(&rig);
}

/// Its content is on its way, piece by piece, when it grows out of the set and gets another name: the target hears of neither.
// claim: A151
#[test]
fn the_content_of_a_file_that_leaves_is_not_looked_for_under_its_new_name() {
    const BORDER: u64 = 24 << 20;
    let mut rig = Rig::prepare(Commit::Real, Setup::default().linked());
    let text = "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = \"24MiB\"\n";
    fs::write(rules(&rig), text).unwrap();
    let content = vec![5; usize::try_from(BORDER - 1).unwrap()];
    fs::write(rig.src().join("file"), &content).unwrap();
    let file = rules(&rig);
    rig.try_mount(&["--set", file.to_str().unwrap()]).ok();
    rig.settle();
    // Where an answer takes its time, only so many pieces are asked about at once.
    rig.link().delay(Duration::from_millis(200));
    let (rig, mnt) = (&rig, rig.mnt());
    let open = std::thread::scope(|scope| {
        let path = mnt.join("file");
        let mirrored =
            scope.spawn(move || rig.replfs("mirror", &[rig.mnt().to_str().unwrap(), path.to_str().unwrap()]));
        rig.wait_status("the first pieces to be compared", |status| {
            let pass = status.target().pass;
            pass.done_bytes > 0 && pass.done_bytes < pass.total_bytes
        });
        let open = OpenOptions::new().write(true).open(mnt.join("file")).unwrap();
        open.set_len(BORDER + 1).unwrap();
        fs::rename(mnt.join("file"), mnt.join("elsewhere")).unwrap();
        rig.link().delay(Duration::ZERO);
        mirrored.join().unwrap().ok();
        open
    });
    rig.settle();
    assert!(!rig.replica().join("file").exists() && !rig.replica().join("elsewhere").exists());
    assert!(!rig.source_log().contains("mirror-due"), "{}", rig.source_log());
    open.set_len(9).unwrap();
    assert_replica_is_the_set(rig);
}

// claim: A152
#[test]
fn what_a_file_left_behind_as_it_grew_goes_with_its_name() {
    let rules =
        "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = \"1KiB\"\n[[rule]]\nexclude = \"*.tmp\"\n";
    for held in [false, true] {
        let rig = with_rules(Commit::Sync, rules, |_| {});
        let (mnt, replica) = (rig.mnt(), rig.replica());
        let names = ["gone", "moved", "under", "open", "stays"];
        for name in names {
            fs::write(mnt.join(name), "small").unwrap();
        }
        fs::create_dir(mnt.join("dir")).unwrap();
        rig.settle();
        for name in names {
            fs::write(mnt.join(name), vec![7; 2000]).unwrap();
        }
        rig.settle();
        for name in names {
            assert!(replica.join(name).exists(), "what the target had of {name} stays");
        }
        let passes = rig.status().target().passes;
        let bypass = |how: &str| drop(rig.replfs("bypass", &[mnt.to_str().unwrap(), how]));
        if held {
            bypass("on");
        }
        fs::remove_file(mnt.join("gone")).unwrap();
        fs::rename(mnt.join("moved"), mnt.join("dir/elsewhere")).unwrap();
        fs::write(mnt.join("new.tmp"), vec![8; 3000]).unwrap();
        fs::rename(mnt.join("new.tmp"), mnt.join("under")).unwrap();
        // Written to while it has no name: of no concern to the target.
        let file = OpenOptions::new().write(true).open(mnt.join("open")).unwrap();
        fs::remove_file(mnt.join("open")).unwrap();
        file.write_all_at(b"unseen", 100).unwrap();
        drop(file);
        if held {
            bypass("off");
        }
        rig.settle();
        let names = fs::read_dir(&replica).unwrap().map(|entry| entry.unwrap().file_name());
        let names: std::collections::BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
        assert_eq!(names, ["dir", "stays"].map(str::to_owned).into(), "held: {held}");
        assert!(fs::read_dir(replica.join("dir")).unwrap().next().is_none());
        let passes = rig.status().target().passes - passes;
        assert_eq!(passes, u64::from(held), "nothing was compared for it: {}", rig.source_log());
        rig.replfs("verify", &[mnt.to_str().unwrap()]).ok();
    }
}

// claim: A109
#[test]
fn state_and_replica_may_lie_in_what_is_left_out() {
    let mut rig = Rig::bare(Commit::Sync, Setup::default());
    let own = rig.src().join("own");
    fs::create_dir_all(own.join("root")).unwrap();
    fs::write(rules(&rig), "version = 1\n[[rule]]\nexclude = \"/own/\"\n").unwrap();
    let root = format!("{}/", own.join("root").display());
    let (src, mnt) = (rig.src(), rig.mnt());
    let file = rules(&rig);
    let mut mount = rig.program();
    mount.args(["mount", src.to_str().unwrap(), mnt.to_str().unwrap(), "--target", &root, "--name", "tree"]);
    mount.arg("--set").arg(&file).arg("--state").arg(rig.source_state());
    rig.mounted(&mut mount).ok();
    fs::write(mnt.join("file"), "text").unwrap();
    rig.settle();
    assert_eq!(fs::read_to_string(own.join("root/tree/file")).unwrap(), "text");
    assert!(!own.join("root/tree/own").exists());
    rig.unmount();
}

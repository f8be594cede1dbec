//! Unmodified programs in the mount, in both modes: what they leave behind is on the target, exactly.
#![allow(clippy::unwrap_used)] // a helper that fails is a failed test

use replfs_tests::command::{shell, tool};
use replfs_tests::compare::{self, Class};
use replfs_tests::rig::{Commit, Rig, watchdog};
use replfs_tests::{in_both_modes, tree};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

in_both_modes!(
    an_unpacked_tree_of_15000_files_is_replicated,
    a_git_repository_is_replicated,
    a_sqlite_database_with_a_wal_is_replicated,
    a_sqlite_database_with_a_rollback_journal_is_replicated,
    cp_of_everything_rare_is_replicated,
    rsync_in_place_is_replicated,
);

fn an_unpacked_tree_of_15000_files_is_replicated(commit: Commit) {
    let rig = Rig::start(commit);
    let made = rig.home().join("made");
    tree::sources(&made, tree::SOURCES);
    tool(rig.home(), "tar", ["--format=posix", "-C", "made", "-cf", "made.tar", "."]);
    let mnt = rig.mnt();
    fs::create_dir(mnt.join("tree")).unwrap();
    tool(&mnt, "tar", ["-C", "tree", "-xpf", "../made.tar"]);
    assert_same_but(&made, &mnt.join("tree"), &[Class::Holes, Class::Allocation]);
    rig.assert_equal();
    shell(&mnt, "mv tree/package001 tree/moved; rm -r tree/package00[2-9]; find tree/package01* -name '*7.rs' -delete");
    rig.finish();
}

fn a_git_repository_is_replicated(commit: Commit) {
    let rig = Rig::start(commit);
    let mnt = rig.mnt();
    tree::sources(&mnt.join("work"), 400);
    let work = mnt.join("work");
    shell(
        &work,
        "export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
         git init -q -b main .; git add -A; git commit -qm one
         git checkout -q -b side; for f in $(find package000 -name '*1.rs'); do echo more >> $f; done; git commit -qam two
         git checkout -q main; git rm -qr package001; git commit -qm three
         git -c user.name=t merge -qm four side; git gc -q --aggressive --prune=now
         git clone -q . ../clone; git clone -q --no-hardlinks . ../copy; git -C ../clone checkout -q -b other origin/side",
    );
    rig.settle();
    for repository in ["work", "clone", "copy"] {
        shell(rig.home(), "rm -rf check; mkdir check");
        let check = rig.home().join("check");
        tool(&check, "cp", ["-a", &rig.replica().join(repository).to_string_lossy(), "."]);
        tool(&check.join(repository), "git", ["fsck", "--full", "--strict"]);
        assert_eq!(tool(&check.join(repository), "git", ["status", "--porcelain"]), "", "{repository} is not clean");
    }
    rig.finish();
}

// claim: A13
fn a_sqlite_database_with_a_wal_is_replicated(commit: Commit) {
    sqlite(commit, "wal");
}

fn a_sqlite_database_with_a_rollback_journal_is_replicated(commit: Commit) {
    sqlite(commit, "delete");
}

/// Thousands of transactions of one connection; the replica, copied at some moment in between and at the end, is a
/// database that passes its own check.
fn sqlite(commit: Commit, journal: &str) {
    let rig = Rig::start(commit);
    let mnt = rig.mnt();
    fs::write(
        mnt.join("start.sql"),
        format!("pragma journal_mode={journal}; create table t(id integer primary key, text);\n"),
    )
    .unwrap();
    let mut script = format!("pragma journal_mode={journal};\npragma wal_autocheckpoint=50;\n");
    for n in 0..2000 {
        script.push_str("begin; insert into t(text) values (hex(randomblob(200)));");
        write!(script, "update t set text = 'changed {n}' where id = 1 + abs(random()) % {};", n + 1).unwrap();
        if n % 10 == 0 {
            write!(script, "delete from t where id = {};", n / 2).unwrap();
        }
        script.push_str("commit;\n");
    }
    fs::write(mnt.join("changes.sql"), script).unwrap();
    shell(&mnt, "sqlite3 data.db < start.sql");
    rig.settle();
    let changes = {
        let mnt = mnt.clone();
        std::thread::spawn(move || shell(&mnt, "sqlite3 -bail data.db < changes.sql"))
    };
    let mut round = 0;
    while !changes.is_finished() {
        integrity(&rig, &format!("during{round}"));
        round += 1;
        // The target is stopped for each look; between two of them it works for a while.
        std::thread::sleep(Duration::from_millis(200));
    }
    changes.join().unwrap();
    rig.settle();
    integrity(&rig, "after");
    let count = |dir: &Path| tool(dir, "sqlite3", ["data.db", "select count(*), sum(id), max(text) from t"]);
    let on_source = count(&mnt);
    assert_eq!(count(&rig.home().join("after")), on_source);
    rig.finish();
}

/// Checks a copy of the replica's database. The target is stopped while its files are copied: a copy of several files is
/// one state of the replica only if nothing is applied meanwhile.
fn integrity(rig: &Rig, name: &str) {
    let copy = rig.home().join(name);
    fs::create_dir(&copy).unwrap();
    watchdog::stop(rig.target_pid());
    shell(rig.home(), &format!("cp root/tree/data.db* {name}/"));
    watchdog::resume(rig.target_pid());
    assert_eq!(tool(&copy, "sqlite3", ["data.db", "pragma integrity_check"]), "ok", "copy {name} of the replica");
}

// claim: A2, A5, A6, A7, A9, A10
fn cp_of_everything_rare_is_replicated(commit: Commit) {
    let rig = Rig::start(commit);
    let made = rig.home().join("made");
    tree::oddities(&made);
    let mnt = rig.mnt();
    tool(&mnt, "cp", ["-a", "../made/.", "."]);
    assert_same_but(&made, &mnt, &[Class::Holes, Class::Allocation]);
    rig.assert_equal();
    tool(&mnt, "cp", ["-a", "special", "once more"]);
    tool(&mnt, "cp", ["-a", "--sparse=always", "holes", "with holes"]);
    tool(&mnt, "setfacl", ["-R", "-m", "u:1000:rwX,d:g:50:r-x", "attributes/shared"]);
    tool(&mnt, "setfacl", ["-b", "attributes/shared/inherits"]);
    tool(&mnt, "setfattr", ["-x", "user.binary", "attributes/setgid"]);
    // The generators do in the mount itself what cp does not: reserve space, make links beside open files.
    tree::oddities(&mnt.join("made here"));
    rig.finish();
}

// claim: A1
fn rsync_in_place_is_replicated(commit: Commit) {
    let rig = Rig::start(commit);
    let made = rig.home().join("made");
    tree::sources(&made, 1500);
    let mnt = rig.mnt();
    let rsync = |more: &[&str]| {
        let args = ["-a", "-H", "-A", "-X", "--inplace", "--no-whole-file", "--modify-window=-1"]
            .iter()
            .chain(more)
            .chain(&["../made/", "."]);
        tool(&mnt, "rsync", args);
    };
    rsync(&[]);
    assert_same_but(&made, &mnt, &[Class::Holes, Class::Allocation]);
    rig.assert_equal();
    shell(
        &made,
        "find . -name '*3.rs' -exec sh -c 'printf changed | dd of=\"$1\" conv=notrunc bs=1 seek=100 status=none' _ {} \\;
         find . -name '*5.rs' -exec truncate -s 50 {} +; find . -name '*8.rs' -delete; chmod -R g+w package000; mkdir new; cp -a package000 new",
    );
    rsync(&["--delete"]);
    assert_same_but(&made, &mnt, &[Class::Holes, Class::Allocation]);
    rig.finish();
}

/// The program itself saw an ordinary file system: what it made is what it was given.
fn assert_same_but(a: &Path, b: &Path, aside: &[Class]) {
    let report = compare::trees(a, b).unwrap();
    let differences: Vec<String> =
        report.differences.iter().filter(|d| !aside.contains(&d.class)).map(ToString::to_string).collect();
    assert!(differences.is_empty(), "the mount changed what was put into it: {differences:#?}");
}

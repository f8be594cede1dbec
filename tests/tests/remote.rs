//! Commit mode `remote` (S2, R13): the target is asked first; what one side cannot do neither does, and what was acknowledged is on both.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::tool;
use replfs_tests::disk::Disk;
use replfs_tests::load::Load;
use replfs_tests::mapping::Mapping;
use replfs_tests::model::bench::Bench;
use replfs_tests::model::{lanes, search, strategy};
use replfs_tests::rig::status::Source;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{self, Random};
use replfs_tests::wait::{PATIENCE, until};
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, RenameFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a call waits in the tests in which nothing answers.
const TIMEOUT: &str = "2s";
/// What passes for "at the same time" on a loaded machine.
const TOGETHER: Duration = Duration::from_secs(8);

/// A rig in which operations can be made.
fn rig(setup: Setup) -> Rig {
    let rig = Rig::with(Commit::Remote, setup);
    rig.settle();
    rig
}

fn linked(timeout: &str) -> Rig {
    rig(Setup::default().linked().option(&["--remote-timeout", timeout]))
}

/// A rig of which one side is on a small disk.
fn on_disk(side: impl Fn(&Rig) -> std::path::PathBuf, format: &[&str]) -> (Rig, Disk) {
    let mut rig = Rig::bare(Commit::Remote, Setup::default());
    let disk = Disk::new(&rig, "disk", 24, format);
    let at = side(&rig);
    disk.mount(&mut rig, &at);
    // It cannot be compared.
    let _none = fs::remove_dir(at.join("lost+found"));
    rig.start_target();
    rig.mount();
    rig.settle();
    (rig, disk)
}

/// Starts the target again; the source has found it and nothing is left to be put back.
#[track_caller]
fn target_back(rig: &mut Rig, reconnects: u64) {
    rig.start_target();
    let back = |status: &Source| status.target().reconnects > reconnects && status.target().coherent;
    rig.wait_status("the target to be back", back);
}

/// Waits until the next daemon can go on with the journal if this one is killed.
fn resumable(rig: &Rig) {
    let stand = rig.source_state().join("run/journal/tree/stand");
    until("the journal to be of use", PATIENCE, || (fs::read(&stand).ok()?.get(28) == Some(&1)).then_some(()));
}

#[track_caller]
fn refused<T>(result: io::Result<T>, with: Errno) {
    match result {
        Ok(_) => panic!("it was done, and not refused with {with}"),
        Err(error) => assert_eq!(Errno::from_io_error(&error), Some(with), "{error}"),
    }
}

fn mode(rig: &Rig, mode: &str) {
    rig.replfs("commit", &[rig.mnt().to_str().unwrap(), mode]).ok();
}

fn attribute(flag: &str, path: &Path) {
    tool(path.parent().unwrap(), "chattr", [OsStr::new(flag), path.as_os_str()]);
}

// claim: A175
#[test]
fn every_kind_of_operation_is_on_both_sides_when_it_returns() {
    let rig = rig(Setup::default());
    let (mnt, exact) = (rig.mnt(), || rig.assert_replica_equals(&rig.src()));
    let done = |result: io::Result<()>| {
        result.unwrap();
        exact();
    };
    let at = |name: &str| mnt.join(name);
    done(fs::create_dir(at("dir")));
    done(fs::write(at("dir/file"), b"content"));
    done(rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).map_err(Into::into));
    done(symlink("somewhere", at("symlink")));
    done(fs::hard_link(at("dir/file"), at("link")));
    let file = File::options().read(true).write(true).open(at("dir/file")).unwrap();
    done(file.write_all_at(&vec![7; 3 << 20], 100));
    done(file.set_len(1 << 20));
    let allocate = |flags, offset, len| rustix::fs::fallocate(&file, flags, offset, len).map_err(io::Error::from);
    done(allocate(FallocateFlags::empty(), 1 << 20, 1 << 20));
    done(allocate(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 8192));
    done(allocate(FallocateFlags::ZERO_RANGE, 20_000, 30_000));
    let copy = File::options().read(true).write(true).create_new(true).open(at("copy")).unwrap();
    exact();
    let copied = rustix::fs::copy_file_range(&file, Some(&mut 0), &copy, Some(&mut 5000), 2 << 20);
    assert!(copied.unwrap() > 0);
    exact();
    done(fs::set_permissions(at("copy"), fs::Permissions::from_mode(0o4711)));
    done(std::os::unix::fs::chown(at("copy"), Some(1000), Some(100)));
    done(file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)));
    let attribute = |value: &[u8], flags| rustix::fs::setxattr(at("copy"), "user.x", value, flags);
    done(attribute(b"one", XattrFlags::CREATE).map_err(Into::into));
    done(attribute(b"two", XattrFlags::REPLACE).map_err(Into::into));
    done(rustix::fs::removexattr(at("copy"), "user.x").map_err(Into::into));
    done(fs::rename(at("copy"), at("dir/copy")));
    let rename = |from, to, flags| rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags).map_err(Into::into);
    done(rename("dir/copy", "copy", RenameFlags::NOREPLACE));
    done(rename("copy", "dir", RenameFlags::EXCHANGE));
    done(rename("copy", "dir", RenameFlags::EXCHANGE));
    done(rename("copy", "link", RenameFlags::empty()));
    done(fs::remove_file(at("dir/file")));
    done(file.write_all_at(b"nobody sees it", 0));
    done(file.sync_all());
    drop((file, copy));
    done(fs::write(at("link"), b"truncated when opened"));
    done(fs::remove_dir(at("dir")));
    done(File::open(&mnt).unwrap().sync_all());
    let status = rig.status();
    assert!(status.target().operations["propose"] > 30, "{status:?}");
    assert_eq!(status.target().passes, 1, "nothing was put back: {status:?}");
    rig.finish();
}

// claim: A175
#[test]
fn random_sequences_are_exact_at_each_return() {
    let mut bench = Bench::new(Commit::Remote);
    let show = |steps: &Vec<_>| steps.iter().map(|step| format!("{step:?}")).collect();
    search::assert_none(&strategy::sequence(60, true), 60, |steps| bench.one_after_the_other(steps), show);
    bench.finish();
}

// claim: A175
#[test]
fn random_sequences_that_meet_are_exact_too() {
    let mut bench = Bench::new(Commit::Remote);
    let show = |all: &Vec<_>| lanes::show(all);
    search::assert_none(&lanes::lanes(40), 25, |all| bench.at_the_same_time(all), show);
    bench.finish();
}

// claim: A176
#[test]
fn what_cannot_be_done_is_refused_as_below_and_nothing_is_put_back() {
    let rig = rig(Setup::default());
    let at = |name: &str| rig.mnt().join(name);
    fs::create_dir_all(at("full/inside")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("file"), b"content").unwrap();
    refused(fs::remove_dir(at("full")), Errno::NOTEMPTY);
    refused(fs::rename(at("empty"), at("full")), Errno::NOTEMPTY);
    refused(fs::create_dir(at("file")), Errno::EXIST);
    refused(fs::hard_link(at("file"), at("empty")), Errno::EXIST);
    refused(fs::remove_file(at("nothing")), Errno::NOENT);
    refused(fs::rename(at("file"), at("empty")), Errno::ISDIR);
    let missing = rustix::fs::removexattr(at("file"), "user.none");
    refused(missing.map_err(Into::into), Errno::NODATA);
    let replace = rustix::fs::setxattr(at("file"), "user.none", b"x", XattrFlags::REPLACE);
    refused(replace.map_err(Into::into), Errno::NODATA);
    let moved = rustix::fs::renameat_with(CWD, at("file"), CWD, at("empty"), RenameFlags::NOREPLACE);
    refused(moved.map_err(Into::into), Errno::EXIST);
    rig.assert_replica_equals(&rig.src());
    assert_eq!(rig.status().target().passes, 1);
    rig.finish();
}

// claim: A176
#[test]
fn a_full_target_refuses_and_the_source_keeps_what_it_had() {
    let (rig, _disk) = on_disk(Rig::root, &["-m", "0"]);
    let path = rig.mnt().join("file");
    fs::write(&path, vec![1; 100_000]).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let piece = vec![2; 1 << 20];
    let mut at = 0;
    let error = loop {
        match file.write_all_at(&piece, at) {
            Ok(()) => at += 1 << 20,
            Err(error) => break error,
        }
        assert!(at < 30 << 20, "a disk of 24 MiB is full at some time");
    };
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOSPC), "{error}");
    assert_eq!(fs::metadata(rig.src().join("file")).unwrap().len(), at.max(100_000), "what was refused is not there");
    rig.assert_equal();
    // There is room for less.
    file.set_len(1 << 20).unwrap();
    fs::write(rig.mnt().join("other"), b"room again").unwrap();
    rig.assert_replica_equals(&rig.src());
    drop(file);
    rig.finish();
}

// claim: A176
#[test]
fn a_target_that_may_not_be_changed_refuses() {
    let (mut rig, _disk) = on_disk(Rig::root, &[]);
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    fs::write(rig.mnt().join("dir/file"), b"content").unwrap();
    attribute("+i", &rig.replica().join("dir"));
    attribute("+i", &rig.replica().join("dir/file"));
    let passes = rig.status().target().passes;
    refused(fs::write(rig.mnt().join("dir/new"), b"x"), Errno::PERM);
    refused(fs::remove_file(rig.mnt().join("dir/file")), Errno::PERM);
    refused(fs::rename(rig.mnt().join("dir/file"), rig.mnt().join("file")), Errno::PERM);
    assert_eq!(rig.status().target().passes, passes, "nothing had changed, and the target knew");
    rig.assert_replica_equals(&rig.src());
    attribute("-i", &rig.replica().join("dir"));
    attribute("-i", &rig.replica().join("dir/file"));
    // One that knows the directory by another mount.
    let before = rig.status().target().reconnects;
    rig.kill_target();
    let dir = rig.replica().join("dir");
    tool(rig.home(), "mount", ["--bind".as_ref(), dir.as_os_str(), dir.as_os_str()]);
    tool(rig.home(), "mount", ["-o".as_ref(), "remount,bind,ro".as_ref(), dir.as_os_str()]);
    target_back(&mut rig, before);
    refused(fs::write(rig.mnt().join("dir/new"), b"x"), Errno::ROFS);
    refused(fs::write(rig.mnt().join("dir/file"), b"x"), Errno::ROFS);
    assert_eq!(fs::read(rig.src().join("dir/file")).unwrap(), b"content");
    assert_eq!(rig.status().target().passes, passes);
    tool(rig.home(), "umount", ["--lazy".as_ref(), dir.as_os_str()]);
    let before = rig.status().target().reconnects;
    rig.kill_target();
    target_back(&mut rig, before);
    fs::write(rig.mnt().join("dir/new"), b"x").unwrap();
    rig.assert_replica_equals(&rig.src());
    rig.finish();
}

// claim: A177
#[test]
fn what_the_source_cannot_do_is_put_back_on_the_target() {
    let (rig, _disk) = on_disk(Rig::src, &[]);
    let at = |name: &str| rig.mnt().join(name);
    fs::create_dir(at("dir")).unwrap();
    let content = Random::new(1).bytes(3 << 20);
    for name in ["file", "other", "dir/held"] {
        fs::write(at(name), &content).unwrap();
    }
    let file = File::options().write(true).open(at("file")).unwrap();
    let inside = |name: &str| rig.src().join(name);
    for name in ["file", "dir"] {
        attribute("+i", &inside(name));
    }
    let exact = || rig.assert_equal();
    refused(fs::remove_file(at("file")), Errno::PERM);
    exact();
    refused(fs::rename(at("other"), at("file")), Errno::PERM);
    exact();
    refused(fs::rename(at("file"), at("dir/file")), Errno::PERM);
    exact();
    refused(fs::rename(at("dir"), at("elsewhere")), Errno::PERM);
    exact();
    let exchange = rustix::fs::renameat_with(CWD, at("other"), CWD, at("dir"), RenameFlags::EXCHANGE);
    refused(exchange.map_err(Into::into), Errno::PERM);
    exact();
    refused(fs::hard_link(at("file"), at("link")), Errno::PERM);
    refused(fs::create_dir(at("dir/new")), Errno::PERM);
    refused(fs::write(at("dir/new"), b"x"), Errno::PERM);
    refused(symlink("x", at("dir/new")), Errno::PERM);
    refused(fs::remove_file(at("dir/held")), Errno::PERM);
    exact();
    refused(file.set_len(5), Errno::PERM);
    refused(file.write_all_at(b"x", 5), Errno::PERM);
    refused(fs::set_permissions(at("file"), fs::Permissions::from_mode(0o600)), Errno::PERM);
    let set = rustix::fs::setxattr(at("file"), "user.x", b"x", XattrFlags::empty());
    refused(set.map_err(Into::into), Errno::PERM);
    exact();
    for name in ["file", "dir"] {
        attribute("-i", &inside(name));
    }
    drop(file);
    fs::rename(at("file"), at("dir/file")).unwrap();
    rig.assert_replica_equals(&rig.src());
    assert!(rig.status().target().undecided.is_empty());
    let aside = rig.root().join(".replfs/tree/aside");
    assert_eq!(fs::read_dir(aside).unwrap().count(), 0, "what was put back is not set aside");
    rig.finish();
}

// claim: A177
#[test]
fn a_full_source_leaves_nothing_on_the_target() {
    let (rig, _disk) = on_disk(Rig::src, &["-m", "0"]);
    let path = rig.mnt().join("file");
    let file = File::create(&path).unwrap();
    let piece = Random::new(2).bytes(300_000);
    let mut at = 0;
    let error = loop {
        match file.write_all_at(&piece, at) {
            Ok(()) => at += 300_000,
            Err(error) => break error,
        }
        assert!(at < 30 << 20, "a disk of 24 MiB is full at some time");
    };
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOSPC), "{error}");
    rig.assert_equal();
    // What can still be done is.
    file.set_len(10_000).unwrap();
    file.write_all_at(b"over it", 5).unwrap();
    rig.assert_replica_equals(&rig.src());
    drop(file);
    rig.finish();
}

// claim: A178
#[test]
fn without_a_target_nothing_changes_and_it_goes_on_by_itself() {
    let mut rig = linked(TIMEOUT);
    fs::write(rig.mnt().join("file"), b"content").unwrap();
    let before = rig.status().target().reconnects;
    rig.kill_target();
    let start = Instant::now();
    refused(fs::write(rig.mnt().join("new"), b"x"), Errno::IO);
    assert!(start.elapsed() < TOGETHER, "it took {:?}", start.elapsed());
    rig.wait_status("the link to be known as down", |status| status.target().state == "accumulating");
    let start = Instant::now();
    refused(fs::write(rig.mnt().join("file"), b"other"), Errno::IO);
    refused(fs::rename(rig.mnt().join("file"), rig.mnt().join("moved")), Errno::IO);
    let file = File::open(rig.mnt().join("file")).unwrap();
    refused(file.sync_all(), Errno::IO);
    assert!(start.elapsed() < Duration::from_secs(1), "with the link down at once, but it took {:?}", start.elapsed());
    assert_eq!(fs::read(rig.src().join("file")).unwrap(), b"content");
    assert_eq!(fs::read_dir(rig.src()).unwrap().count(), 1);
    assert!(rig.replfs("status", &[]).ok().contains("refused: nothing is changed"));
    drop(file);
    target_back(&mut rig, before);
    fs::write(rig.mnt().join("new"), b"x").unwrap();
    rig.assert_replica_equals(&rig.src());
    rig.finish();
}

// claim: A178
#[test]
fn all_that_waits_fails_together_and_is_told_to_be_undecided() {
    let rig = linked(TIMEOUT);
    let files: Vec<File> = (0..6).map(|n| File::create(rig.mnt().join(format!("file{n}"))).unwrap()).collect();
    rig.settle();
    rig.link().cut();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| refused(file.write_all_at(b"x", 0), Errno::IO));
        }
    });
    assert!(start.elapsed() < TOGETHER, "six writers waited {:?} together", start.elapsed());
    let status = rig.status();
    assert!(!status.target().undecided.is_empty() && status.target().degraded, "{status:?}");
    assert!(rig.replfs("status", &[]).ok().contains("unknown until reconnection, and then put back: file"));
    rig.link().mend();
    rig.assert_equal();
    assert!(rig.status().target().undecided.is_empty());
    assert!(files.iter().all(|file| file.metadata().unwrap().len() == 0));
    drop(files);
    rig.finish();
}

/// Has the target do something whose verdict never arrives.
fn done_and_not_heard(rig: &Rig, operation: impl FnOnce() -> io::Result<()> + Send, there: impl Fn() -> bool) {
    rig.settle();
    rig.link().deafen();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(operation);
        until("the target to have done it", PATIENCE, || there().then_some(()));
        refused(waiting.join().unwrap(), Errno::IO);
    });
}

// claim: A178
#[test]
fn what_the_target_did_unheard_is_put_back_when_it_is_connected_again() {
    let rig = linked(TIMEOUT);
    let content = Random::new(3).bytes(2 << 20);
    fs::write(rig.mnt().join("file"), &content).unwrap();
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    let (mnt, replica) = (rig.mnt(), rig.replica());
    done_and_not_heard(&rig, || fs::create_dir(mnt.join("new")), || replica.join("new").exists());
    assert_eq!(rig.status().target().undecided, ["new"]);
    rig.link().mend();
    rig.assert_equal();
    assert!(!replica.join("new").exists());
    done_and_not_heard(&rig, || fs::remove_file(mnt.join("file")), || !replica.join("file").exists());
    rig.link().mend();
    rig.assert_equal();
    assert_eq!(fs::read(replica.join("file")).unwrap(), content);
    let file = File::options().write(true).open(mnt.join("file")).unwrap();
    let there = || fs::read(replica.join("file")).unwrap()[100..103] == *b"new";
    done_and_not_heard(&rig, || file.write_all_at(b"new", 100), there);
    rig.link().mend();
    rig.assert_equal();
    assert_eq!(fs::read(replica.join("file")).unwrap(), content);
    let exchange = || {
        rustix::fs::renameat_with(CWD, mnt.join("file"), CWD, mnt.join("dir"), RenameFlags::EXCHANGE)
            .map_err(io::Error::from)
    };
    done_and_not_heard(&rig, exchange, || replica.join("dir").is_file());
    rig.link().mend();
    drop(file);
    rig.finish();
}

// claim: A179
#[test]
fn a_source_killed_before_its_own_change_leaves_nothing_on_the_target() {
    let mut rig = linked("30s");
    let content = Random::new(4).bytes(2 << 20);
    fs::write(rig.mnt().join("file"), &content).unwrap();
    let replica = rig.replica();
    for round in 0..3 {
        rig.settle();
        resumable(&rig);
        rig.link().deafen();
        let mnt = rig.mnt();
        let there = || match round {
            0 => replica.join("new").exists(),
            1 => !replica.join("file").exists(),
            _ => fs::read(replica.join("file")).unwrap()[100..103] == *b"new",
        };
        let waiting = std::thread::spawn(move || match round {
            0 => fs::create_dir(mnt.join("new")),
            1 => fs::remove_file(mnt.join("file")),
            _ => File::options().write(true).open(mnt.join("file")).unwrap().write_all_at(b"new", 100),
        });
        until("the target to have done it", PATIENCE, || there().then_some(()));
        rig.kill_source();
        assert!(waiting.join().unwrap().is_err());
        rig.link().mend();
        rig.mount();
        rig.assert_equal();
        assert!(rig.source_log().contains("journal-resumed"), "round {round}");
        assert!(!replica.join("new").exists());
        assert_eq!(fs::read(replica.join("file")).unwrap(), content, "round {round}");
    }
    rig.finish();
}

// claim: A179
#[test]
fn killed_beside_writers_what_was_acknowledged_is_on_both() {
    let seed = seed::chosen();
    let mut random = Random::new(seed);
    let mut rig = rig(Setup::default());
    for round in 0..5 {
        let dirs: Vec<String> = (0..3).map(|n| format!("round{round}-{n}")).collect();
        for dir in &dirs {
            fs::create_dir(rig.mnt().join(dir)).unwrap();
        }
        let shared = rig.mnt().join(format!("shared{round}"));
        fs::create_dir(&shared).unwrap();
        let roamers = Roamers::start(&shared, 2, seed + round);
        let stop = AtomicBool::new(false);
        let (mnt, goal) = (rig.mnt(), rig.status().sequence + 100 + random.below(2000));
        let told = std::thread::scope(|scope| {
            let (mnt, stop) = (&mnt, &stop);
            let write = |dir| scope.spawn(move || acknowledged(&mnt.join(dir), stop));
            let writers: Vec<_> = dirs.iter().map(write).collect();
            rig.wait_status("some operations", |status| status.sequence >= goal);
            rig.kill_source();
            stop.store(true, Ordering::SeqCst);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        roamers.stop();
        rig.mount();
        rig.assert_equal();
        for (dir, told) in dirs.iter().zip(told) {
            for side in [rig.src(), rig.replica()] {
                let there = fs::read_dir(side.join(dir)).unwrap().count();
                for n in 0..told {
                    let content = fs::read(side.join(dir).join(format!("named{n}")));
                    assert!(
                        content.as_ref().is_ok_and(|content| *content == n.to_le_bytes()),
                        "seed {seed}, round {round}: {dir}/named{n} of {told} is {content:?} on {} ({there} names)",
                        side.display()
                    );
                }
            }
        }
    }
    rig.finish();
}

/// Makes, writes and renames files until something fails; how many were acknowledged.
fn acknowledged(dir: &Path, stop: &AtomicBool) -> u64 {
    let mut n: u64 = 0;
    while !stop.load(Ordering::SeqCst) {
        let (made, named) = (dir.join(format!("made{n}")), dir.join(format!("named{n}")));
        if fs::write(&made, n.to_le_bytes()).and_then(|()| fs::rename(&made, &named)).is_err() {
            break;
        }
        n += 1;
    }
    n
}

// claim: A179
#[test]
fn a_target_killed_beside_writers_leaves_both_the_same() {
    let seed = seed::chosen();
    let mut rig = rig(Setup::default().option(&["--remote-timeout", TIMEOUT]));
    let roamers = Roamers::start(&rig.mnt(), 3, seed);
    for _ in 0..3 {
        roamers.roam(300);
        let before = rig.status().target().reconnects;
        rig.kill_target();
        target_back(&mut rig, before);
    }
    roamers.roam(100);
    roamers.stop();
    rig.finish();
}

// claim: A175
#[test]
fn the_mode_changes_under_load() {
    let seed = seed::chosen();
    let rig = rig(Setup::default());
    let load = Load::start(&rig.mnt(), 4, seed);
    for (n, to) in ["real", "remote", "sync", "remote", "near", "remote", "local", "remote"].iter().enumerate() {
        load.wait_for((n as u64 + 1) * 150);
        mode(&rig, to);
    }
    load.wait_for(1500);
    // A change of the mode is no error to anybody.
    load.stop_clean();
    assert_eq!(rig.status().commit, "remote");
    rig.assert_replica_equals(&rig.src());
    rig.finish();
}

// claim: A178
#[test]
fn commands_work_while_calls_wait() {
    let rig = linked("60s");
    fs::write(rig.mnt().join("file"), b"content").unwrap();
    rig.settle();
    rig.link().delay(Duration::from_millis(1500));
    let mnt = rig.mnt();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fs::rename(mnt.join("file"), mnt.join("moved")));
        rig.wait_status("a call that waits", |status| status.target().lag.operations > 0);
        let start = Instant::now();
        assert!(rig.replfs("status", &[]).ok().contains("commit   remote"));
        mode(&rig, "real");
        assert!(start.elapsed() < TOGETHER, "the commands waited {:?}", start.elapsed());
        rig.link().delay(Duration::ZERO);
        waiting.join().unwrap().unwrap();
    });
    rig.finish();
}

// claim: A178
#[test]
fn an_unmount_does_not_wait_for_calls_that_do() {
    let mut rig = linked("60s");
    fs::write(rig.mnt().join("file"), b"content").unwrap();
    rig.settle();
    rig.link().cut();
    let (mnt, pid) = (rig.mnt(), rig.source_pid());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fs::rename(mnt.join("file"), mnt.join("moved")));
        rig.wait_status("a call that waits", |status| status.target().lag.operations > 0);
        let start = Instant::now();
        let outcome = rig.replfs("umount", &[mnt.to_str().unwrap(), "--lazy", "--timeout", "100ms"]);
        assert_eq!(outcome.code, 43, "{outcome:?}");
        assert!(start.elapsed() < TOGETHER, "it waited {:?}", start.elapsed());
        rig.link().mend();
        // Done, or refused because the connection was lost meanwhile.
        let _either = waiting.join().unwrap();
    });
    rig.wait_for_end(pid);
    rig.mount();
    rig.finish();
}

// claim: A178
#[test]
fn mapped_pages_are_written_back_without_waiting_and_synced_with_the_target() {
    let rig = linked(TIMEOUT);
    let file = File::options().read(true).write(true).create_new(true).open(rig.mnt().join("file")).unwrap();
    file.set_len(8192).unwrap();
    let mut mapping = Mapping::shared(&file, 8192).unwrap();
    mapping.bytes()[..5].copy_from_slice(b"first");
    mapping.sync().unwrap();
    assert_eq!(fs::read(rig.replica().join("file")).unwrap()[..5], *b"first");
    rig.settle();
    rig.link().cut();
    mapping.bytes()[..5].copy_from_slice(b"other");
    refused(mapping.sync(), Errno::IO);
    rig.link().mend();
    rig.wait_status("the target to be back", |status| status.is_settled());
    mapping.sync().unwrap();
    drop(mapping);
    drop(file);
    rig.finish();
}

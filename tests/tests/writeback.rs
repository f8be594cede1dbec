//! `--cache writeback`: the kernel gathers what applications write, and order is kept from fsync to fsync and from close to open.
#![allow(clippy::unwrap_used)]

use replfs_tests::child::Child;
use replfs_tests::disk::Disk;
use replfs_tests::in_both_modes;
use replfs_tests::mapping::Mapping;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::{Random, seed};
use replfs_tests::user::{USER, as_user, with_fuse_for_everybody};
use replfs_tests::wait::{Defer, PATIENCE, until};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

in_both_modes!(
    small_writes_are_gathered_and_arrive_whole,
    what_came_after_an_fsync_is_not_seen_without_what_came_before_it,
    times_are_the_same_on_both_sides_however_fast_a_file_is_written_again,
    a_part_of_a_page_is_written_to_a_file_that_is_open_for_writing_only,
    appends_of_two_processes_all_arrive_once,
    mapped_pages_and_writes_are_one_file,
    a_file_is_cut_and_grows_while_it_is_dirty,
    a_dirty_file_is_renamed_replaced_and_removed,
    holes_copies_and_sparse_files_are_exact_beside_dirty_pages,
    what_is_written_faster_than_the_link_takes_waits_for_room,
    what_is_open_is_synced_by_command,
);

fn setup() -> Setup {
    Setup::default().option(&["--cache", "writeback"])
}

fn mounted(commit: Commit) -> Rig {
    let rig = Rig::with(commit, setup());
    assert_eq!(rig.status().cache, "writeback");
    rig.settle();
    rig
}

fn writes(rig: &Rig) -> u64 {
    rig.status().operations.get("write").copied().unwrap_or(0)
}

fn number(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    u64::from_le_bytes(bytes.as_slice().try_into().unwrap())
}

/// What is now in SRC, without the mount's cache, and in the mount.
#[track_caller]
fn assert_content(rig: &Rig, name: &str, expected: &[u8]) {
    assert!(fs::read(rig.mnt().join(name)).unwrap() == expected, "{name} is another one in the mount");
    assert!(fs::read(rig.src().join(name)).unwrap() == expected, "{name} is another one in SRC");
}

// claim: A269, A270
fn small_writes_are_gathered_and_arrive_whole(commit: Commit) {
    const APPENDS: u64 = 5000;
    let rig = mounted(commit);
    let before = writes(&rig);
    let mut expected = Vec::new();
    let mut file = OpenOptions::new().append(true).create(true).open(rig.mnt().join("log")).unwrap();
    for n in 0..APPENDS {
        let line = format!("{n:099}\n");
        file.write_all(line.as_bytes()).unwrap();
        expected.extend_from_slice(line.as_bytes());
    }
    // Who reads it here sees it before anything was synced.
    assert!(fs::read(rig.mnt().join("log")).unwrap() == expected);
    assert_eq!(fs::metadata(rig.mnt().join("log")).unwrap().len(), APPENDS * 100);
    drop(file);
    if commit == Commit::Sync {
        assert!(fs::read(rig.replica().join("log")).unwrap() == expected, "a file was closed and is not on the target");
    }
    let made = writes(&rig) - before;
    assert!(made < APPENDS / 20, "{made} operations for {APPENDS} appends");
    assert_content(&rig, "log", &expected);
    rig.finish();
}

// claim: A270, A271
fn what_came_after_an_fsync_is_not_seen_without_what_came_before_it(commit: Commit) {
    const KILLS: u64 = 4;
    let mut rig = mounted(commit);
    let (mnt, replica) = (rig.mnt(), rig.replica());
    for name in ["first", "second"] {
        fs::write(mnt.join(name), 0_u64.to_le_bytes()).unwrap();
    }
    rig.settle();
    let mut at = 1;
    for kill in 1..=KILLS {
        let (done, written) = (AtomicBool::new(false), AtomicU64::new(at));
        let enough = at + 40 * kill;
        std::thread::scope(|scope| {
            let _end = Defer(&done);
            scope.spawn(|| {
                let open = |name: &str| OpenOptions::new().write(true).open(mnt.join(name)).unwrap();
                let files = [open("first"), open("second")];
                for n in at.. {
                    for (file, name) in files.iter().zip(["first", "second"]) {
                        if file.write_all_at(&n.to_le_bytes(), 0).and_then(|()| file.sync_all()).is_err() {
                            return;
                        }
                        if commit == Commit::Sync {
                            assert!(number(&replica.join(name)) >= n, "it was synced and is not on the target");
                        }
                    }
                    written.store(n, Ordering::SeqCst);
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    // Read against the order of writing.
                    let (second, first) = (number(&replica.join("second")), number(&replica.join("first")));
                    assert!(first >= second, "second is at {second}, but first at {first}");
                }
            });
            until("some rounds", PATIENCE, || (written.load(Ordering::SeqCst) >= enough).then_some(()));
            rig.kill_source();
        });
        let (second, first) = (number(&replica.join("second")), number(&replica.join("first")));
        assert!(first >= second, "after the kill second is at {second}, but first at {first}");
        at = written.load(Ordering::SeqCst) + 2;
        rig.mount();
        // What was synced is there, on SRC whatever the mode.
        assert!(number(&rig.src().join("second")) >= at - 2);
        rig.settle();
    }
    rig.finish();
}

// claim: A269
fn times_are_the_same_on_both_sides_however_fast_a_file_is_written_again(commit: Commit) {
    let rig = mounted(commit);
    for round in 0..100_u64 {
        let path = rig.mnt().join(format!("file{}", round % 3));
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(b"some").unwrap();
        if round % 2 == 0 {
            file.sync_data().unwrap();
            file.write_all(b" more").unwrap();
        }
        drop(file);
        let time = |path: &Path| fs::metadata(path).map(|stat| (stat.mtime(), stat.mtime_nsec())).unwrap();
        let name = path.file_name().unwrap();
        assert_eq!(
            time(&path),
            time(&rig.src().join(name)),
            "round {round}: the mount tells another time than SRC has"
        );
    }
    // Of a dirty file too, and by whom it is set.
    let file = File::create(rig.mnt().join("set")).unwrap();
    file.write_all_at(b"dirty", 0).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    file.set_modified(old).unwrap();
    drop(file);
    assert_eq!(fs::metadata(rig.src().join("set")).unwrap().modified().unwrap(), old);
    rig.finish();
}

// claim: A269
fn a_part_of_a_page_is_written_to_a_file_that_is_open_for_writing_only(commit: Commit) {
    let mut rig = Rig::prepare(commit, setup());
    let mut expected = Random::new(seed()).bytes(10_000);
    // Nothing of it is in the mount's cache.
    fs::write(rig.src().join("file"), &expected).unwrap();
    rig.mount();
    rig.settle();
    let file = OpenOptions::new().write(true).open(rig.mnt().join("file")).unwrap();
    for at in [5000_usize, 9_996, 4_090, 0] {
        file.write_all_at(b"0123456789", at as u64).unwrap();
        expected.resize(expected.len().max(at + 10), 0);
        expected[at..at + 10].copy_from_slice(b"0123456789");
    }
    // Direct writes and such as are durable when they return, beside dirty pages.
    let flags = [libc::O_DIRECT, libc::O_SYNC, libc::O_DSYNC];
    expected.resize(7 * 4096, 0);
    for (n, flags) in (3..).zip(flags) {
        let block = Block([u8::try_from(n).unwrap(); 4096]);
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(rig.mnt().join("file")).unwrap();
        file.write_all_at(b"dirty", n * 4096 + 4096).unwrap();
        direct.write_all_at(&block.0, n * 4096).unwrap();
        let at = usize::try_from(n).unwrap() * 4096;
        expected[at..at + 4096].copy_from_slice(&block.0);
        expected[at + 4096..at + 4101].copy_from_slice(b"dirty");
        if commit == Commit::Sync {
            let there = fs::read(rig.replica().join("file")).unwrap();
            assert!(there[at..at + 4096] == block.0, "it was written through and is not on the target");
        }
    }
    expected.truncate(6 * 4096 + 5);
    drop(file);
    assert_content(&rig, "file", &expected);
    rig.finish();
}

/// What `O_DIRECT` takes.
#[repr(align(4096))]
struct Block([u8; 4096]);

// claim: A269
fn appends_of_two_processes_all_arrive_once(commit: Commit) {
    const LINES: usize = 400;
    let rig = mounted(commit);
    let path = rig.mnt().join("log");
    let append = |who: u8| {
        let path = path.clone();
        Child::start(move |_| {
            let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
            for n in 0..LINES {
                file.write_all(format!("{who} {n:050}\n").as_bytes()).unwrap();
            }
            0
        })
    };
    for child in [append(1), append(2)] {
        assert_eq!(child.end(), 0);
    }
    let text = fs::read_to_string(rig.src().join("log")).unwrap();
    for who in [1, 2] {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("{who} "))).collect();
        let expected: Vec<String> = (0..LINES).map(|n| format!("{who} {n:050}")).collect();
        assert_eq!(lines, expected);
    }
    assert_eq!(text.lines().count(), 2 * LINES);
    rig.finish();
}

// claim: A269, A270
fn mapped_pages_and_writes_are_one_file(commit: Commit) {
    const LEN: usize = 64 << 10;
    let rig = mounted(commit);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(rig.mnt().join("file")).unwrap();
    file.set_len(LEN as u64).unwrap();
    let mut mapping = Mapping::shared(&file, LEN).unwrap();
    let mut expected = vec![0; LEN];
    let mut random = Random::new(seed());
    for _ in 0..300 {
        let bytes = random.bytes(100);
        let at = usize::try_from(random.below((LEN - 100) as u64)).unwrap();
        if random.below(2) == 0 {
            mapping.bytes()[at..at + 100].copy_from_slice(&bytes);
        } else {
            file.write_all_at(&bytes, at as u64).unwrap();
        }
        expected[at..at + 100].copy_from_slice(&bytes);
    }
    assert!(mapping.bytes() == expected, "the mapping lacks what was written");
    mapping.sync().unwrap();
    if commit == Commit::Sync {
        assert!(fs::read(rig.replica().join("file")).unwrap() == expected, "msync returned before the target had it");
    }
    mapping.bytes()[..4].copy_from_slice(b"last");
    expected[..4].copy_from_slice(b"last");
    // Pages that outlive the descriptor.
    drop(file);
    drop(mapping);
    assert_content(&rig, "file", &expected);
    rig.finish();
}

// claim: A269
fn a_file_is_cut_and_grows_while_it_is_dirty(commit: Commit) {
    let rig = mounted(commit);
    let mut random = Random::new(seed());
    for round in 0..20 {
        let name = format!("file{round}");
        let file = File::create(rig.mnt().join(&name)).unwrap();
        let mut expected: Vec<u8> = Vec::new();
        for _ in 0..30 {
            let at = usize::try_from(random.below(60_000)).unwrap();
            if random.below(3) == 0 {
                file.set_len(at as u64).unwrap();
                expected.resize(at, 0);
            } else {
                let bytes = random.bytes(3000);
                file.write_all_at(&bytes, at as u64).unwrap();
                expected.resize(expected.len().max(at + 3000), 0);
                expected[at..at + 3000].copy_from_slice(&bytes);
            }
            assert_eq!(file.metadata().unwrap().len(), expected.len() as u64);
        }
        drop(file);
        assert_content(&rig, &name, &expected);
    }
    rig.finish();
}

// claim: A269
fn a_dirty_file_is_renamed_replaced_and_removed(commit: Commit) {
    let rig = mounted(commit);
    let mnt = rig.mnt();
    for n in 0..20 {
        let file = File::create(mnt.join("new")).unwrap();
        file.write_all_at(&[b'a'; 5000], 0).unwrap();
        fs::rename(mnt.join("new"), mnt.join("name")).unwrap();
        file.write_all_at(&[b'b'; 5000], 5000).unwrap();
        fs::hard_link(mnt.join("name"), mnt.join(format!("kept{n}"))).unwrap();
        file.write_all_at(&[b'c'; 100], 2000).unwrap();
        drop(file);
        // Removed while it is open and dirty; what is written then is nobody's but its own.
        let gone = OpenOptions::new().read(true).write(true).create_new(true).open(mnt.join("gone")).unwrap();
        gone.write_all_at(&[1; 9000], 0).unwrap();
        fs::remove_file(mnt.join("gone")).unwrap();
        fs::write(mnt.join("gone"), format!("another {n}")).unwrap();
        gone.write_all_at(&[2; 9000], 9000).unwrap();
        gone.sync_all().unwrap();
        let mut back = [0; 9000];
        gone.read_exact_at(&mut back, 9000).unwrap();
        assert_eq!(back, [2; 9000]);
        drop(gone);
        fs::remove_file(mnt.join("gone")).unwrap();
    }
    let mut expected = vec![b'a'; 5000];
    expected.extend([b'b'; 5000]);
    expected[2000..2100].fill(b'c');
    assert_content(&rig, "name", &expected);
    assert_content(&rig, "kept0", &expected);
    rig.finish();
}

// claim: A269, A272
fn holes_copies_and_sparse_files_are_exact_beside_dirty_pages(commit: Commit) {
    use rustix::fs::{FallocateFlags, copy_file_range, fallocate, seek};
    let rig = mounted(commit);
    let open =
        |name: &str| OpenOptions::new().read(true).write(true).create_new(true).open(rig.mnt().join(name)).unwrap();
    let (from, to) = (open("from"), open("to"));
    let mut expected = Random::new(seed()).bytes(300_000);
    from.write_all_at(&expected, 0).unwrap();
    // Where it is dirty it has no holes, whatever is in SRC: a program that copies by them misses nothing.
    assert_eq!(seek(&from, SeekFrom::Data(0)), Ok(0));
    assert_eq!(seek(&from, SeekFrom::Data(299_999)), Ok(299_999));
    assert_eq!(seek(&from, SeekFrom::Hole(0)), Ok(300_000));
    fallocate(&from, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 100_000, 50_000).unwrap();
    expected[100_000..150_000].fill(0);
    fallocate(&from, FallocateFlags::ZERO_RANGE, 10, 5_000).unwrap();
    expected[10..5_010].fill(0);
    fallocate(&from, FallocateFlags::empty(), 299_000, 11_000).unwrap();
    expected.resize(310_000, 0);
    from.write_all_at(b"dirty again", 100_500).unwrap();
    expected[100_500..100_511].copy_from_slice(b"dirty again");
    to.write_all_at(&vec![7; 50_000], 0).unwrap();
    let (mut read_at, mut write_at) = (1_000, 20_000);
    let mut left = 200_000;
    while left > 0 {
        let copied = copy_file_range(&from, Some(&mut read_at), &to, Some(&mut write_at), left).unwrap();
        assert!(copied > 0);
        left -= copied;
    }
    let mut copy = vec![7; 20_000];
    copy.extend_from_slice(&expected[1_000..201_000]);
    drop((from, to));
    assert_content(&rig, "from", &expected);
    assert_content(&rig, "to", &copy);
    rig.finish();
}

// claim: A269
fn what_is_written_faster_than_the_link_takes_waits_for_room(commit: Commit) {
    let rig = Rig::with(commit, setup().option(&["--backlog", "8MiB"]));
    rig.settle();
    let before = rig.status().target().passes;
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let path = rig.mnt().join(format!("file{writer}"));
            scope.spawn(move || {
                let file = File::create(path).unwrap();
                let bytes = Random::new(writer).bytes(1 << 20);
                for n in 0..24 {
                    file.write_all_at(&bytes, n << 20).unwrap();
                }
                file.sync_all().unwrap();
            });
        }
    });
    rig.settle();
    assert_eq!(rig.status().target().passes, before, "the backlog overflowed: {}", rig.source_log());
    rig.finish();
}

// claim: A271
fn what_is_open_is_synced_by_command(commit: Commit) {
    let rig = mounted(commit);
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    let files: Vec<File> = (0..5).map(|n| File::create(rig.mnt().join(format!("dir/{n}"))).unwrap()).collect();
    for round in 0..5_u64 {
        for (n, file) in files.iter().enumerate() {
            file.write_all_at(&(round * 100 + n as u64).to_le_bytes(), 0).unwrap();
        }
        fs::rename(rig.mnt().join(format!("dir/{round}")), rig.mnt().join(format!("dir/moved{round}"))).unwrap();
        rig.replfs("sync", &[rig.mnt().to_str().unwrap()]).ok();
        for n in 0..5 {
            let name = if n <= round { format!("dir/moved{n}") } else { format!("dir/{n}") };
            assert_eq!(number(&rig.replica().join(name)), round * 100 + n);
        }
    }
    drop(files);
    rig.finish();
}

// claim: A270
#[test]
fn close_waits_for_the_target_and_a_write_does_not() {
    use std::time::{Duration, Instant};
    let rig = Rig::with(Commit::Sync, setup().linked());
    let file = File::create(rig.mnt().join("file")).unwrap();
    rig.settle();
    rig.link().delay(Duration::from_millis(100));
    let begun = Instant::now();
    for n in 0..1000_u64 {
        file.write_all_at(&n.to_le_bytes(), n * 8).unwrap();
    }
    let written = begun.elapsed();
    // A descriptor for reading is closed at once: nobody has written anything through it, but what was written counts.
    drop(File::open(rig.mnt().join("file")).unwrap());
    assert_eq!(fs::metadata(rig.replica().join("file")).unwrap().len(), 8000);
    drop(file);
    let expected: Vec<u8> = (0..1000_u64).flat_map(u64::to_le_bytes).collect();
    assert!(fs::read(rig.replica().join("file")).unwrap() == expected);
    assert!(begun.elapsed() >= Duration::from_millis(200), "a close took no round trip: {:?}", begun.elapsed());
    assert!(written < Duration::from_millis(200) * 100, "1000 writes took {written:?}");
    // Nothing is left to wait for.
    let begun = Instant::now();
    drop(File::open(rig.mnt().join("file")).unwrap());
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
    rig.link().delay(Duration::ZERO);
    rig.finish();
}

// claim: A271
#[test]
fn a_full_disk_is_told_at_fsync_and_close() {
    let mut rig = Rig::prepare(Commit::Real, setup());
    let src = rig.src();
    let disk = Disk::new(&rig, "disk", 24, &["-m", "0"]);
    disk.mount(&mut rig, &src);
    rig.mount();
    rig.settle();
    let file = File::create(rig.mnt().join("big")).unwrap();
    let bytes = Random::new(1).bytes(1 << 20);
    // The kernel does not know how much room there is.
    let mut failed = None;
    for n in 0..40 {
        if let Err(error) = file.write_all_at(&bytes, n << 20) {
            failed = Some(error);
        }
    }
    let error = file.sync_all().err().or(failed).unwrap();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOSPC), "{error}");
    drop(file);
    // Everybody goes on, and both sides are the same.
    rig.assert_equal();
    fs::remove_file(rig.mnt().join("big")).unwrap();
    // The daemon has it until the kernel says that nobody has it open any more, which it does behind the close and the removal.
    let free = || rustix::fs::statvfs(&src).unwrap().f_bfree;
    until("the room of what was removed", PATIENCE, || (free() > 8192).then_some(()));
    fs::write(rig.mnt().join("small"), &bytes).unwrap();
    assert_content(&rig, "small", &bytes);
    rig.assert_equal();
    rig.unmount();
    rig.unmount_now(&src);
}

// claim: A272
#[test]
fn what_an_ordinary_users_daemon_may_not_read_is_written_through() {
    use std::os::unix::fs::PermissionsExt;
    with_fuse_for_everybody(|| {
        let rig = Rig::with(Commit::Sync, setup().user(USER));
        rig.settle();
        let path = rig.mnt().join("file");
        let mut expected = vec![b'a'; 5000];
        let file = as_user(USER, &[], || {
            fs::write(&path, &expected).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o200)).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(b"through", 4093).unwrap();
            file
        });
        expected[4093..4100].copy_from_slice(b"through");
        // Nothing was closed or synced, and nothing else makes the kernel write back.
        assert!(fs::read(rig.src().join("file")).unwrap() == expected);
        assert!(fs::read(rig.replica().join("file")).unwrap() == expected);
        as_user(USER, &[], || {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(fs::read(&path).unwrap() == expected);
        });
        drop(file);
        rig.finish();
    });
}

// claim: A272
#[test]
fn remote_is_refused() {
    let mut rig = Rig::prepare(Commit::Remote, setup());
    let refused = rig.try_mount(&[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("cache=through"), "{}", refused.stderr);
    let mounted = rig.try_mount(&["--commit", "sync"]);
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let mnt = rig.mnt();
    let refused = rig.replfs("commit", &[mnt.to_str().unwrap(), "remote"]);
    assert!(refused.code == 1 && refused.stderr.contains("cache=through"), "{refused:?}");
    assert_eq!(rig.status().commit, "sync");
    let text = rig.replfs("status", &[]);
    assert!(text.ok().contains("cache    writeback"), "{}", text.stdout);
    rig.replfs("commit", &[mnt.to_str().unwrap(), "near"]).ok();
    rig.finish();
}

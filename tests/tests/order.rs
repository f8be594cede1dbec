//! Strict order (I1, I2): operations that race or depend on each other arrive as they happened, and whoever looks at the
//! replica at any moment sees a state that the source had.
#![allow(clippy::unwrap_used)]

use replfs_tests::in_both_modes;
use replfs_tests::rig::{Commit, Rig};
use replfs_tests::seed::{Random, seed};
use replfs_tests::wait::PATIENCE;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

in_both_modes!(
    a_reader_of_the_replica_sees_a_prefix,
    writes_that_race_renames_reach_the_right_file,
    an_unlinked_file_can_still_be_written,
    a_directory_renamed_above_an_open_file_takes_it_along,
    appends_of_several_processes_all_arrive_once,
    mapped_pages_arrive_beside_renames_and_writes,
    files_that_replace_each_other_keep_their_content,
    an_inode_number_that_is_used_again_is_another_file,
);

// claim: A11, A13
fn a_reader_of_the_replica_sees_a_prefix(commit: Commit) {
    const COUNT: u64 = 1500;
    let rig = Rig::start(commit);
    let (mnt, replica) = (rig.mnt(), rig.replica());
    let (first, second) = (File::create(mnt.join("first")).unwrap(), File::create(mnt.join("second")).unwrap());
    for file in [&first, &second] {
        file.write_all_at(&0_u64.to_le_bytes(), 0).unwrap();
    }
    rig.settle();
    let done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0_u64;
            let mut newest = 0;
            let start = Instant::now();
            while !done.load(Ordering::SeqCst) || newest + 1 < COUNT {
                // Read against the order of writing: what is seen of a later change implies all earlier ones.
                let (second, first) = (number(&replica.join("second")), number(&replica.join("first")));
                assert!(first >= second, "second is at {second}, but first at {first}");
                while replica.join(format!("f{}", newest + 1)).exists() {
                    newest += 1;
                    assert!(replica.join(format!("f{}", newest - 1)).exists(), "f{newest} without the one before it");
                }
                let second = number(&replica.join("second"));
                assert!(second >= newest, "f{newest} exists, but second is at {second}");
                let gap = replica.join(format!("f{}", newest + 2)).exists()
                    && !replica.join(format!("f{}", newest + 1)).exists();
                assert!(!gap, "f{} exists without f{}", newest + 2, newest + 1);
                assert!(start.elapsed() < PATIENCE * 2, "the replica stands still at f{newest}");
                looks += 1;
            }
            looks
        });
        for n in 0..COUNT {
            first.write_all_at(&n.to_le_bytes(), 0).unwrap();
            second.write_all_at(&n.to_le_bytes(), 0).unwrap();
            File::create(mnt.join(format!("f{n}"))).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap()
    });
    println!("{looks} looks at {COUNT} rounds");
    drop((first, second));
    rig.finish();
}

fn number(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    u64::from_le_bytes(bytes.as_slice().try_into().unwrap())
}

// claim: A12
fn writes_that_race_renames_reach_the_right_file(commit: Commit) {
    let rig = Rig::start(commit);
    let mnt = rig.mnt();
    fs::create_dir(mnt.join("a")).unwrap();
    fs::create_dir(mnt.join("b")).unwrap();
    let files: Vec<File> = (0..4).map(|n| File::create(mnt.join(format!("a/file{n}"))).unwrap()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (n, file) in files.iter().enumerate() {
            let (done, mut random) = (&done, Random::new(seed() + n as u64));
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    file.write_all_at(&random.bytes(500), random.below(20_000)).unwrap();
                }
            });
        }
        for round in 0..400 {
            let (from, to) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
            for n in 0..4 {
                let (old, new) = (mnt.join(format!("{from}/file{n}")), mnt.join(format!("{to}/file{}", (n + 1) % 4)));
                fs::rename(old, mnt.join("aside")).unwrap();
                fs::rename(mnt.join("aside"), new.with_extension("new")).unwrap();
            }
            for n in 0..4 {
                let new = mnt.join(format!("{to}/file{n}"));
                fs::rename(new.with_extension("new"), new).unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
    drop(files);
    rig.finish();
}

// claim: A41
fn an_unlinked_file_can_still_be_written(commit: Commit) {
    let rig = Rig::start(commit);
    let mnt = rig.mnt();
    for n in 0..50 {
        let path = mnt.join("file");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all_at(b"named", 0).unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all_at(b"without a name", 0).unwrap();
        // The name is taken by another file, which the writes to the first one must not reach.
        fs::write(&path, format!("another {n}")).unwrap();
        file.write_all_at(&[1; 5000], 100).unwrap();
        file.set_len(3).unwrap();
        file.sync_all().unwrap();
        let mut back = [0; 3];
        file.read_exact_at(&mut back, 0).unwrap();
        assert_eq!(&back, b"wit");
        fs::rename(&path, mnt.join(format!("kept{n}"))).unwrap();
    }
    // One of two names goes: the file lives on under the other.
    let file = File::create(mnt.join("one")).unwrap();
    fs::hard_link(mnt.join("one"), mnt.join("two")).unwrap();
    fs::remove_file(mnt.join("one")).unwrap();
    file.write_all_at(b"through the first name", 0).unwrap();
    rig.settle();
    assert_eq!(fs::read(rig.replica().join("two")).unwrap(), b"through the first name");
    // Open across the end: unlinked, held, and written once more when all else is done.
    let last = File::create(mnt.join("last")).unwrap();
    fs::remove_file(mnt.join("last")).unwrap();
    last.write_all_at(b"x", 1 << 20).unwrap();
    drop(last);
    drop(file);
    rig.finish();
}

// claim: A5, A11
fn a_directory_renamed_above_an_open_file_takes_it_along(commit: Commit) {
    let rig = Rig::start(commit);
    let mnt = rig.mnt();
    fs::create_dir_all(mnt.join("top/middle/bottom")).unwrap();
    let mut file = File::create(mnt.join("top/middle/bottom/file")).unwrap();
    let dir = File::open(mnt.join("top/middle")).unwrap();
    for round in 0..100 {
        writeln!(file, "round {round}").unwrap();
        let (from, to) = if round % 2 == 0 { ("top", "other") } else { ("other", "top") };
        fs::rename(mnt.join(from), mnt.join(to)).unwrap();
        writeln!(file, "moved to {to}").unwrap();
        // Another directory takes the old name, with a file of the same name in the same place.
        fs::create_dir_all(mnt.join(from).join("middle/bottom")).unwrap();
        fs::write(mnt.join(from).join("middle/bottom/file"), "decoy").unwrap();
        writeln!(file, "beside the decoy").unwrap();
        let name = format!("by descriptor {round}");
        rustix::fs::mkdirat(&dir, &*name, rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
        fs::remove_dir_all(mnt.join(from)).unwrap();
    }
    drop((file, dir));
    rig.finish();
}

// claim: A1, A44
fn appends_of_several_processes_all_arrive_once(commit: Commit) {
    const PROCESSES: usize = 4;
    const LINES: usize = 150;
    let rig = Rig::start(commit);
    let script = format!("for n in $(seq {LINES}); do echo \"$0 $n {}\" >> log; done", "x".repeat(60));
    let start =
        |n: usize| Command::new("bash").args(["-c", &script, &n.to_string()]).current_dir(rig.mnt()).spawn().unwrap();
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    rig.settle();
    let text = fs::read_to_string(rig.replica().join("log")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), PROCESSES * LINES);
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), PROCESSES * LINES, "every line once");
    rig.finish();
}

// claim: A4, A12
fn mapped_pages_arrive_beside_renames_and_writes(commit: Commit) {
    const PAGES: usize = 64;
    let rig = Rig::start(commit);
    let mnt = rig.mnt();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(mnt.join("mapped")).unwrap();
    file.set_len((PAGES * 4096) as u64).unwrap();
    let mut map = replfs_tests::mapping::Mapping::shared(&file, PAGES * 4096).unwrap();
    let mut random = Random::new(seed());
    for round in 0..60_u8 {
        for _ in 0..10 {
            let at = usize::try_from(random.below((PAGES * 4096) as u64)).unwrap();
            map.bytes()[at] = round;
        }
        // Beside dirty pages: the file gets another name, other pages are written, attributes change.
        let (from, to) = if round % 2 == 0 { ("mapped", "renamed") } else { ("renamed", "mapped") };
        fs::rename(mnt.join(from), mnt.join(to)).unwrap();
        file.write_all_at(&[round; 100], u64::from(round) * 4096).unwrap();
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600 | u32::from(round % 64))).unwrap();
        if round % 7 == 0 {
            map.sync().unwrap();
        }
    }
    map.sync().unwrap();
    let content = fs::read(rig.src().join("mapped")).unwrap();
    assert!(content == map.bytes(), "msync carries every page to the source");
    drop(map);
    drop(file);
    rig.finish();
}

// claim: A11
fn files_that_replace_each_other_keep_their_content(commit: Commit) {
    let rig = Rig::start(commit);
    let mnt = rig.mnt();
    // What editors and package managers do: write aside, fsync, rename over the old one, which somebody still reads.
    for round in 0..100 {
        let held = File::open(mnt.join("config")).ok();
        let mut new = File::create(mnt.join("config.new")).unwrap();
        writeln!(new, "state {round}").unwrap();
        if round % 10 == 0 {
            new.sync_all().unwrap();
        }
        fs::rename(mnt.join("config.new"), mnt.join("config")).unwrap();
        writeln!(new, "written after the rename").unwrap();
        drop(held);
        if round % 3 == 0 {
            let _ = fs::hard_link(mnt.join("config"), mnt.join(format!("config.{round}")));
        }
    }
    rig.finish();
}

// claim: A43
/// Whoever looks up a name, loses it to an unlink and changes the file then has a file that is gone: never an error that
/// an ordinary directory does not give, and never the next file, although file systems give it the same inode number.
fn an_inode_number_that_is_used_again_is_another_file(commit: Commit) {
    let rig = Rig::start(commit);
    let (victim, next) = (rig.mnt().join("victim"), rig.mnt().join("next"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for what in 0..3 {
            let (victim, done) = (&victim, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let changed = match what {
                        0 => fs::set_permissions(victim, PermissionsExt::from_mode(0o600)),
                        1 => {
                            OpenOptions::new().append(true).open(victim).and_then(|mut file| file.write_all(b"victim"))
                        }
                        _ => OpenOptions::new().write(true).open(victim).and_then(|file| file.set_len(9)),
                    };
                    match changed {
                        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                            done.store(true, Ordering::SeqCst);
                            panic!("a file that another thread removes: {error}");
                        }
                        _ => {}
                    }
                }
            });
        }
        for round in 0..600 {
            if done.load(Ordering::SeqCst) {
                break;
            }
            fs::write(&victim, "v").unwrap();
            fs::remove_file(&victim).unwrap();
            fs::write(&next, "next").unwrap();
            let (meta, content) = (fs::metadata(&next).unwrap(), fs::read(&next).unwrap());
            let same = meta.permissions().mode() & 0o777 == 0o644 && content == b"next";
            if !same {
                done.store(true, Ordering::SeqCst);
            }
            assert!(
                same,
                "round {round}: what was meant for a removed file reached the next one: {meta:?}, {content:?}"
            );
            fs::remove_file(&next).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    rig.finish();
}

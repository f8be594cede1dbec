//! Files mapped into memory: shared between processes, beside read and write, at their ends.

use replfs_tests::below::{Answered, as_below};
use replfs_tests::child::{self, Child};
use replfs_tests::mapping::Mapping;
use replfs_tests::rig::{Commit, Rig};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const LEN: usize = 3 * 4096;

fn open(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

// claim: A4, A46
#[test]
fn processes_see_each_others_mapped_and_written_bytes() {
    as_below(Commit::Sync, |dir| {
        let path = dir.join("file");
        fs::write(&path, vec![b'.'; LEN]).unwrap();
        let mut other = Child::start(|line| {
            let file = open(&path);
            let mut map = Mapping::shared(&file, LEN).unwrap();
            line.say(i32::from(map.bytes()[0]));
            loop {
                match line.hear() {
                    0 => return 0,
                    1 => map.bytes()[5000] = b'm',
                    2 => file.write_all_at(b"w", 6000).unwrap(),
                    3 => OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"o", 7000).unwrap(),
                    _ => {}
                }
                line.say(i32::from(map.bytes()[8000]));
            }
        });
        let mut seen = vec![other.line.hear()];
        let file = open(&path);
        let mut map = Mapping::shared(&file, LEN).unwrap();
        let mut turn = |what: i32, at: usize| {
            other.line.say(what);
            let theirs = other.line.hear();
            let mut read = [0];
            file.read_exact_at(&mut read, at as u64).unwrap();
            (theirs, map.bytes()[at], read[0])
        };
        let mut turns = vec![turn(1, 5000), turn(2, 6000), turn(3, 7000)];
        file.write_all_at(b"W", 8000).unwrap();
        turns.push(turn(4, 8000));
        // By a descriptor that only writes: it goes another way into the file system.
        OpenOptions::new().append(false).write(true).open(&path).unwrap().write_all_at(b"O", 8000).unwrap();
        turns.push(turn(4, 8000));
        map.bytes()[8000] = b'M';
        other.line.say(4);
        seen.push(other.line.hear());
        other.line.say(0);
        seen.push(other.end());
        map.sync().unwrap();
        let grown = file.set_len(100).answer();
        (seen, turns, grown, fs::read(&path).unwrap())
    });
}

/// What becomes of a process that touches a byte of a mapping.
fn touch(path: &Path, cut: Option<u64>, at: usize) -> i32 {
    child::run(|| {
        let file = open(path);
        let mut map = Mapping::shared(&file, LEN).unwrap();
        map.bytes()[0] = b'!';
        if let Some(len) = cut {
            file.set_len(len).unwrap();
        }
        map.bytes()[at] = b'?';
        map.sync().unwrap();
        7
    })
}

// claim: A46
#[test]
fn beyond_the_end_of_a_file_a_mapping_ends_too() {
    as_below(Commit::Sync, |dir| {
        let path = dir.join("file");
        let answers = [(5000, None, 4999), (5000, None, 8000), (5000, None, 9000), (5000, Some(4000), 5000)].map(
            |(len, cut, at)| {
                fs::write(&path, vec![b'.'; len]).unwrap();
                (touch(&path, cut, at), fs::read(&path).unwrap())
            },
        );
        let write_only = OpenOptions::new().write(true).open(&path).unwrap();
        let refused = Mapping::shared(&write_only, 10).map(drop).answer();
        let read_only = Mapping::shared(&File::open(&path).unwrap(), 10).map(drop).answer();
        (answers, refused, read_only)
    });
}

// claim: A4, A17
#[test]
fn msync_returns_when_the_target_has_the_pages() {
    let rig = Rig::start(Commit::Sync);
    let path = rig.mnt().join("file");
    fs::write(&path, vec![0; LEN]).unwrap();
    rig.settle();
    let file = open(&path);
    let mut map = Mapping::shared(&file, LEN).unwrap();
    for round in 1..20 {
        map.bytes().fill(round);
        let synced = if round % 2 == 0 { map.sync() } else { file.sync_data() };
        synced.unwrap();
        // No waiting: it is there, or the promise is broken.
        assert!(fs::read(rig.replica().join("file")).unwrap() == vec![round; LEN], "round {round}");
    }
    drop((map, file));
    rig.finish();
}

//! Space: a disk that is full, that is full for ordinary users, that has no inodes left.

use replfs_tests::below::{Answer, Answered, both};
use replfs_tests::caller::{NOBODY, ROOT, User};
use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup};
use rustix::fs::{CWD, FallocateFlags, XattrFlags};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A rig whose SRC is a disk of its own, an equal disk beside it, and a directory for everybody on both: below, in the
/// mount.
fn disks(mib: u64, format: &[&str]) -> (Rig, PathBuf, PathBuf) {
    let mut rig = Rig::bare(Commit::Sync, Setup::default());
    let (native, src) = (rig.home().join("native"), rig.src());
    fs::create_dir(&native).unwrap();
    for (name, at) in [("one", &native), ("two", &src)] {
        Disk::new(&rig, name, mib, format).mount(&mut rig, at);
        fs::create_dir(at.join("case")).unwrap();
        fs::set_permissions(at.join("case"), Permissions::from_mode(0o777)).unwrap();
    }
    rig.start_target();
    rig.mount();
    rig.settle();
    let inside = rig.mnt().join("case");
    (rig, native.join("case"), inside)
}

/// Writes until there is no more room: why it ended, and how many whole MiB it took.
fn fill(user: User, path: &Path) -> (Answer, u64) {
    user.does(|| {
        let file = File::create(path).unwrap();
        let piece = vec![b'f'; 64 << 10];
        let mut len = 0;
        loop {
            match file.write_at(&piece, len) {
                Ok(written) => len += written as u64,
                Err(error) => return (file.sync_all().and(Err(error)).answer(), len >> 20),
            }
        }
    })
}

// claim: A55
#[test]
fn a_full_disk_says_so_and_keeps_what_it_has() {
    let (rig, native, inside) = disks(24, &["-m", "0"]);
    both(&native, &inside, |dir| {
        fs::write(dir.join("before"), "content").unwrap();
        let filled = fill(ROOT, &dir.join("large"));
        let grow = || OpenOptions::new().write(true).open(dir.join("before")).unwrap();
        // The last blocks may serve a name or two; what is asked here needs more.
        let answers: [Answer; 5] = [
            grow().write_all_at(&vec![1; 1 << 20], 0).answer(),
            rustix::fs::fallocate(grow(), FallocateFlags::empty(), 0, 1 << 20),
            rustix::fs::fallocate(grow(), FallocateFlags::KEEP_SIZE, 4 << 20, 1 << 20),
            rustix::fs::copy_file_range(
                File::open(dir.join("large")).unwrap(),
                Some(&mut 0),
                grow(),
                Some(&mut (8 << 20)),
                1 << 20,
            )
            .map(drop),
            rustix::fs::setxattr(dir.join("before"), "user.large", &[b'x'; 3900], XattrFlags::empty()),
        ];
        // What the last write left is not the same twice: ext4 fills what is left in pieces.
        for name in ["large", "before"] {
            fs::remove_file(dir.join(name)).unwrap();
        }
        fs::write(dir.join("after"), "room again").unwrap();
        (filled, answers)
    });
    rig.finish();
}

// claim: A7, A55
#[test]
fn what_a_write_without_room_leaves_of_times_is_on_the_replica() {
    let (rig, _native, inside) = disks(24, &["-m", "0"]);
    fs::write(inside.join("whole"), vec![7; 100_000]).unwrap();
    File::create(inside.join("sparse")).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(fill(ROOT, &inside.join("large")).0, Err(Errno::NOSPC));
    let moved = |name: &str, write: &dyn Fn(&File) -> bool| {
        let file = OpenOptions::new().read(true).write(true).open(inside.join(name)).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        assert!(write(&file), "there was room in {name}");
        file.metadata().unwrap().modified().unwrap() != before
    };
    let refused = [
        // Into a hole, behind the end, copied.
        moved("sparse", &|file| file.write_at(&vec![1; 512 << 10], 0).is_err()),
        moved("whole", &|file| (0..9).any(|n| file.write_at(&vec![1; 512 << 10], (1 << 20) + (n << 19)).is_err())),
        moved("sparse", &|file| {
            let from = File::open(inside.join("large")).unwrap();
            rustix::fs::copy_file_range(from, Some(&mut 0), file, Some(&mut (512 << 10)), 512 << 10).is_err()
        }),
    ];
    assert!(refused.contains(&true), "ext4 moves times before it looks for room");
    rig.finish();
}

// claim: A85
#[test]
fn what_is_kept_for_root_is_not_for_others() {
    let (rig, native, inside) = disks(24, &["-m", "50"]);
    both(&native, &inside, |dir| {
        let (ended, mib) = fill(NOBODY, &dir.join("of nobody"));
        // Half of what is there, whatever the file system itself needs.
        let half = (6..=12).contains(&mib);
        let more: Answer<[Answer; 2]> = NOBODY.does(|| {
            let file = OpenOptions::new().append(true).open(dir.join("of nobody")).answer()?;
            let made = File::create(dir.join("another")).and_then(|f| f.write_all_at(&vec![1; 20_000], 0)).answer();
            let reserved = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, 20 << 20);
            Ok([made, reserved])
        });
        let by_root = fs::write(dir.join("of root"), vec![1; 1 << 20]).answer();
        // Who owns a file does not matter, who writes does.
        chown(dir.join("of root"), Some(65534), Some(65534)).unwrap();
        let file = OpenOptions::new().append(true).open(dir.join("of root")).unwrap();
        let by_root_to_others = file.write_all_at(&vec![1; 1 << 20], 0).answer();
        for name in ["of nobody", "another"] {
            let _ = fs::remove_file(dir.join(name));
        }
        (ended, half, more, by_root, by_root_to_others)
    });
    rig.finish();
}

// claim: A55
#[test]
fn a_disk_without_inodes_says_so() {
    let (rig, native, inside) = disks(8, &["-m", "0", "-N", "64"]);
    both(&native, &inside, |dir| {
        let mut made = Vec::new();
        let ended = loop {
            let path = dir.join(format!("file{}", made.len()));
            match File::create_new(&path).answer() {
                Ok(_) => made.push(path),
                Err(error) => break error,
            }
            assert!(made.len() < 100, "64 inodes were enough for {} files", made.len());
        };
        let answers = [
            fs::create_dir(dir.join("dir")).answer(),
            rustix::fs::symlink("x", dir.join("link")),
            rustix::fs::mknodat(CWD, dir.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0),
            // Another name needs no inode.
            fs::hard_link(&made[0], dir.join("second")).answer(),
            fs::rename(dir.join("second"), dir.join("third")).answer(),
        ];
        assert_eq!(ended, Errno::NOSPC);
        (made.len(), ended, answers)
    });
    rig.finish();
}

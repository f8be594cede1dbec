//! Times: exact to the nanosecond where they are set, moved by the same operations as below where they are not.

use replfs_tests::below::{Answer, Answered, as_below, both, places, truncate};
use replfs_tests::caller::{NOBODY, User};
use replfs_tests::mapping::Mapping;
use replfs_tests::rig::{Commit, Rig};
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use rustix::fs::{AtFlags, CWD, FallocateFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

in_both_modes!(times_are_exact_to_the_nanosecond);

fn set(path: &Path, atime: (i64, i64), mtime: (i64, i64)) -> Answer {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time(atime), last_modification: time(mtime) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

const NOW: (i64, i64) = (0, UTIME_NOW);
const OMIT: (i64, i64) = (0, UTIME_OMIT);

// claim: A7
fn times_are_exact_to_the_nanosecond(commit: Commit) {
    as_below(commit, |dir| {
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/file"), "x").unwrap();
        symlink("dir/file", dir.join("link")).unwrap();
        let touch = |name: &str, atime, mtime| set(&dir.join(name), atime, mtime);
        let answers = [
            touch("dir/file", (1, 1), (1_234_567_890, 123_456_789)),
            touch("link", (5, 5), (-1, 999_999_999)),
            touch("dir/file", NOW, OMIT),
            touch("dir", OMIT, (4_000_000_000, 1)),
            touch("dir", NOW, OMIT),
        ];
        let mtime = |name: &str| {
            let stat = dir.join(name).symlink_metadata().unwrap();
            (stat.mtime(), stat.mtime_nsec())
        };
        (answers, mtime("dir/file"), mtime("link"), mtime("dir"))
    });
}

/// Access, modification and change time.
type Stamps = [(i64, i64); 3];

fn stamps(path: &Path) -> Option<Stamps> {
    let stat = path.symlink_metadata().ok()?;
    Some([(stat.atime(), stat.atime_nsec()), (stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec())])
}

/// Waits until the clock that file systems take their times from has gone on.
pub fn tick() {
    let clock = || {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` lives through the call.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
        (now.tv_sec, now.tv_nsec)
    };
    let start = clock();
    until("the clock to go on", PATIENCE, || (clock() != start).then_some(()));
}

/// A change of the things that [`prepared`] makes.
type Change = fn(&Path) -> Answer;

fn writing(path: &Path) -> Answer<File> {
    OpenOptions::new().read(true).write(true).open(path).answer()
}

const CHANGES: [(&str, Change); 32] = [
    ("nothing", |_| Ok(())),
    ("open", |d| File::open(d.join("file")).map(drop).answer()),
    ("read", |d| fs::read(d.join("file")).map(drop).answer()),
    ("read nothing", |d| writing(&d.join("file"))?.read_at(&mut [], 0).map(drop).answer()),
    ("read without atime", |d| {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOATIME).open(d.join("file")).answer()?;
        file.read_at(&mut [0], 0).map(drop).answer()
    }),
    ("read a mapping", |d| {
        let file = writing(&d.join("file"))?;
        let seen = Mapping::shared(&file, 4).answer()?.bytes()[0];
        if seen == b'c' { Ok(()) } else { Err(rustix::io::Errno::IO) }
    }),
    ("write", |d| writing(&d.join("file"))?.write_all_at(b"x", 0).answer()),
    ("write nothing", |d| writing(&d.join("file"))?.write_at(b"", 0).map(drop).answer()),
    ("write a mapping", |d| {
        let mut map = Mapping::shared(&writing(&d.join("file"))?, 4).answer()?;
        map.bytes()[0] = b'm';
        map.sync().answer()
    }),
    ("truncate", |d| truncate(&d.join("file"), 2)),
    ("truncate to the same", |d| truncate(&d.join("file"), 7)),
    ("ftruncate to the same", |d| writing(&d.join("file"))?.set_len(7).answer()),
    ("empty", |d| File::create(d.join("file")).map(drop).answer()),
    ("empty what is empty", |d| File::create(d.join("none")).map(drop).answer()),
    ("fsync", |d| writing(&d.join("file"))?.sync_all().answer()),
    ("fallocate", |d| rustix::fs::fallocate(writing(&d.join("file"))?, FallocateFlags::empty(), 0, 9000)),
    ("fallocate what is there", |d| rustix::fs::fallocate(writing(&d.join("file"))?, FallocateFlags::empty(), 0, 4)),
    ("reserve", |d| rustix::fs::fallocate(writing(&d.join("file"))?, FallocateFlags::KEEP_SIZE, 0, 90_000)),
    ("chmod", |d| fs::set_permissions(d.join("file"), Permissions::from_mode(0o600)).answer()),
    ("chmod to the same", |d| fs::set_permissions(d.join("file"), Permissions::from_mode(0o644)).answer()),
    ("chown", |d| chown(d.join("file"), Some(3), Some(4)).answer()),
    ("setxattr", |d| rustix::fs::setxattr(d.join("file"), "user.x", b"x", XattrFlags::empty())),
    ("removexattr", |d| rustix::fs::removexattr(d.join("file"), "user.there")),
    ("set an ACL", |d| {
        let acl = tree::acl_value(65534, 6);
        rustix::fs::setxattr(d.join("file"), "system.posix_acl_access", &acl, XattrFlags::empty())
    }),
    ("link", |d| fs::hard_link(d.join("file"), d.join("sub/second")).answer()),
    ("rename", |d| fs::rename(d.join("none"), d.join("sub/none")).answer()),
    ("rename over", |d| fs::rename(d.join("none"), d.join("two")).answer()),
    ("exchange", |d| rustix::fs::renameat_with(CWD, d.join("file"), CWD, d.join("sub"), RenameFlags::EXCHANGE)),
    ("unlink one of two", |d| fs::remove_file(d.join("two")).answer()),
    ("make and remove", |d| {
        fs::create_dir(d.join("sub/new")).and_then(|()| fs::remove_dir(d.join("sub/new"))).answer()
    }),
    ("readdir", |d| fs::read_dir(d.join("sub")).map(|entries| assert!(entries.count() == 1)).answer()),
    ("readlink", |d| fs::read_link(d.join("link")).map(drop).answer()),
];

/// What a change is made to; all access times are before the times of modification, so that reading would move them.
fn prepared(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/inside"), "x").unwrap();
    fs::write(dir.join("file"), "content").unwrap();
    fs::write(dir.join("none"), "").unwrap();
    fs::write(dir.join("one"), "1").unwrap();
    fs::hard_link(dir.join("one"), dir.join("two")).unwrap();
    symlink("file", dir.join("link")).unwrap();
    rustix::fs::setxattr(dir.join("file"), "user.there", b"x", XattrFlags::empty()).unwrap();
    for name in ["sub", "file", "none", "one", "link", "."] {
        set(&dir.join(name), (1000, 1), (2000, 2)).unwrap();
    }
}

const LOOKED_AT: [&str; 7] = ["file", "none", "one", "link", "sub", "sub/none", "."];

// claim: A69, A70
#[test]
fn operations_move_the_same_times_as_below() {
    moves_the_same_times(&CHANGES);
}

// claim: A3, A69
#[test]
fn a_copied_range_moves_the_times_of_both_files() {
    let copy: Change = |d| {
        let (from, to) = (writing(&d.join("file"))?, writing(&d.join("none"))?);
        rustix::fs::copy_file_range(from, Some(&mut 0), to, Some(&mut 0), 7).map(drop)
    };
    moves_the_same_times(&[("copy a range", copy)]);
}

fn moves_the_same_times(changes: &[(&str, Change)]) {
    let rig = Rig::start(Commit::Sync);
    let (native, inside) = places(&rig, "case");
    both(&native, &inside, |dir| {
        let prepare = |(what, _): &(&str, Change)| prepared(&dir.join(what));
        changes.iter().for_each(prepare);
        let before: Vec<_> =
            changes.iter().map(|(what, _)| LOOKED_AT.map(|n| stamps(&dir.join(what).join(n)))).collect();
        tick();
        tick();
        let mut moved = Vec::new();
        for ((what, change), before) in changes.iter().zip(before) {
            let place = dir.join(what);
            let answer = change(&place);
            for (name, before) in LOOKED_AT.iter().zip(before) {
                let Some((before, now)) = before.zip(stamps(&place.join(name))) else { continue };
                let which = ["atime", "mtime", "ctime"].iter().zip(0..).filter(|(_, n)| before[*n] != now[*n]);
                moved.push((format!("{what}: of {name}"), which.map(|(time, _)| *time).collect::<Vec<_>>()));
            }
            moved.push((format!("{what}: {answer:?}"), vec![]));
        }
        moved
    });
    // What the mount shows is what SRC has.
    for (what, _) in changes {
        for name in LOOKED_AT {
            let through = stamps(&inside.join(what).join(name));
            assert_eq!(through, stamps(&rig.src().join("case").join(what).join(name)), "{name} after {what}");
        }
    }
    rig.finish();
}

// claim: A71
#[test]
fn times_are_set_by_whom_they_may_be_set() {
    const OWNER: User = User::new(1001, 1001);
    as_below(Commit::Sync, |dir| {
        let mut answers = Vec::new();
        for mode in [0o600, 0o666] {
            for user in [OWNER, NOBODY] {
                let file = dir.join(format!("{mode:o} {user:?}"));
                fs::write(&file, "x").unwrap();
                fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
                chown(&file, Some(1001), Some(1001)).unwrap();
                answers.push(user.does(|| {
                    let no_atime = OpenOptions::new().read(true).custom_flags(libc::O_NOATIME).open(&file);
                    [set(&file, NOW, NOW), set(&file, (1, 1), OMIT), set(&file, (1, 1), (2, 2)), set(&file, OMIT, NOW)]
                        .into_iter()
                        .chain([no_atime.map(drop).answer()])
                        .collect::<Vec<_>>()
                }));
            }
        }
        answers
    });
}

// claim: A8
#[test]
fn access_times_travel_when_they_are_set_and_not_when_a_file_is_read() {
    let rig = Rig::start(Commit::Sync);
    let file = rig.mnt().join("file");
    fs::write(&file, "content").unwrap();
    set(&file, (1000, 7), (2000, 8)).unwrap();
    rig.settle();
    let replica = rig.replica().join("file");
    assert_eq!(stamps(&replica).unwrap()[..2], [(1000, 7), (2000, 8)]);
    fs::read(&file).unwrap();
    assert_ne!(stamps(&file).unwrap()[0], (1000, 7), "it was read");
    fs::write(rig.mnt().join("later"), "x").unwrap();
    rig.settle();
    assert_eq!(stamps(&replica).unwrap()[0], (1000, 7));
    rig.finish();
}

// claim: A86
#[test]
fn what_the_kernel_answers_moves_no_access_time() {
    let rig = Rig::start(Commit::Sync);
    let path = rig.mnt().join("file");
    fs::write(&path, "content").unwrap();
    let file = writing(&path).unwrap();
    // From here on the page is in the kernel's cache.
    file.read_at(&mut [0], 0).unwrap();
    set(&path, (1000, 1), (2000, 2)).unwrap();
    file.read_at(&mut [0], 0).unwrap();
    file.read_at(&mut [0], 1000).unwrap();
    assert_eq!(stamps(&path).unwrap()[0], (1000, 1));
    drop(file);
    rig.finish();
}

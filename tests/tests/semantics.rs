//! The mount behaves as the file system below it does (F3): each case runs in an ordinary directory and in the mount, and
//! both must be the same; then the replica must be the same too.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::shell;
use replfs_tests::compare::{self, Class};
use replfs_tests::in_both_modes;
use replfs_tests::rig::{Commit, Rig};
use replfs_tests::tree;
use rustix::fs::{AtFlags, CWD, FallocateFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

in_both_modes!(
    rename_flags_do_what_they_say,
    fallocate_reserves_punches_and_zeroes,
    copy_file_range_copies,
    times_are_exact_to_the_nanosecond,
    modes_and_owners_are_exact,
    set_ids_are_cleared_by_others_writing,
    setgid_directories_and_default_acls_are_inherited,
    xattrs_are_set_replaced_and_removed,
    errors_are_those_of_the_file_system_below,
    truncation_and_sparse_writes_keep_holes,
    files_of_odd_open_modes_are_written,
);

const NOBODY: u32 = 65534;

/// Runs `case` in an ordinary directory and in the mount; its answers and what it leaves must be the same, and the replica.
fn as_below<T: PartialEq + Debug>(commit: Commit, case: impl Fn(&Path) -> T) {
    let rig = Rig::start(commit);
    let native = rig.home().join("native");
    fs::create_dir(&native).unwrap();
    let inside = rig.mnt().join("case");
    fs::create_dir(&inside).unwrap();
    assert_eq!(case(&native), case(&inside), "answers in an ordinary directory (left) and in the mount (right)");
    let report = compare::trees(&native, &rig.src().join("case")).unwrap();
    let differences: Vec<_> = report.differences.iter().filter(|d| d.class != Class::Mtime).collect();
    assert!(differences.is_empty(), "an ordinary directory (first) against the mount (second): {differences:#?}");
    rig.finish();
}

fn rename_flags_do_what_they_say(commit: Commit) {
    as_below(commit, |dir| {
        let rename =
            |from: &str, to: &str, flags| rustix::fs::renameat_with(CWD, dir.join(from), CWD, dir.join(to), flags);
        fs::write(dir.join("one"), "1").unwrap();
        fs::write(dir.join("two"), "22").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/inside"), "333").unwrap();
        [
            rename("one", "two", RenameFlags::NOREPLACE),
            rename("one", "three", RenameFlags::NOREPLACE),
            rename("three", "two", RenameFlags::EXCHANGE),
            rename("two", "dir", RenameFlags::EXCHANGE),
            rename("two", "nothing", RenameFlags::EXCHANGE),
            rename("three", "two/inside", RenameFlags::EXCHANGE),
            rename("two", "two/below", RenameFlags::empty()),
            rename("two/inside", "three", RenameFlags::empty()),
            rename("dir", "two", RenameFlags::empty()),
        ]
    });
}

fn fallocate_reserves_punches_and_zeroes(commit: Commit) {
    as_below(commit, |dir| {
        let file = |name: &str| {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(dir.join(name)).unwrap();
            file.write_all_at(&vec![5; 200_000], 0).unwrap();
            file
        };
        let allocate = |name: &str, mode, offset, len| rustix::fs::fallocate(file(name), mode, offset, len);
        let keep = FallocateFlags::KEEP_SIZE;
        [
            allocate("grown", FallocateFlags::empty(), 100_000, 1 << 20),
            allocate("reserved", keep, 100_000, 1 << 20),
            allocate("punched", FallocateFlags::PUNCH_HOLE | keep, 10_000, 100_000),
            allocate("punched at the end", FallocateFlags::PUNCH_HOLE | keep, 190_000, 100_000),
            allocate("zeroed", FallocateFlags::ZERO_RANGE, 10_000, 100_000),
            allocate("zeroed beyond", FallocateFlags::ZERO_RANGE, 190_000, 100_000),
            allocate("zeroed, size kept", FallocateFlags::ZERO_RANGE | keep, 190_000, 100_000),
            allocate("nothing", FallocateFlags::empty(), 0, 0),
        ]
    });
}

fn copy_file_range_copies(commit: Commit) {
    as_below(commit, |dir| {
        let bytes = replfs_tests::seed::Random::new(1).bytes(3_000_000);
        fs::write(dir.join("from"), &bytes).unwrap();
        let from = File::open(dir.join("from")).unwrap();
        let to = File::options().read(true).write(true).create_new(true).open(dir.join("to")).unwrap();
        let copy = |at: u64, onto: u64, len: usize| {
            let (mut input, mut output, mut left) = (at, onto, len);
            while left > 0 {
                match rustix::fs::copy_file_range(&from, Some(&mut input), &to, Some(&mut output), left) {
                    Ok(0) => break,
                    Ok(n) => left -= n,
                    Err(error) => return Err(error),
                }
            }
            Ok(len - left)
        };
        let copied =
            [copy(0, 0, 3_000_000), copy(1000, 5_000_000, 100_000), copy(2_999_000, 10, 5000), copy(4_000_000, 0, 10)];
        let within = rustix::fs::copy_file_range(&to, Some(&mut 0), &to, Some(&mut 6_000_000), 10_000);
        shell(dir, "cp from whole; cat from from > twice");
        (copied, within)
    });
}

fn times_are_exact_to_the_nanosecond(commit: Commit) {
    as_below(commit, |dir| {
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/file"), "x").unwrap();
        std::os::unix::fs::symlink("dir/file", dir.join("link")).unwrap();
        let touch = |name: &str, atime: (i64, i64), mtime: (i64, i64)| {
            let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
            let times = Timestamps { last_access: time(atime), last_modification: time(mtime) };
            rustix::fs::utimensat(CWD, dir.join(name), &times, AtFlags::SYMLINK_NOFOLLOW)
        };
        let now = (0, UTIME_NOW);
        let omit = (0, UTIME_OMIT);
        let answers = [
            touch("dir/file", (1, 1), (1_234_567_890, 123_456_789)),
            touch("link", (5, 5), (-1, 999_999_999)),
            touch("dir/file", now, omit),
            touch("dir", omit, (4_000_000_000, 1)),
            touch("dir", now, omit),
        ];
        let mtime = |name: &str| {
            let stat = dir.join(name).symlink_metadata().unwrap();
            (stat.mtime(), stat.mtime_nsec())
        };
        (answers, mtime("dir/file"), mtime("link"), mtime("dir"))
    });
}

fn modes_and_owners_are_exact(commit: Commit) {
    as_below(commit, |dir| {
        for mode in [0o0, 0o1777, 0o2755, 0o4711, 0o6755, 0o7777] {
            let name = format!("{mode:o}");
            fs::write(dir.join(&name), &name).unwrap();
            chown(dir.join(&name), Some(mode), Some(mode + 1)).unwrap();
            fs::set_permissions(dir.join(&name), fs::Permissions::from_mode(mode)).unwrap();
        }
        // chown clears set-ids; of a directory it does not.
        chown(dir.join("6755"), Some(7), None).unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::set_permissions(dir.join("dir"), fs::Permissions::from_mode(0o3777)).unwrap();
        chown(dir.join("dir"), None, Some(99)).unwrap();
        shell(dir, "umask 027; touch masked; mkdir masked-dir; umask 0; touch open; mkfifo pipe; mknod null c 1 3");
        shell(dir, "cp --preserve=mode 4711 copied; install -m 6711 -o 12 -g 13 4711 installed");
    });
}

/// A shell as an ordinary user.
fn as_nobody(dir: &Path, script: &str) -> bool {
    Command::new("bash").args(["-c", script]).uid(NOBODY).gid(NOBODY).current_dir(dir).status().unwrap().success()
}

fn set_ids_are_cleared_by_others_writing(commit: Commit) {
    as_below(commit, |dir| {
        let file = |name: &str, mode| {
            fs::write(dir.join(name), "x").unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        for name in ["written", "appended", "truncated", "emptied", "untouched", "allocated"] {
            file(name, 0o6777);
        }
        file("by root", 0o6777);
        file("not executable by the group", 0o2666);
        fs::write(dir.join("by root"), "root may").unwrap();
        // The kernel keeps no promise about when a writer's clearing shows, only that it does after the write.
        let answers = [
            as_nobody(dir, "printf y | dd of=written conv=notrunc status=none"),
            as_nobody(dir, "printf y >> appended"),
            as_nobody(dir, "truncate -s 0 truncated"),
            as_nobody(dir, ": > emptied"),
            as_nobody(dir, "fallocate -l 10000 allocated"),
            as_nobody(dir, "printf y >> 'not executable by the group'"),
            as_nobody(dir, "chmod 777 untouched 2>/dev/null"),
        ];
        let modes: Vec<u32> = ["written", "appended", "truncated", "emptied", "allocated", "untouched", "by root"]
            .iter()
            .map(|name| dir.join(name).metadata().unwrap().mode() & 0o7777)
            .collect();
        (answers, modes)
    });
}

fn setgid_directories_and_default_acls_are_inherited(commit: Commit) {
    as_below(commit, |dir| {
        let open = |name: &str, mode: u32, gid: u32| {
            fs::create_dir(dir.join(name)).unwrap();
            chown(dir.join(name), None, Some(gid)).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        open("setgid", 0o2777, 50);
        open("sticky", 0o1777, 0);
        open("acl", 0o777, 0);
        tree::acl(&dir.join("acl"), "system.posix_acl_default", NOBODY, 7);
        let make = "umask 077; touch file; mkdir sub; touch sub/file; mknod pipe p; ln -s nowhere link; touch set; chmod 2755 set";
        let answers = ["setgid", "sticky", "acl"].map(|name| {
            shell(&dir.join(name), "umask 022; touch by-root; mkdir by-root-dir");
            as_nobody(&dir.join(name), make)
        });
        let refused = as_nobody(&dir.join("sticky"), "rm -f by-root 2>/dev/null");
        shell(&dir.join("acl"), "chmod 640 file; touch later; cp -a sub copied");
        (answers, refused)
    });
}

fn xattrs_are_set_replaced_and_removed(commit: Commit) {
    as_below(commit, |dir| {
        fs::write(dir.join("file"), "x").unwrap();
        let set = |name: &str, value: &[u8], flags| rustix::fs::lsetxattr(dir.join("file"), name, value, flags);
        let answers = [
            set("user.one", b"1", XattrFlags::CREATE),
            set("user.one", b"2", XattrFlags::CREATE),
            set("user.two", b"2", XattrFlags::REPLACE),
            set("user.one", b"\0\xff", XattrFlags::REPLACE),
            set("user.empty", b"", XattrFlags::empty()),
            set("user.large", &[b'l'; 3000], XattrFlags::empty()),
            set("trusted.t", b"t", XattrFlags::empty()),
            set("user.gone", b"g", XattrFlags::empty()),
            set("nonsense", b"g", XattrFlags::empty()),
            rustix::fs::lremovexattr(dir.join("file"), "user.gone"),
            rustix::fs::lremovexattr(dir.join("file"), "user.never"),
            rustix::fs::lsetxattr(dir, "user.of the directory", b"d", XattrFlags::empty()),
        ];
        let mut value = [0; 100];
        let len = rustix::fs::lgetxattr(dir.join("file"), "user.one", &mut value).unwrap();
        (answers, value[..len].to_vec())
    });
}

fn errors_are_those_of_the_file_system_below(commit: Commit) {
    as_below(commit, |dir| {
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/file"), "x").unwrap();
        fs::create_dir(dir.join("closed")).unwrap();
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        let errno = |result: std::io::Result<()>| result.err().and_then(|e| Errno::from_io_error(&e));
        let long = "n".repeat(256);
        let answers = [
            errno(fs::create_dir(dir.join("dir"))),
            errno(fs::remove_dir(dir.join("dir"))),
            errno(fs::remove_file(dir.join("dir"))),
            errno(fs::remove_dir(dir.join("dir/file"))),
            errno(fs::remove_file(dir.join("missing"))),
            errno(fs::hard_link(dir.join("dir"), dir.join("second"))),
            errno(fs::hard_link(dir.join("missing"), dir.join("second"))),
            errno(fs::write(dir.join(&long), "x")),
            errno(fs::write(dir.join("dir/file/below"), "x")),
            errno(File::create_new(dir.join("dir/file")).map(drop)),
            errno(OpenOptions::new().write(true).open(dir.join("dir")).map(drop)),
            errno(OpenOptions::new().write(true).open(dir.join("dir/file")).and_then(|f| f.set_len(u64::MAX >> 1))),
        ];
        let denied = [
            as_nobody(dir, "touch closed/x 2>/dev/null"),
            as_nobody(dir, "touch here 2>/dev/null"),
            as_nobody(dir, "chmod 777 dir/file 2>/dev/null"),
            as_nobody(dir, "chown 1 dir/file 2>/dev/null"),
            as_nobody(dir, "echo x 2>/dev/null > dir/file"),
        ];
        (answers, denied)
    });
}

fn truncation_and_sparse_writes_keep_holes(commit: Commit) {
    as_below(commit, |dir| {
        tree::holes(&dir.join("holes"));
        let file = OpenOptions::new().write(true).open(dir.join("holes/middle")).unwrap();
        file.set_len(1_050_000).unwrap();
        file.set_len(3 << 20).unwrap();
        file.write_all_at(b"end", 9 << 20).unwrap();
        File::create(dir.join("grown")).unwrap().set_len(12_345_678).unwrap();
        let shrunk = File::create(dir.join("shrunk")).unwrap();
        shrunk.write_all_at(&[1; 10_000], 0).unwrap();
        shrunk.set_len(5000).unwrap();
        shrunk.set_len(10_000).unwrap();
        fs::read(dir.join("shrunk")).unwrap()
    });
}

fn files_of_odd_open_modes_are_written(commit: Commit) {
    as_below(commit, |dir| {
        let open = |name: &str, flags: i32| {
            OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(dir.join(name))
        };
        let append = OpenOptions::new().append(true).create(true).open(dir.join("append")).unwrap();
        append.write_all_at(b"one ", 0).unwrap();
        append.write_all_at(b"two", 0).unwrap();
        for (name, flags) in [("sync", libc::O_SYNC), ("dsync", libc::O_DSYNC), ("noatime", libc::O_NOATIME)] {
            let file = open(name, flags).unwrap();
            file.write_all_at(b"written", 5).unwrap();
            file.sync_data().unwrap();
        }
        let direct = open("direct", libc::O_DIRECT).unwrap();
        let buffer = vec![7; 3 * 4096];
        let start = buffer.as_ptr().align_offset(4096);
        direct.write_all_at(&buffer[start..start + 4096], 8192).unwrap();
        // Gathered writes, and a file that is larger than one request to a FUSE file system may be.
        let large = replfs_tests::seed::Random::new(2).bytes(5_000_001);
        fs::write(dir.join("large"), &large).unwrap();
        fs::read(dir.join("large")).unwrap() == large
    });
}

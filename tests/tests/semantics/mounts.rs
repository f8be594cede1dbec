//! Options of the mount, and the mount of an ordinary user: what they forbid is forbidden as on any other mount.

use replfs_tests::below::{Answer, Answered, truncate};
use replfs_tests::caller::{NOBODY, ROOT, User};
use replfs_tests::command::{copy_program, tool};
use replfs_tests::rig::{Commit, Rig, Setup, binary, watchdog};
use replfs_tests::tree;
use replfs_tests::user::with_fuse_for_everybody;
use replfs_tests::wait::{PATIENCE, until};
use rustix::fs::{Access, CWD, XattrFlags};
use rustix::io::Errno;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Prepares two directories alike, mounts one on itself and the other through replfs with the same options, and compares
/// what `case` answers in both.
fn under<T: PartialEq + Debug>(options: &str, prepare: impl Fn(&Path), case: impl Fn(&Path) -> T) -> T {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default().option(&["-o", options]));
    let native = rig.home().join("native");
    fs::create_dir(&native).unwrap();
    prepare(&native);
    prepare(&rig.src());
    tool(rig.home(), "mount", ["--bind", "native", "native"]);
    rig.unmounts(&native);
    tool(rig.home(), "mount", ["-o", &format!("remount,bind,{options}"), "native"]);
    rig.mount();
    rig.settle();
    let (below, through) = (case(&native), case(&rig.mnt()));
    assert_eq!(below, through, "a mount of an ordinary directory (left) and replfs (right), both with {options}");
    rig.finish();
    through
}

// claim: A28
#[test]
fn nothing_is_changed_through_a_read_only_mount() {
    let prepare = |dir: &Path| {
        fs::write(dir.join("file"), "content").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        tree::device(&dir.join("null"), 1, 3);
    };
    let answers = under("ro", prepare, |dir| -> Vec<Answer> {
        let file = dir.join("file");
        let answers = vec![
            File::create_new(dir.join("new")).map(drop).answer(),
            File::create(&file).map(drop).answer(),
            OpenOptions::new().append(true).open(&file).map(drop).answer(),
            truncate(&file, 1),
            fs::set_permissions(&file, Permissions::from_mode(0o600)).answer(),
            chown(&file, Some(1), None).answer(),
            fs::remove_file(&file).answer(),
            fs::rename(&file, dir.join("other")).answer(),
            fs::hard_link(&file, dir.join("other")).answer(),
            fs::create_dir(dir.join("more")).answer(),
            fs::remove_dir(dir.join("dir")).answer(),
            rustix::fs::symlink("x", dir.join("link")),
            rustix::fs::setxattr(&file, "user.x", b"x", XattrFlags::empty()),
            rustix::fs::removexattr(&file, "user.x"),
            rustix::fs::access(&file, Access::WRITE_OK),
            rustix::fs::access(&file, Access::READ_OK),
            File::open(&file).and_then(|f| f.set_modified(std::time::SystemTime::UNIX_EPOCH)).answer(),
            // What is there is answered before whether it could be changed.
            File::create_new(&file).map(drop).answer(),
            fs::create_dir(dir.join("dir")).answer(),
            // A device is no part of the file system.
            fs::write(dir.join("null"), "x").answer(),
            File::open(&file).map(drop).answer(),
        ];
        assert_eq!(fs::read(&file).unwrap(), b"content");
        answers
    });
    assert_eq!(answers[0], Err(Errno::ROFS));
}

// claim: A28
#[test]
fn devices_set_ids_and_programs_are_off_where_the_mount_says_so() {
    let prepare = |dir: &Path| {
        copy_program(Path::new("/usr/bin/id"), &dir.join("id"));
        chown(dir.join("id"), Some(1001), Some(1002)).unwrap();
        fs::set_permissions(dir.join("id"), Permissions::from_mode(0o6755)).unwrap();
        tree::device(&dir.join("null"), 1, 3);
    };
    let case = |dir: &Path| {
        let ran = Command::new(dir.join("id")).uid(65534).gid(65534).output();
        let ran = ran.map(|output| String::from_utf8(output.stdout).unwrap()).answer();
        (ran, fs::write(dir.join("null"), "x").answer(), dir.join("id").metadata().unwrap().mode())
    };
    let (ran, null, _) = under("nosuid,nodev", prepare, case);
    assert!(ran.is_ok_and(|text| !text.contains("euid")) && null == Err(Errno::ACCESS));
    assert_eq!(under("noexec", prepare, case).0, Err(Errno::ACCESS));
}

// claim: A29
#[test]
fn noatime_leaves_access_times_alone() {
    let prepare = |dir: &Path| {
        fs::create_dir(dir.join("dir")).unwrap();
        for name in ["file", "dir/inside"] {
            fs::write(dir.join(name), "content").unwrap();
        }
        std::os::unix::fs::symlink("file", dir.join("link")).unwrap();
        for name in ["file", "dir", "link"] {
            let time = |tv_sec| rustix::fs::Timespec { tv_sec, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: time(1000), last_modification: time(2000) };
            rustix::fs::utimensat(CWD, dir.join(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    };
    let atimes = under("noatime", prepare, |dir| {
        fs::read(dir.join("file")).unwrap();
        assert_eq!(fs::read_dir(dir.join("dir")).unwrap().count(), 1);
        fs::read_link(dir.join("link")).unwrap();
        ["file", "dir", "link"].map(|name| dir.join(name).symlink_metadata().unwrap().atime())
    });
    assert_eq!(atimes, [1000; 3]);
}

// claim: A84
#[test]
fn an_ordinary_users_mount_is_for_that_user_without_devices_and_set_ids() {
    // fusermount3 wants an entry in the password file, which nobody has.
    let owner = NOBODY;
    let mut rig = Rig::bare(Commit::Sync, Setup { local: true, ..Setup::default() });
    let (src, mnt) = (rig.src(), rig.mnt());
    let binary = rig.home().join("replfs");
    copy_program(binary::path(), &binary);
    let sub = src.join("sub");
    fs::create_dir(&sub).unwrap();
    chown(&sub, Some(65534), Some(65534)).unwrap();
    rig.mount_other("tmpfs", "size=1m", &sub);
    for place in [rig.root(), rig.source_state(), src, mnt.clone()] {
        chown(place, Some(65534), Some(65534)).unwrap();
    }
    with_fuse_for_everybody(|| {
        let mut command = Command::new(&binary);
        command.arg("mount").args(rig.mount_words()).uid(65534).gid(65534).env("HOME", rig.home());
        rig.mounted(&mut command).ok();
        let answers = owner.does(|| {
            [
                fs::write(mnt.join("file"), "of the owner").answer(),
                fs::metadata(mnt.join("sub/inside")).map(drop).answer(),
                fs::read(mnt.join("file")).map(|text| assert_eq!(text, b"of the owner")).answer(),
            ]
        });
        assert_eq!(answers, [Ok(()), Err(Errno::XDEV), Ok(())]);
        let table = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let line = table.lines().find(|line| line.split(' ').nth(1) == mnt.to_str()).unwrap();
        assert!(line.contains("nosuid") && line.contains("nodev") && !line.contains("allow_other"), "{line}");
        for other in [User::new(1002, 1002), ROOT] {
            assert_eq!(other.does(|| fs::metadata(mnt.join("file")).map(drop).answer()), Err(Errno::ACCESS));
        }
        until("the file to be on the target", PATIENCE, || {
            fs::read(rig.replica().join("file")).is_ok_and(|text| text == b"of the owner").then_some(())
        });
    });
    let pid = rig.source_pid();
    watchdog::kill(pid, rustix::process::Signal::TERM);
    rig.wait_for_end(pid);
}

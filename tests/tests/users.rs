//! Who uses the mount: as root everybody, with his own rights; as an ordinary user himself alone.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{run, shell, tool};
use replfs_tests::compare::{self, Class};
use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::seed;
use replfs_tests::user::{USER, as_user, his_own, with_fuse_for_everybody};
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

in_both_modes!(
    as_root_everybody_has_his_own_rights,
    as_root_users_at_the_same_time_own_what_they_make,
    an_ordinary_user_runs_his_programs,
    an_ordinary_users_mount_races_and_survives_kills,
);

/// Like the next one a user without an entry in the password file.
const FRIEND: u32 = 4243;
const STRANGER: u32 = 4244;
/// A group that the first two share.
const GROUP: u32 = 5000;

// ---- as root, for everybody ----

/// Whether a script succeeds as a user; what it prints to standard output.
fn script(user: u32, groups: &[u32], dir: &Path, script: &str) -> (bool, String) {
    as_user(user, groups, || {
        let line = format!("umask 022; {script}");
        let outcome = run(Command::new("bash").args(["-c", &line]).current_dir(dir));
        (outcome.code == 0, outcome.stdout)
    })
}

// claim: A57, A58
fn as_root_everybody_has_his_own_rights(commit: Commit) {
    let rig = Rig::start(commit);
    let native = rig.home().join("native");
    let inside = rig.mnt().join("case");
    let answers = [&native, &inside].map(|dir| {
        fs::create_dir(dir).unwrap();
        rights(dir)
    });
    assert_eq!(answers[0], answers[1], "answers in an ordinary directory (left) and in the mount (right)");
    assert!(answers[0].contains(&(true, format!("{FRIEND}\n"))), "a setuid program ran as its owner: {answers:#?}");
    let report = compare::trees(&native, &rig.src().join("case")).unwrap();
    let differences: Vec<_> = report.differences.iter().filter(|d| d.class != Class::Mtime).collect();
    assert!(differences.is_empty(), "an ordinary directory (first) against the mount (second): {differences:#?}");
    rig.finish();
}

/// What three users are allowed in a directory.
fn rights(dir: &Path) -> Vec<(bool, String)> {
    shell(dir, &format!("chmod 755 .; mkdir private shared sticky; chown {USER}:{USER} private; chmod 700 private"));
    shell(dir, &format!("chown {USER}:{GROUP} shared; chmod 2770 shared; chmod 1777 sticky; mknod -m 666 null c 1 3"));
    shell(dir, &format!("cp $(command -v id) id; chown {FRIEND}:{FRIEND} id; chmod 4755 id"));
    let user = |line: &str| script(USER, &[GROUP], dir, line);
    let friend = |line: &str| script(FRIEND, &[GROUP], dir, line);
    let stranger = |line: &str| script(STRANGER, &[], dir, line);
    vec![
        user("echo mine > private/file && cat private/file && mkdir -p private/a/b"),
        friend("ls private"),
        stranger("cat private/file"),
        user("echo ours > shared/file && chmod 660 shared/file && stat -c '%u %g %a' shared/file"),
        friend("echo more >> shared/file && cat shared/file && mkdir shared/dir && stat -c '%u %g %a' shared/dir"),
        stranger("cat shared/file"),
        user("echo x > sticky/mine && ln -s mine sticky/link && mkfifo sticky/pipe && stat -c '%u %g' sticky/*"),
        friend("rm -f sticky/mine || mv sticky/mine sticky/yours"),
        stranger("echo y >> sticky/mine"),
        friend("chmod 777 sticky/mine"),
        friend(&format!("chown {FRIEND} sticky/mine")),
        user(&format!("chown {FRIEND} sticky/mine")),
        user(&format!("chgrp {GROUP} sticky/mine && stat -c %g sticky/mine")),
        user("setfacl -m u:4244:rw sticky/mine && getfacl -cn sticky/mine"),
        stranger("echo by leave >> sticky/mine && cat sticky/mine"),
        friend("echo without leave >> sticky/mine"),
        stranger("setfattr -n user.x -v 1 sticky/mine && getfattr --only-values -n user.x sticky/mine"),
        user("setfattr -n trusted.x -v 1 sticky/mine"),
        stranger("echo gone > null && cat null"),
        stranger("mknod sticky/device c 1 3"),
        stranger("./id -u"),
        stranger("touch here"),
        stranger("test -w sticky && test ! -w . && test ! -r private && test -x private/a"),
        friend("cp -a shared/file sticky/copied && stat -c '%u %g %a' sticky/copied"),
    ]
}

fn as_root_users_at_the_same_time_own_what_they_make(commit: Commit) {
    let rig = Rig::start(commit);
    let dir = rig.mnt().join("all");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).unwrap();
    let make = |user: u32| {
        for n in 0..150 {
            let name = |kind: &str| dir.join(format!("{user}-{kind}{n}"));
            fs::write(name("file"), "x").unwrap();
            fs::create_dir(name("dir")).unwrap();
            std::os::unix::fs::symlink("nowhere", name("link")).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for user in [USER, FRIEND, STRANGER, 0] {
            scope.spawn(move || if user == 0 { make(0) } else { as_user(user, &[], || make(user)) });
        }
    });
    for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let meta = entry.metadata().unwrap();
        let owner = name.split('-').next().unwrap().parse().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (owner, owner), "{name}");
    }
    rig.finish();
}

// ---- as an ordinary user, for himself ----

#[test]
fn an_ordinary_users_mount_is_his_alone() {
    his_own(
        Commit::Sync,
        |_| (),
        |rig| {
            let mnt = rig.mnt();
            let line = mount_line(&mnt).unwrap();
            for given in ["nosuid", "nodev", "default_permissions", &format!("user_id={USER}")] {
                assert!(line.contains(given), "{given} in {line}");
            }
            assert!(!line.contains("allow_other") && line.contains(" fuse.replfs "), "{line}");
            as_user(USER, &[], || fs::write(mnt.join("file"), "his").unwrap());
            let denied = |what: &str, error: io::Error| assert_eq!(errno(&error), Errno::ACCESS, "{what}: {error}");
            let look = || {
                denied("list", fs::read_dir(&mnt).unwrap_err());
                denied("open", File::open(mnt.join("file")).unwrap_err());
                denied("write", fs::write(mnt.join("new"), "x").unwrap_err());
            };
            look();
            as_user(FRIEND, &[USER], look);
            rig.finish();
        },
    );
}

#[test]
fn setuid_and_devices_have_no_effect_in_an_ordinary_users_mount() {
    his_own(
        Commit::Real,
        |_| (),
        |mut rig| {
            rig.unmount();
            // He could not make these himself, and no target of his can have them: it keeps what they are.
            shell(&rig.src(), "cp $(command -v id) id; chmod 4755 id; mknod -m 666 null c 1 3");
            rig.mount();
            let (mnt, src) = (rig.mnt(), rig.src());
            as_user(USER, &[], || {
                assert_eq!(tool(&src, "./id", ["-u"]), "0", "below it is setuid");
                assert_eq!(tool(&mnt, "./id", ["-u"]), USER.to_string());
                assert_eq!(errno(&File::open(mnt.join("null")).unwrap_err()), Errno::ACCESS);
                // What the target cannot take holds up nobody.
                fs::write(mnt.join("file"), "x").unwrap();
            });
            rig.assert_equal();
            let meta = |name: &str| fs::symlink_metadata(rig.replica().join(name)).unwrap();
            assert!(meta("null").is_file(), "a file stands for the device");
            assert_eq!((meta("id").uid(), meta("id").mode() & 0o7000), (USER, 0), "setuid of another owner's");
            as_user(USER, &[], || shell(&mnt, "rm -f id null"));
            rig.kill_source();
            rig.mount();
            rig.finish();
        },
    );
}

// claim: A95
#[test]
fn a_file_that_its_owner_may_not_read_is_named_and_mirrored_once_he_may() {
    let before = |src: &Path| {
        fs::create_dir(src.join("dir")).unwrap();
        fs::write(src.join("dir/secret"), "closed to its owner").unwrap();
        fs::set_permissions(src.join("dir/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    };
    his_own(Commit::Sync, before, |rig| {
        let said = |error: &Option<String>| error.as_ref().is_some_and(|text| text.contains("dir/secret"));
        rig.wait_status("the file to be named", |s| said(&s.target().last_error) && !s.target().coherent);
        let mnt = rig.mnt();
        as_user(USER, &[], || {
            fs::write(mnt.join("file"), "goes on").unwrap();
            fs::set_permissions(mnt.join("dir/secret"), fs::Permissions::from_mode(0o400)).unwrap();
        });
        rig.finish();
    });
}

// claim: A95
#[test]
fn what_is_mounted_below_an_ordinary_users_source_is_listed_and_not_entered() {
    with_fuse_for_everybody(|| {
        let mut rig = Rig::prepare(Commit::Sync, Setup::default().user(USER));
        let (src, mnt) = (rig.src(), rig.mnt());
        fs::create_dir(src.join("sub")).unwrap();
        rig.mount_other("tmpfs", "size=1m,mode=777", &src.join("sub"));
        rig.mount();
        as_user(USER, &[], || {
            let names: Vec<_> = fs::read_dir(&mnt).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["sub"]);
            assert_eq!(errno(&fs::read_dir(mnt.join("sub")).unwrap_err()), Errno::XDEV);
            assert_eq!(errno(&fs::write(mnt.join("sub/file"), "x").unwrap_err()), Errno::XDEV);
            fs::write(mnt.join("file"), "goes on").unwrap();
        });
        assert_eq!(rig.status().submounts, [src.join("sub").to_string_lossy()]);
        rig.unmount();
    });
}

/// The line of the mount table of this thread's namespace.
fn mount_line(at: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let place = format!(" {} ", at.display());
    table.lines().find(|line| line.contains(&place)).map(str::to_owned)
}

// claim: A96
#[test]
fn an_ordinary_user_unmounts_with_fusermount_and_replfs() {
    his_own(
        Commit::Sync,
        |_| (),
        |mut rig| {
            let mnt = rig.mnt();
            for round in 0..2 {
                as_user(USER, &[], || fs::write(mnt.join(format!("file{round}")), vec![round; 100_000]).unwrap());
                let pid = rig.source_pid();
                as_user(USER, &[], || tool(Path::new("/"), "fusermount3", ["-u".as_ref(), mnt.as_os_str()]));
                rig.wait_for_end(pid);
                assert_eq!(mount_line(&mnt), None);
                rig.assert_replica_equals(&rig.src());
                rig.mount();
            }
            // In use: refused, and everything goes on.
            let held = as_user(USER, &[], || File::open(mnt.join("file0")).unwrap());
            let outcome = rig.replfs("umount", &[&mnt.to_string_lossy()]);
            assert_eq!((outcome.code, outcome.stderr.contains("programs use it")), (32, true), "{outcome:?}");
            drop(held);
            rig.finish();
        },
    );
}

// claim: A96
fn an_ordinary_user_runs_his_programs(commit: Commit) {
    his_own(
        commit,
        |src| tree::sources(&src.join("before"), 300),
        |rig| {
            let mnt = rig.mnt();
            as_user(USER, &[], || {
                let named = "export HOME=$PWD GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t";
                shell(
                    &mnt,
                    &format!(
                    "{named}; cd before; git init -q -b main .; git add -A; git commit -qm one; git checkout -q -b side
                     mv package000 moved; rm -r package001; git add -A; git commit -qm two; git checkout -q main
                     git gc -q --prune=now; cd ..; git clone -q before clone; git -C clone fsck --full --strict"
                ),
                );
                shell(
                    &mnt,
                    "mkdir db; sqlite3 db/wal.db 'pragma journal_mode=wal; create table t(id integer primary key, x)'
                 for n in $(seq 30); do
                   sqlite3 db/wal.db \"insert into t(x) select randomblob(500) from generate_series(1, 50)\"
                 done
                 sqlite3 db/old.db 'create table t(x); insert into t values(1)'; mv db data; sqlite3 data/wal.db vacuum
                 test $(sqlite3 data/wal.db 'select count(*) from t') = 1500",
                );
                shell(&mnt, "tar -C clone -cf all.tar .; mkdir out; tar -C out -xpf all.tar; rm -rf clone/package002");
                shell(
                    &mnt,
                    "cp -a out copied; ln out/package000/*/*1.rs copied/ || true; chmod -R a-w copied; ls -laR > list",
                );
            });
            rig.finish();
        },
    );
}

// claim: A96
fn an_ordinary_users_mount_races_and_survives_kills(commit: Commit) {
    let seed = seed();
    let before = |src: &Path| {
        fs::create_dir(src.join("load")).unwrap();
        tree::names(&src.join("roam"));
    };
    his_own(commit, before, |mut rig| {
        let mnt = rig.mnt();
        for round in 0..3 {
            let load = as_user(USER, &[], || Load::start(&mnt.join("load"), 4, seed + round));
            load.wait_for(500);
            load.stop_clean();
            let roamers = as_user(USER, &[], || Roamers::start(&mnt.join("roam"), 4, seed + 100 + round));
            roamers.roam(400);
            if round == 1 {
                roamers.stop();
                rig.assert_equal();
                continue;
            }
            rig.kill_source();
            roamers.stop();
            // Some directories are closed to himself by now, and there his daemon cannot look either.
            as_user(USER, &[], || shell(&rig.src(), "chmod -R u+rwX roam"));
            let dead = as_user(USER, &[], || fs::read_dir(&mnt).map(drop)).unwrap_err();
            assert!(matches!(errno(&dead), Errno::NOTCONN | Errno::CONNABORTED), "{dead}");
            rig.mount();
            until("the mount to be one", PATIENCE, || mount_line(&mnt).map(drop));
            rig.assert_equal();
        }
        rig.finish();
    });
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

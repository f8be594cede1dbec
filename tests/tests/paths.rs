//! An ordinary user's daemon has no file handles and reaches nodes by their paths. So names are moved away here under open
//! files, and given to others: in his mount all comes out as in an ordinary directory, and so on the replica.
#![allow(clippy::unwrap_used)]

use replfs_tests::below::assert_left_the_same;
use replfs_tests::by_descriptor::{self, errno};
use replfs_tests::in_both_modes;
use replfs_tests::rig::Commit;
use replfs_tests::user::{USER, as_user, his_own};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, XattrFlags};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

in_both_modes!(
    files_stay_themselves_whatever_becomes_of_their_names,
    hard_links_that_nobody_looked_up_are_the_same_file,
    what_he_has_open_he_may_use_whatever_its_mode_becomes,
    what_he_has_open_he_may_use_in_a_closed_directory,
    deep_trees_move_under_open_files,
    paths_that_change_at_every_moment_lead_to_the_right_file,
);

/// Runs `case` as the ordinary user in an ordinary directory and in his mount, each as `before` made it, names unseen: its
/// answers and what it leaves are the same, and so is the replica.
fn as_below<T: PartialEq + Debug + Send>(
    commit: Commit,
    before: impl Fn(&Path) + Sync,
    case: impl Fn(&Path) -> T + Sync,
) {
    let make = |dir: &Path| {
        fs::create_dir(dir).unwrap();
        before(dir);
    };
    his_own(
        commit,
        |src| make(&src.join("case")),
        |rig| {
            let native = rig.home().join("native");
            fs::create_dir(&native).unwrap();
            chown(&native, Some(USER), Some(USER)).unwrap();
            let inside = rig.mnt().join("case");
            let (below, above) = as_user(USER, &[], || {
                make(&native.join("case"));
                (case(&native.join("case")), case(&inside))
            });
            assert_eq!(below, above, "answers in an ordinary directory (left) and in the mount (right)");
            assert_left_the_same(&native.join("case"), &rig.src().join("case"));
            rig.finish();
        },
    );
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// A file of this name with content of its own, which nobody opens.
fn decoy(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "decoy").unwrap();
}

fn files_stay_themselves_whatever_becomes_of_their_names(commit: Commit) {
    as_below(
        commit,
        |_| (),
        |dir| {
            let at = |name: &str| dir.join(name);
            let rename = |from: &str, to: &str| fs::rename(at(from), at(to)).unwrap();
            let mut said = Vec::new();
            let mut note = |file: &File, mark| said.extend(by_descriptor::file(file, mark));

            // Its directories move away, and others take their places.
            decoy(&at("a/b/c/f"));
            let file = open(&at("a/b/c/f"));
            rename("a/b", "x");
            note(&file, 1);
            decoy(&at("a/b/c/f"));
            note(&file, 2);
            rename("x/c", "a/c");
            decoy(&at("x/c/f"));
            note(&file, 3);
            rustix::fs::renameat_with(rustix::fs::CWD, at("a/c"), rustix::fs::CWD, at("a/b/c"), RenameFlags::EXCHANGE)
                .unwrap();
            note(&file, 4);

            // Its name goes to another file: moved away, replaced, exchanged, deleted.
            let file = open(&at("one"));
            rename("one", "two");
            decoy(&at("one"));
            note(&file, 5);
            rename("one", "two");
            note(&file, 6);
            decoy(&at("one"));
            note(&file, 7);
            drop(file);
            let file = open(&at("gone"));
            fs::remove_file(at("gone")).unwrap();
            note(&file, 8);
            decoy(&at("gone"));
            note(&file, 9);

            // Its directories are deleted with it, and come back.
            decoy(&at("d/e/f"));
            let file = open(&at("d/e/f"));
            let directory = File::open(at("d/e")).unwrap();
            fs::remove_dir_all(at("d")).unwrap();
            note(&file, 10);
            decoy(&at("d/e/f"));
            note(&file, 11);
            said.extend(by_descriptor::deleted_directory(&directory));

            // Hard links: one name goes, the other moves, a stranger takes its place, the last one goes.
            let file = open(&at("first"));
            fs::hard_link(at("first"), at("d/second")).unwrap();
            fs::remove_file(at("first")).unwrap();
            decoy(&at("first"));
            said.extend(by_descriptor::file(&file, 12));
            rename("d", "dd");
            decoy(&at("d/second"));
            said.extend(by_descriptor::file(&file, 13));
            fs::hard_link(at("dd/second"), at("third")).unwrap();
            fs::remove_dir_all(at("dd")).unwrap();
            said.extend(by_descriptor::file(&file, 14));
            rename("d/second", "third");
            said.extend(by_descriptor::file(&file, 15));
            said
        },
    );
}

fn hard_links_that_nobody_looked_up_are_the_same_file(commit: Commit) {
    let before = |dir: &Path| {
        for name in ["written", "deleted", "replaced", "moved"] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("known"), name).unwrap();
            fs::hard_link(dir.join(name).join("known"), dir.join(name).join("unknown")).unwrap();
        }
    };
    as_below(commit, before, |dir| {
        let at = |name: &str| dir.join(name);
        let mut said = Vec::new();
        let file = open(&at("written/known"));
        said.extend(by_descriptor::file(&file, 20));
        said.push(by_descriptor::digest(&fs::read(at("written/unknown")).unwrap()));
        // Its only known name goes, and the other one is found after that.
        let file = open(&at("deleted/known"));
        fs::remove_file(at("deleted/known")).unwrap();
        said.extend(by_descriptor::file(&file, 21));
        decoy(&at("deleted/known"));
        said.extend(by_descriptor::file(&file, 22));
        said.push(by_descriptor::digest(&fs::read(at("deleted/unknown")).unwrap()));
        said.extend(by_descriptor::file(&file, 23));
        drop(file);
        let file = open(&at("replaced/known"));
        decoy(&at("replaced/new"));
        fs::rename(at("replaced/new"), at("replaced/known")).unwrap();
        said.extend(by_descriptor::file(&file, 24));
        drop(file);
        said.extend(by_descriptor::file(&open(&at("replaced/unknown")), 25));
        let file = open(&at("moved/known"));
        fs::rename(at("moved"), at("away")).unwrap();
        fs::remove_file(at("away/known")).unwrap();
        fs::rename(at("away/unknown"), at("home")).unwrap();
        said.extend(by_descriptor::file(&file, 26));
        said
    });
}

fn what_he_has_open_he_may_use_whatever_its_mode_becomes(commit: Commit) {
    as_below(
        commit,
        |_| (),
        |dir| {
            let at = |name: &str| dir.join(name);
            let close = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
            let mut said = Vec::new();
            // The file itself is closed to him, its owner.
            let file = open(&at("file"));
            for mode in [0o444, 0o000] {
                close("file", mode);
                said.push(format!("{:?}", file.write_all_at(&[1; 100], 200_000).map_err(|e| errno(&e))));
                said.push(format!("{:?}", rustix::fs::ftruncate(&file, 300_000 - u64::from(mode))));
                said.push(format!("{:?}", rustix::fs::fsetxattr(&file, "user.x", b"x", XattrFlags::empty())));
                said.push(format!("{:?}", File::open(at("file")).map(drop).map_err(|e| errno(&e))));
            }
            said.extend(by_descriptor::file(&file, 30));
            // Written to after it was made read-only, as tar and git do.
            let made = OFlags::WRONLY | OFlags::CREATE;
            let file = File::from(rustix::fs::open(at("read-only"), made, Mode::from_raw_mode(0o400)).unwrap());
            said.push(format!("{:?}", file.write_all_at(b"read-only", 3).map_err(|e| errno(&e))));
            // Data alone needs no way to the file: its directory may be closed, on the target too.
            decoy(&at("closed/f"));
            let file = open(&at("closed/f"));
            close("closed", 0o000);
            said.push(format!("{:?}", file.write_all_at(&[2; 10_000], 70_000).map_err(|e| errno(&e))));
            said.push(format!("{:?}", file.set_len(75_000).map_err(|e| errno(&e))));
            close("closed", 0o700);
            close("closed", 0o500);
            said.push(format!("{:?}", file.write_all_at(&[3; 10_000], 0).map_err(|e| errno(&e))));
            said.push(format!("{:?}", file.sync_data().map_err(|e| errno(&e))));
            said
        },
    );
}

fn what_he_has_open_he_may_use_in_a_closed_directory(commit: Commit) {
    as_below(
        commit,
        |_| (),
        |dir| {
            let at = |name: &str| dir.join(name);
            let close = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
            let mut said = Vec::new();
            for (name, mode) in [("locked", 0o000), ("listed", 0o400), ("passed", 0o100), ("kept", 0o500)] {
                decoy(&at(name).join("f"));
                let file = open(&at(name).join("f"));
                close(name, mode);
                said.extend(by_descriptor::file(&file, 31));
                said.push(format!("{:?}", fs::read_dir(at(name)).map(Iterator::count).map_err(|e| errno(&e))));
                said.push(format!("{:?}", fs::metadata(at(name).join("f")).map(|m| m.len()).map_err(|e| errno(&e))));
                said.push(format!("{:?}", fs::write(at(name).join("g"), "x").map_err(|e| errno(&e))));
                close(name, 0o700);
            }
            said
        },
    );
}

fn deep_trees_move_under_open_files(commit: Commit) {
    as_below(
        commit,
        |_| (),
        |dir| {
            // 6000 bytes of path: longer than one system call takes.
            let name = "n".repeat(200);
            let mode = Mode::from_raw_mode(0o755);
            let mut at = File::open(dir).unwrap();
            let mut middle = at.try_clone().unwrap();
            for level in 0..30 {
                rustix::fs::mkdirat(&at, name.as_str(), mode).unwrap();
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                at = rustix::fs::openat(&at, name.as_str(), flags, mode).unwrap().into();
                if level == 15 {
                    middle = at.try_clone().unwrap();
                }
            }
            let file = File::from(rustix::fs::openat(&at, "f", OFlags::RDWR | OFlags::CREATE, mode).unwrap());
            let mut said = by_descriptor::file(&file, 40);
            fs::rename(dir.join(&name), dir.join("away")).unwrap();
            said.extend(by_descriptor::file(&file, 41));
            // Its directory out of the depth, where the comparer does not reach either.
            rustix::fs::renameat(&middle, name.as_str(), rustix::fs::CWD, dir.join("up")).unwrap();
            said.extend(by_descriptor::file(&file, 42));
            said
        },
    );
}

fn paths_that_change_at_every_moment_lead_to_the_right_file(commit: Commit) {
    const ROUNDS: u32 = 400;
    as_below(
        commit,
        |_| (),
        |dir| {
            let names = ["one", "two"];
            for name in names {
                decoy(&dir.join(name).join("sub/f"));
            }
            let files = names.map(|name| open(&dir.join(name).join("sub/f")));
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let [one, two] = names.map(|name| dir.join(name));
                    while !done.load(Ordering::SeqCst) {
                        rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
                        fs::rename(one.join("sub/f"), one.join("sub/g")).unwrap();
                        fs::rename(one.join("sub"), dir.join("aside")).unwrap();
                        fs::rename(dir.join("aside"), one.join("sub")).unwrap();
                        fs::rename(one.join("sub/g"), one.join("sub/f")).unwrap();
                    }
                    // Back where they were: whose file is whose is to be seen in the trees.
                    if fs::metadata(one.join("sub/f")).unwrap().ino() != files[0].metadata().unwrap().ino() {
                        rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
                    }
                });
                let workers = [0, 1].map(|which: u32| {
                    let file = &files[which as usize];
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            rustix::fs::fchmod(file, Mode::from_raw_mode(0o600 + which * 0o40 + round % 8)).unwrap();
                            rustix::fs::fsetxattr(file, "user.whose", &[u8::from(which == 1)], XattrFlags::empty())
                                .unwrap();
                            file.set_len(u64::from(round * 10 + which)).unwrap();
                            assert_eq!(file.metadata().unwrap().len(), u64::from(round * 10 + which));
                        }
                    })
                });
                let ended = workers.map(std::thread::ScopedJoinHandle::join);
                done.store(true, Ordering::SeqCst);
                for worker in ended {
                    worker.unwrap();
                }
            });
        },
    );
}

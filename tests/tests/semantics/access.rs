//! Who may do what: modes, groups, ACLs, sticky directories, ownership, programs that run as somebody else.

use replfs_tests::below::{Answer, Answered, as_below, truncate};
use replfs_tests::caller::{NOBODY, ROOT, User};
use replfs_tests::command::{copy_program, shell};
use replfs_tests::rig::Commit;
use replfs_tests::{in_both_modes, tree};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

in_both_modes!(modes_and_owners_are_exact);

/// An owner, one of the owner's group, and one who is in that group besides another.
const OWNER: User = User::new(1001, 1001);
const FELLOW: User = User::new(1002, 1001);
const MEMBER: User = User::new(1003, 1003).of(&[7, 1001]);

fn mode(bits: u32) -> Permissions {
    Permissions::from_mode(bits)
}

// claim: A6
fn modes_and_owners_are_exact(commit: Commit) {
    as_below(commit, |dir| {
        for bits in [0o0, 0o1777, 0o2755, 0o4711, 0o6755, 0o7777] {
            let name = format!("{bits:o}");
            fs::write(dir.join(&name), &name).unwrap();
            chown(dir.join(&name), Some(bits), Some(bits + 1)).unwrap();
            fs::set_permissions(dir.join(&name), mode(bits)).unwrap();
        }
        // chown clears set-ids; of a directory it does not.
        chown(dir.join("6755"), Some(7), None).unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::set_permissions(dir.join("dir"), mode(0o3777)).unwrap();
        chown(dir.join("dir"), None, Some(99)).unwrap();
        shell(dir, "umask 027; touch masked; mkdir masked-dir; umask 0; touch open; mkfifo pipe; mknod null c 1 3");
        shell(dir, "cp --preserve=mode 4711 copied; install -m 6711 -o 12 -g 13 4711 installed");
    });
}

/// Everything that needs a permission, tried by one user on one file and in one directory.
fn attempts(user: User, dir: &Path, file: &str) -> Vec<Answer> {
    let path = dir.join(file);
    user.does(|| {
        vec![
            File::open(&path).map(drop).answer(),
            OpenOptions::new().write(true).open(&path).map(drop).answer(),
            OpenOptions::new().append(true).open(&path).map(drop).answer(),
            rustix::fs::access(&path, rustix::fs::Access::EXEC_OK),
            rustix::fs::access(&path, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK),
            truncate(&path, 5),
            fs::read_dir(dir).map(drop).answer(),
            fs::metadata(&path).map(drop).answer(),
            File::create(dir.join("new")).map(drop).answer(),
            fs::rename(dir.join("new"), dir.join("newer")).answer(),
            fs::remove_file(dir.join("newer")).answer(),
        ]
    })
}

// claim: A57, A58
#[test]
fn modes_decide_for_owner_group_and_others() {
    as_below(Commit::Sync, |dir| {
        let mut answers = Vec::new();
        for (n, (of_dir, of_file)) in
            [(0o700, 0o644), (0o750, 0o640), (0o077, 0o077), (0o705, 0o604), (0o775, 0o060), (0o711, 0o666), (0, 0)]
                .into_iter()
                .enumerate()
        {
            let sub = dir.join(n.to_string());
            fs::create_dir(&sub).unwrap();
            fs::write(sub.join("file"), "content").unwrap();
            fs::set_permissions(sub.join("file"), mode(of_file)).unwrap();
            fs::set_permissions(&sub, mode(of_dir)).unwrap();
            chown(sub.join("file"), Some(1001), Some(1001)).unwrap();
            chown(&sub, Some(1001), Some(1001)).unwrap();
            for user in [OWNER, FELLOW, MEMBER, NOBODY, ROOT] {
                answers.push(attempts(user, &sub, "file"));
            }
        }
        answers
    });
}

// claim: A67
#[test]
fn acls_decide_before_groups_and_others() {
    as_below(Commit::Sync, |dir| {
        let sub = dir.join("sub");
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("file"), "content").unwrap();
        shell(&sub, "setfacl -m u:65534:rw,g:7:r,g:1001:-,o::- file; setfacl -m u:65534:rwx,g:7:rx,o::- .");
        let before: Vec<_> = [OWNER, FELLOW, MEMBER, NOBODY, ROOT].map(|user| attempts(user, &sub, "file")).into();
        shell(&sub, "setfacl -m m::r file; setfacl -m m::rx .");
        let masked: Vec<_> = [MEMBER, NOBODY].map(|user| attempts(user, &sub, "file")).into();
        shell(&sub, "setfacl -b file .; chmod 600 file");
        let removed: Vec<_> = [MEMBER, NOBODY].map(|user| attempts(user, &sub, "file")).into();
        // Whose the file is may set one, nobody else; a chmod changes what is in it.
        chown(sub.join("file"), Some(1001), Some(1001)).unwrap();
        chown(&sub, Some(1001), Some(1001)).unwrap();
        let set = |user: User| {
            user.does(|| {
                let value = tree::acl_value(65534, 6);
                rustix::fs::setxattr(
                    sub.join("file"),
                    c"system.posix_acl_access",
                    &value,
                    rustix::fs::XattrFlags::empty(),
                )
            })
        };
        let set = [set(FELLOW), set(OWNER)];
        fs::set_permissions(sub.join("file"), mode(0o640)).unwrap();
        (before, masked, removed, set, attempts(NOBODY, &sub, "file"))
    });
}

// claim: A36
#[test]
fn in_a_sticky_directory_only_owners_remove_and_rename() {
    as_below(Commit::Sync, |dir| {
        let sub = dir.join("sticky");
        fs::create_dir(&sub).unwrap();
        fs::set_permissions(&sub, mode(0o1777)).unwrap();
        chown(&sub, Some(1002), Some(0)).unwrap();
        for name in ["a", "b", "c", "d"] {
            OWNER.does(|| fs::write(sub.join(name), name).unwrap());
        }
        NOBODY.does(|| fs::write(sub.join("of nobody"), "x").unwrap());
        let go = |user: User, name: &str, to: &str| {
            user.does(|| {
                let renamed = fs::rename(sub.join(name), sub.join(to)).answer();
                let replaced = fs::rename(sub.join("of nobody"), sub.join(name)).answer();
                (renamed, replaced, fs::remove_file(sub.join(name)).answer())
            })
        };
        // The directory's owner may what a file's owner may.
        [go(NOBODY, "a", "a2"), go(MEMBER, "b", "b2"), go(OWNER, "c", "c2"), go(FELLOW, "d", "d2")]
    });
}

// claim: A59
#[test]
fn ordinary_users_change_what_they_may_of_owner_group_and_mode() {
    as_below(Commit::Sync, |dir| {
        let mut answers = Vec::new();
        for (user, name) in [(OWNER, "owner"), (MEMBER, "member"), (FELLOW, "fellow")] {
            let file = dir.join(name);
            fs::write(&file, "x").unwrap();
            chown(&file, Some(1001), Some(1001)).unwrap();
            if name == "member" {
                chown(&file, Some(1003), Some(1003)).unwrap();
            }
            answers.push(user.does(|| {
                [
                    chown(&file, Some(0), None).answer(),
                    chown(&file, Some(1003), None).answer(),
                    chown(&file, None, Some(0)).answer(),
                    // MEMBER's own file goes to a group that MEMBER is in besides another.
                    chown(&file, None, Some(7)).answer(),
                    chown(&file, None, Some(1001)).answer(),
                    fs::set_permissions(&file, mode(0o640)).answer(),
                    fs::set_permissions(&file, mode(0o7777)).answer(),
                    chown(&file, None, None).answer(),
                ]
            }));
        }
        answers
    });
}

// claim: A68
#[test]
fn programs_run_as_their_set_ids_say() {
    as_below(Commit::Sync, |dir| {
        copy_program(Path::new("/usr/bin/id"), &dir.join("id"));
        let run = |bits: u32| {
            chown(dir.join("id"), Some(1001), Some(1002)).unwrap();
            fs::set_permissions(dir.join("id"), mode(bits)).unwrap();
            let ran = Command::new(dir.join("id")).uid(65534).gid(65534).output();
            ran.map(|output| String::from_utf8(output.stdout).unwrap()).answer()
        };
        let ids = [0o755, 0o4755, 0o2755, 0o6755, 0o644, 0o4700].map(run);
        assert!(ids[1].as_ref().is_ok_and(|text| text.contains("euid=1001")), "{ids:?}");
        ids
    });
}

//! What becomes of setuid and setgid when others change a file, and what new nodes take from their directory and their
//! maker.

use replfs_tests::below::{Answer, Answered, as_below, truncate};
use replfs_tests::caller::{NOBODY, ROOT, User};
use replfs_tests::command::shell;
use replfs_tests::mapping::Mapping;
use replfs_tests::rig::Commit;
use replfs_tests::{in_both_modes, tree};
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, OFlags, XattrFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

in_both_modes!(
    set_ids_go_when_others_change_a_file,
    setgid_directories_and_default_acls_are_inherited,
    members_by_another_group_keep_setgid,
);

/// Users in the group 50 of the files: by their primary group, by another one, not at all.
const PRIMARY: User = User::new(1001, 50);
const MEMBER: User = User::new(1002, 1002).of(&[7, 50]);
const STRANGER: User = User::new(1003, 1003).of(&[7]);

/// A way to change a file.
type Change = fn(&Path) -> Answer;

fn writing(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

const CHANGES: [(&str, Change); 11] = [
    ("written", |path| writing(path).and_then(|f| f.write_all_at(b"y", 0)).answer()),
    ("write-only", |path| OpenOptions::new().write(true).open(path).and_then(|f| f.write_all_at(b"y", 0)).answer()),
    ("appended", |path| OpenOptions::new().append(true).open(path).and_then(|f| f.write_all_at(b"y", 0)).answer()),
    ("nothing written", |path| writing(path).and_then(|f| f.write_all_at(b"", 0)).answer()),
    ("truncated", |path| truncate(path, 1)),
    ("ftruncated", |path| writing(path).and_then(|f| f.set_len(3)).answer()),
    ("emptied", |path| File::create(path).map(drop).answer()),
    ("allocated", |path| rustix::fs::fallocate(writing(path).answer()?, FallocateFlags::empty(), 0, 10_000)),
    ("punched", |path| {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(writing(path).answer()?, mode, 0, 4096)
    }),
    ("copied into", |path| {
        let from = File::open(path.with_file_name("source")).answer()?;
        rustix::fs::copy_file_range(from, Some(&mut 0), writing(path).answer()?, Some(&mut 0), 5).map(drop)
    }),
    ("mapped", |path| {
        let mut map = Mapping::shared(&writing(path).answer()?, 4).answer()?;
        map.bytes()[0] = b'm';
        map.sync().answer()
    }),
];

// claim: A60, A61
fn set_ids_go_when_others_change_a_file(commit: Commit) {
    as_below(commit, |dir| {
        fs::write(dir.join("source"), "of the source").unwrap();
        let mut seen = Vec::new();
        for (who, user) in [("stranger", STRANGER), ("primary", PRIMARY), ("member", MEMBER), ("root", ROOT)] {
            for bits in [0o6777, 0o6767] {
                for (what, change) in CHANGES {
                    let path = dir.join(format!("{who}, {bits:o}, {what}"));
                    fs::write(&path, "content").unwrap();
                    chown(&path, Some(1), Some(50)).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
                    let answer = user.does(|| change(&path));
                    seen.push((path.file_name().unwrap().to_owned(), answer, perm(&path)));
                }
            }
        }
        seen
    });
}

// claim: A60
#[test]
fn set_ids_go_although_an_acl_was_set_while_the_file_is_open() {
    type Change = fn(&File, &File) -> Answer;
    const CHANGES: [(&str, Change); 5] = [
        ("written", |file, _| file.write_all_at(b"y", 0).answer()),
        ("cut", |file, _| file.set_len(3).answer()),
        ("allocated", |file, _| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, 10_000)),
        ("punched", |file, _| {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(file, mode, 0, 4096)
        }),
        ("copied into", |file, source| {
            rustix::fs::copy_file_range(source, Some(&mut 0), file, Some(&mut 0), 5).map(drop)
        }),
    ];
    as_below(Commit::Sync, |dir| {
        fs::write(dir.join("source"), "of the source").unwrap();
        let mut seen = Vec::new();
        for (what, change) in CHANGES {
            let path = dir.join(what);
            fs::write(&path, "content").unwrap();
            chown(&path, Some(1002), Some(50)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o2644)).unwrap();
            let (file, source) = (writing(&path).unwrap(), File::open(dir.join("source")).unwrap());
            // Now its group may execute it, by the ACL's mask; the kernel has looked at it before.
            let acl = tree::acl_value(65534, 7);
            rustix::fs::setxattr(&path, c"system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
            let answer = MEMBER.does(|| change(&file, &source));
            seen.push((what, answer, perm(&path)));
        }
        seen
    });
}

/// A new "file", "dir" or "pipe".
fn new(path: &Path, kind: &str) {
    match kind {
        "dir" => fs::create_dir(path).unwrap(),
        "pipe" => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap(),
        _ => fs::write(path, "x").unwrap(),
    }
}

fn perm(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

// claim: A60
#[test]
fn set_ids_go_with_a_change_of_owner() {
    as_below(Commit::Sync, |dir| {
        let mut seen = Vec::new();
        for bits in [0o6777, 0o6767, 0o2777, 0o4600] {
            let changes =
                [(ROOT, Some(9), None), (ROOT, None, Some(9)), (MEMBER, None, Some(7)), (MEMBER, None, Some(50))];
            let places = ["file", "dir", "pipe"].map(|kind| [(kind, 1002), (kind, 9)]);
            for (n, (user, uid, gid)) in changes.into_iter().enumerate() {
                for (kind, group) in places.into_iter().flatten() {
                    let path = dir.join(format!("{bits:o} {n} {kind} of {group}"));
                    new(&path, kind);
                    chown(&path, Some(1002), Some(group)).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
                    let answer = user.does(|| chown(&path, uid, gid).answer());
                    seen.push((path.file_name().unwrap().to_owned(), answer, perm(&path)));
                }
            }
        }
        seen
    });
}

// claim: A60, A69
#[test]
fn a_chown_that_names_nobody_does_what_it_does_below() {
    as_below(Commit::Sync, |dir| {
        let mut seen = Vec::new();
        for bits in [0o6777, 0o6767, 0o2777, 0o4600, 0o644] {
            for (who, user) in [("root", ROOT), ("owner", MEMBER), ("stranger", STRANGER)] {
                for kind in ["file", "dir", "pipe"] {
                    let path = dir.join(format!("{kind} {bits:o}, {who}"));
                    new(&path, kind);
                    chown(&path, Some(1002), Some(1002)).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
                    let changed = |path: &Path| path.metadata().map(|m| (m.ctime(), m.ctime_nsec())).unwrap();
                    let before = changed(&path);
                    super::stamps::tick();
                    let answer = user.does(|| chown(&path, None, None).answer());
                    let moved = if changed(&path) == before { "same ctime" } else { "new ctime" };
                    seen.push((format!("{kind} {bits:o} by {who}: {answer:?}, {moved}"), perm(&path)));
                }
            }
        }
        seen
    });
}

/// One of everything that can be made.
fn make(dir: &Path, setgid: bool) -> Vec<Answer> {
    let bits = if setgid { 0o2775 } else { 0o666 };
    let create = |name: &str, bits: u32| {
        rustix::fs::open(dir.join(name), OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(bits)).map(drop)
    };
    let sub = dir.join("sub");
    vec![
        create("file", bits),
        rustix::fs::mkdir(&sub, Mode::from_raw_mode(bits | 0o111)),
        rustix::fs::open(sub.join("deeper"), OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o666)).map(drop),
        rustix::fs::mkdir(sub.join("deepest"), Mode::from_raw_mode(0o700)),
        rustix::fs::mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from_raw_mode(bits), 0),
        rustix::fs::mknodat(CWD, dir.join("node"), FileType::RegularFile, Mode::from_raw_mode(bits), 0),
        rustix::fs::mknodat(CWD, dir.join("socket"), FileType::Socket, Mode::from_raw_mode(bits), 0),
        symlink("nowhere", dir.join("link")).answer(),
        create("not for the group", 0o2766),
    ]
}

fn opened(dir: &Path, name: &str, bits: u32, gid: u32) {
    fs::create_dir(dir.join(name)).unwrap();
    chown(dir.join(name), None, Some(gid)).unwrap();
    fs::set_permissions(dir.join(name), Permissions::from_mode(bits)).unwrap();
}

// claim: A62, A65, A66
fn setgid_directories_and_default_acls_are_inherited(commit: Commit) {
    as_below(commit, |dir| {
        opened(dir, "setgid", 0o2777, 50);
        opened(dir, "plain", 0o777, 0);
        opened(dir, "acl", 0o777, 0);
        opened(dir, "both", 0o2777, 50);
        for name in ["acl", "both"] {
            tree::acl(&dir.join(name), "system.posix_acl_default", 65534, 7);
        }
        let mut answers = Vec::new();
        for place in ["setgid", "plain", "acl", "both"] {
            for (name, user) in [("root", ROOT), ("masking", NOBODY.masking(0o077)), ("open", NOBODY.masking(0))] {
                let sub = dir.join(place).join(name);
                answers.push(user.does(|| {
                    let made = fs::create_dir(&sub).answer();
                    (made, make(&sub, false))
                }));
            }
        }
        shell(&dir.join("acl/open"), "chmod 640 file; touch later; cp -a sub copied");
        answers
    });
}

// claim: A62, A63
fn members_by_another_group_keep_setgid(commit: Commit) {
    as_below(commit, |dir| {
        let mut answers = Vec::new();
        for (name, user) in [("primary", PRIMARY), ("member", MEMBER), ("stranger", STRANGER), ("root", ROOT)] {
            opened(dir, name, 0o2777, 50);
            answers.push(user.masking(0).does(|| make(&dir.join(name), true)));
        }
        answers
    });
}

// claim: A63
#[test]
fn members_by_another_group_keep_setgid_in_a_process_of_their_own() {
    as_below(Commit::Sync, |dir| {
        opened(dir, "setgid", 0o2777, 50);
        let code = MEMBER.masking(0).alone(|| i32::from(make(&dir.join("setgid"), true).iter().any(Result::is_err)));
        (code, perm(&dir.join("setgid/file")))
    });
}

// claim: A64
#[test]
fn setgid_is_set_and_kept_by_members_only() {
    as_below(Commit::Sync, |dir| {
        let mut seen = Vec::new();
        for (name, user, uid) in
            [("primary", PRIMARY, 1001), ("member", MEMBER, 1002), ("stranger", STRANGER, 1003), ("root", ROOT, 0)]
        {
            for kind in ["file", "dir"] {
                let path = dir.join(format!("{name} {kind}"));
                new(&path, kind);
                chown(&path, Some(uid), Some(50)).unwrap();
                let chmod = |bits: u32| {
                    let answer = user.does(|| fs::set_permissions(&path, Permissions::from_mode(bits)).answer());
                    (answer, perm(&path))
                };
                seen.push((path.file_name().unwrap().to_owned(), [chmod(0o2755), chmod(0o6744), chmod(0o2711)]));
            }
        }
        seen
    });
}

// claim: A63, A64
#[test]
fn an_acl_keeps_setgid_for_members_only() {
    as_below(Commit::Sync, |dir| {
        let mut seen = Vec::new();
        for (name, user, uid) in
            [("primary", PRIMARY, 1001), ("member", MEMBER, 1002), ("stranger", STRANGER, 1003), ("root", ROOT, 0)]
        {
            for kind in ["file", "dir"] {
                for (what, acl) in
                    [("more", tree::acl_value(65534, 7)), ("less", tree::acl_value(65534, 5)), ("none", vec![])]
                {
                    let path = dir.join(format!("{name} {kind} {what}"));
                    new(&path, kind);
                    chown(&path, Some(uid), Some(50)).unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(0o2755)).unwrap();
                    let name = c"system.posix_acl_access";
                    let answer = user.does(|| rustix::fs::setxattr(&path, name, &acl, XattrFlags::empty()));
                    seen.push((format!("{}: {answer:?}", path.file_name().unwrap().display()), perm(&path)));
                }
            }
        }
        seen
    });
}

//! Open files and directories whose names go, and programs that run while somebody would write them.

use replfs_tests::below::{Answer, Answered, as_below, truncate};
use replfs_tests::child::Child;
use replfs_tests::command::{copy_program, run};
use replfs_tests::in_both_modes;
use replfs_tests::rig::Commit;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, XattrFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

in_both_modes!(an_open_file_without_a_name_is_a_file, a_file_held_by_its_path_alone_still_answers);

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// The name of an open file in /proc.
fn by_descriptor(file: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

// claim: A41
fn an_open_file_without_a_name_is_a_file(commit: Commit) {
    as_below(commit, |dir| {
        let file = open(&dir.join("file"));
        file.write_all_at(b"named", 0).unwrap();
        let writer = OpenOptions::new().append(true).open(dir.join("file")).unwrap();
        fs::remove_file(dir.join("file")).unwrap();
        let answers = [
            file.write_all_at(b"nameless", 3).answer(),
            writer.write_all_at(b" and appended", 0).answer(),
            file.set_permissions(Permissions::from_mode(0o640)).answer(),
            rustix::fs::fchown(&file, None, Some(rustix::fs::Gid::from_raw(7))),
            rustix::fs::fsetxattr(&file, "user.x", b"x", XattrFlags::empty()),
            file.sync_all().answer(),
            file.set_len(20).answer(),
        ];
        let again = OpenOptions::new().read(true).write(true).open(by_descriptor(&file));
        let again = again.and_then(|again| again.write_at(b"again", 15)).answer();
        let mut content = vec![0; 100];
        let len = file.read_at(&mut content, 0).unwrap();
        let meta = file.metadata().unwrap();
        let seen = (meta.len(), meta.nlink(), meta.mode(), meta.gid());
        (answers, again, String::from_utf8_lossy(&content[..len]).into_owned(), seen)
    });
}

// claim: A41
#[test]
fn a_file_that_is_replaced_or_renamed_over_is_a_file_until_it_is_closed() {
    as_below(Commit::Sync, |dir| {
        let old = open(&dir.join("file"));
        old.write_all_at(b"the old one", 0).unwrap();
        fs::write(dir.join("new"), "the new one").unwrap();
        fs::rename(dir.join("new"), dir.join("file")).unwrap();
        old.write_all_at(b"THE", 0).unwrap();
        let mut content = [0; 11];
        old.read_exact_at(&mut content, 0).unwrap();
        (content, old.metadata().unwrap().nlink(), fs::read(dir.join("file")).unwrap())
    });
}

// claim: A42
#[test]
fn a_file_without_a_name_gets_one_again_where_it_does_below() {
    as_below(Commit::Sync, |dir| {
        let link = |file: &File, to: &str| {
            rustix::fs::linkat(CWD, by_descriptor(file), CWD, dir.join(to), AtFlags::SYMLINK_FOLLOW)
        };
        let file = open(&dir.join("file"));
        let named = link(&file, "second");
        fs::remove_file(dir.join("file")).unwrap();
        let one_name_left = link(&file, "third");
        fs::remove_file(dir.join("second")).unwrap();
        fs::remove_file(dir.join("third")).unwrap();
        let none_left =
            [link(&file, "fourth"), rustix::fs::linkat(&file, "", CWD, dir.join("fifth"), AtFlags::EMPTY_PATH)];
        (named, one_name_left, none_left, file.metadata().unwrap().nlink())
    });
}

// claim: A43
fn a_file_held_by_its_path_alone_still_answers(commit: Commit) {
    as_below(commit, |dir| {
        fs::write(dir.join("file"), "content").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        let hold = |name: &str| rustix::fs::open(dir.join(name), OFlags::PATH, Mode::empty()).unwrap();
        let (file, held_dir) = (hold("file"), hold("dir"));
        fs::remove_file(dir.join("file")).unwrap();
        fs::remove_dir(dir.join("dir")).unwrap();
        // Their inode numbers are free for the taking below, were they not held.
        for n in 0..20 {
            fs::write(dir.join(format!("later{n}")), "later").unwrap();
        }
        let seen = |fd: &rustix::fd::OwnedFd| {
            rustix::fs::fstat(fd).map(|stat| (stat.st_mode, stat.st_size, stat.st_nlink, stat.st_uid))
        };
        let read: Answer<Vec<u8>> = fs::read(by_descriptor(&file)).answer();
        let changed = fs::set_permissions(by_descriptor(&file), Permissions::from_mode(0o600)).answer();
        let made = rustix::fs::mkdirat(&held_dir, "new", Mode::from_raw_mode(0o700));
        (seen(&file), seen(&held_dir).map(|s| (s.0, s.2)), read, changed, seen(&file), made)
    });
}

// claim: A41
#[test]
fn an_open_directory_without_a_name_is_empty_and_stays_so() {
    as_below(Commit::Sync, |dir| {
        fs::create_dir_all(dir.join("dir/sub")).unwrap();
        let held = File::open(dir.join("dir")).unwrap();
        fs::remove_dir_all(dir.join("dir")).unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/another"), "x").unwrap();
        let create = rustix::fs::openat(&held, "new", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600));
        let found = rustix::fs::statat(&held, "another", AtFlags::empty()).map(drop);
        let names = fs::read_dir(by_descriptor(&held)).map(Iterator::count).answer();
        (create.map(drop), found, names, held.metadata().unwrap().nlink(), held.sync_all().answer())
    });
}

// claim: A49
#[test]
fn a_program_that_runs_is_not_written_and_one_that_is_written_does_not_run() {
    as_below(Commit::Sync, |dir| {
        let program = dir.join("cat");
        copy_program(Path::new("/bin/cat"), &program);
        // It runs until its standard input ends.
        let mut running = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let busy = [
            OpenOptions::new().write(true).open(&program).map(drop).answer(),
            truncate(&program, 0),
            File::open(&program).map(drop).answer(),
        ];
        fs::rename(&program, dir.join("renamed")).unwrap();
        drop(running.stdin.take());
        let ended = running.wait().unwrap().success();
        // In a process of its own, so that nobody else has the file open when it has ended.
        let mut writer = Child::start(|line| {
            let file = OpenOptions::new().write(true).open(dir.join("renamed")).answer();
            line.say(i32::from(file.is_ok()));
            line.hear()
        });
        let opened = writer.line.hear();
        let written = Command::new(dir.join("renamed")).stdin(Stdio::null()).output().map(drop).answer();
        writer.line.say(0);
        writer.end();
        let works = run(Command::new(dir.join("renamed")).arg("/dev/null")).code;
        (busy, ended, written, opened, works)
    });
}

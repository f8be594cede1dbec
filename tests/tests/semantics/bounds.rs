//! Where the mount gives as much as below until a bound of its own: descriptors of the daemon, places of a directory, holes
//! beside mapped pages.

use replfs_tests::mapping::Mapping;
use replfs_tests::rig::{Commit, Rig};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Command;

// claim: A91
#[test]
fn as_many_files_are_open_as_the_daemon_may_have_descriptors() {
    let rig = Rig::start(Commit::Sync);
    let daemon = Pid::from_raw(i32::try_from(rig.source_pid()).unwrap());
    let limit = Rlimit { current: Some(300), maximum: Some(300) };
    rustix::process::prlimit(daemon, Resource::Nofile, limit).unwrap();
    let open = |n: usize| File::create(rig.mnt().join(format!("file{n}")));
    let files: Vec<File> = (0..400).map_while(|n| open(n).ok()).collect();
    assert!((200..300).contains(&files.len()), "{} files were opened with 300 descriptors", files.len());
    let refused = open(400).unwrap_err();
    assert_eq!(Errno::from_io_error(&refused), Some(Errno::MFILE));
    for file in &files {
        file.write_all_at(b"still works", 0).unwrap();
    }
    drop(files);
    // A closed file is given up a moment after close returned.
    replfs_tests::wait::until("files to be opened again", replfs_tests::wait::PATIENCE, || open(401).ok());
    rig.finish();
}

// claim: A92
#[test]
fn the_end_of_a_directory_is_its_size() {
    let rig = Rig::start(Commit::Sync);
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    let dir = File::open(rig.mnt().join("dir")).unwrap();
    let size = dir.metadata().unwrap().len();
    assert_eq!(rustix::fs::seek(&dir, SeekFrom::End(0)), Ok(size));
    assert_eq!(rustix::fs::seek(&dir, SeekFrom::Start(0)), Ok(0));
    drop(dir);
    rig.finish();
}

// claim: A97
#[test]
fn a_chown_that_names_nobody_is_taken_for_a_change_of_content_while_somebody_writes() {
    let rig = Rig::start(Commit::Sync);
    let path = rig.mnt().join("file");
    let file = File::create_new(&path).unwrap();
    let bits = || path.metadata().unwrap().mode() & 0o7777;
    let by_stranger = || {
        Command::new("setpriv")
            .args(["--reuid=1003", "--regid=1003", "--clear-groups", "perl", "-e"])
            .arg("exit(chown(-1, -1, $ARGV[0]) == 1 ? 0 : 1)")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    assert!(by_stranger());
    assert_eq!(bits(), 0o755);
    drop(file);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    // A closed file is given up a moment after close returned; a refusal leaves the bits.
    let refused = || {
        let refused = !by_stranger();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        refused.then_some(())
    };
    replfs_tests::wait::until("the chown to be refused", replfs_tests::wait::PATIENCE, refused);
    rig.finish();
}

// claim: A93
#[test]
fn a_page_mapped_into_a_hole_becomes_data_alone() -> io::Result<()> {
    let rig = Rig::start(Commit::Sync);
    let file = File::options().read(true).write(true).create_new(true).open(rig.mnt().join("file"))?;
    file.set_len(1 << 20)?;
    let mut map = Mapping::shared(&file, 1 << 20)?;
    map.bytes()[300_000] = b'm';
    map.sync()?;
    drop(map);
    file.sync_all()?;
    let data = rustix::fs::seek(&file, SeekFrom::Data(0))?;
    let hole = rustix::fs::seek(&file, SeekFrom::Hole(data))?;
    assert!(data <= 300_000 && 300_000 < hole, "data from {data} to {hole}");
    drop(file);
    rig.finish();
    Ok(())
}

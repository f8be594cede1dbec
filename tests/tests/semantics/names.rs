//! Names: what renames do, which errors come, how long names may be, what a reader of a directory sees while it changes.

use replfs_tests::below::{Answered, as_below, as_below_in};
use replfs_tests::caller::NOBODY;
use replfs_tests::disk::Disk;
use replfs_tests::in_both_modes;
use replfs_tests::rig::{Commit, Rig, Setup};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags, RawDir, RenameFlags, SeekFrom};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

in_both_modes!(rename_flags_do_what_they_say, errors_are_those_of_the_file_system_below);

// claim: A5, A31
fn rename_flags_do_what_they_say(commit: Commit) {
    as_below(commit, |dir| {
        let rename =
            |from: &str, to: &str, flags| rustix::fs::renameat_with(CWD, dir.join(from), CWD, dir.join(to), flags);
        fs::write(dir.join("one"), "1").unwrap();
        fs::write(dir.join("two"), "22").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/inside"), "333").unwrap();
        fs::hard_link(dir.join("dir/inside"), dir.join("same")).unwrap();
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
            rename("same", "same", RenameFlags::empty()),
            rename("same", "same", RenameFlags::NOREPLACE),
            rename("two", "three", RenameFlags::NOREPLACE | RenameFlags::EXCHANGE),
            rename("two", "three", RenameFlags::from_bits_retain(1 << 20)),
        ]
    });
}

// claim: A32
#[test]
fn a_whiteout_is_left_where_the_file_system_below_leaves_one() {
    as_below(Commit::Sync, |dir| {
        fs::write(dir.join("one"), "1").unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
        let (one, two) = (dir.join("one"), dir.join("two"));
        let by_root = rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::WHITEOUT);
        let both = RenameFlags::WHITEOUT | RenameFlags::EXCHANGE;
        let senseless = rustix::fs::renameat_with(CWD, &two, CWD, &one, both);
        (by_root, senseless)
    });
}

// claim: A21, A30
fn errors_are_those_of_the_file_system_below(commit: Commit) {
    as_below(commit, |dir| {
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/file"), "x").unwrap();
        fs::create_dir(dir.join("closed")).unwrap();
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let long = "n".repeat(256);
        let file = dir.join("dir/file");
        let answers = [
            fs::create_dir(dir.join("dir")).answer(),
            fs::remove_dir(dir.join("dir")).answer(),
            fs::remove_file(dir.join("dir")).answer(),
            fs::remove_dir(&file).answer(),
            fs::remove_file(dir.join("missing")).answer(),
            fs::hard_link(dir.join("dir"), dir.join("second")).answer(),
            fs::hard_link(dir.join("missing"), dir.join("second")).answer(),
            fs::write(dir.join(&long), "x").answer(),
            fs::write(dir.join("dir/file/below"), "x").answer(),
            fs::read(dir.join("loop")).map(drop).answer(),
            fs::read_link(&file).map(drop).answer(),
            fs::read_dir(&file).map(drop).answer(),
            File::create_new(&file).map(drop).answer(),
            OpenOptions::new().write(true).open(dir.join("dir")).map(drop).answer(),
            OpenOptions::new().write(true).open(&file).and_then(|f| f.set_len(u64::MAX >> 1)).answer(),
        ];
        let denied = NOBODY.does(|| {
            [
                File::create(dir.join("closed/x")).map(drop).answer(),
                File::create(dir.join("here")).map(drop).answer(),
                fs::set_permissions(&file, fs::Permissions::from_mode(0o777)).answer(),
                std::os::unix::fs::chown(&file, Some(1), None).answer(),
                fs::write(&file, "x").answer(),
                fs::remove_file(&file).answer(),
                fs::rename(&file, dir.join("dir/other")).answer(),
                fs::metadata(dir.join("closed/x")).map(drop).answer(),
            ]
        });
        let kept = (file.metadata().unwrap().len(), file.metadata().unwrap().mode());
        (answers, denied, kept)
    });
}

// claim: A33
#[test]
fn names_paths_and_links_are_as_long_as_below() {
    as_below(Commit::Sync, |dir| {
        let at = File::open(dir).unwrap();
        let file = |name: &str| {
            rustix::fs::openat(&at, name, OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).map(drop)
        };
        // Relative, so that the places' own length does not count.
        let path = |len: usize| format!("{}f", "./".repeat((len - 1) / 2));
        let link = |len: usize| rustix::fs::symlinkat("t".repeat(len), &at, format!("to {len}"));
        let names = [file(&"n".repeat(255)), file(&"n".repeat(256)), file(&path(4095)), file(&path(4097))];
        let links = [link(4000), link(4094), link(4095), link(4096), link(1)];
        let back = fs::read_link(dir.join("to 4095")).map(|to| to.as_os_str().len()).answer();
        (names, links, back)
    });
}

// claim: A34
#[test]
fn as_many_links_as_below_and_no_more() {
    let mut rig = Rig::bare(Commit::Sync, Setup::default());
    let (src, native) = (rig.src(), rig.home().join("native"));
    fs::create_dir(&native).unwrap();
    for (name, at) in [("first", &native), ("second", &src)] {
        let disk = Disk::new(&rig, name, 8, &[]);
        // ext4 stops at 65,000. So many names take long to make; the number alone is soon written.
        disk.edit("write /dev/null file");
        disk.edit("set_inode_field file links_count 64999");
        disk.mount(&mut rig, at);
    }
    rig.start_target();
    rig.mount();
    let link = |dir: &Path| {
        let last = fs::hard_link(dir.join("file"), dir.join("last")).answer();
        let links = dir.join("file").metadata().unwrap().nlink();
        (last, links, fs::hard_link(dir.join("file"), dir.join("one more")).answer(), dir.join("one more").exists())
    };
    let (below, through) = (link(&native), link(&rig.mnt()));
    assert_eq!(below, through);
    assert_eq!(below.1, 65000);
    rig.unmount();
}

// claim: A35
#[test]
fn a_directory_is_read_from_any_offset_while_names_come_and_go() {
    const KEPT: usize = 2000;
    as_below_in(Rig::start(Commit::Real), |dir| {
        for n in 0..KEPT {
            File::create(dir.join(format!("keep{n}"))).unwrap();
        }
        let open = File::open(dir).unwrap();
        // A small buffer, so that the reader comes back to the file system at every few names.
        let mut buffer = [MaybeUninit::uninit(); 512];
        let (mut seen, mut offsets, mut twice, mut round) = (BTreeSet::new(), Vec::new(), Vec::new(), 0);
        loop {
            let mut entries = RawDir::new(&open, &mut buffer);
            let mut some = false;
            while let Some(entry) = entries.next() {
                let entry = entry.unwrap();
                some = true;
                let name = entry.file_name().to_string_lossy().into_owned();
                offsets.push((entry.next_entry_cookie(), name.clone()));
                if name.starts_with("keep") && !seen.insert(name.clone()) {
                    twice.push(name);
                }
                if entries.is_buffer_empty() {
                    break;
                }
            }
            if !some {
                break;
            }
            round += 1;
            File::create(dir.join(format!("new{round}"))).unwrap();
            let _ = fs::remove_file(dir.join(format!("new{}", round - 1)));
            if round % 10 == 0 {
                // telldir and seekdir: away to the start and back to where it was.
                let here = offsets.last().unwrap().0;
                rustix::fs::seek(&open, SeekFrom::Start(0)).unwrap();
                RawDir::new(&open, &mut buffer).next().unwrap().unwrap();
                rustix::fs::seek(&open, SeekFrom::Start(here)).unwrap();
            }
        }
        let _ = fs::remove_file(dir.join(format!("new{round}")));
        // From an offset on comes what came after it before.
        let (at, _) = offsets[offsets.len() / 2];
        rustix::fs::seek(&open, SeekFrom::Start(at)).unwrap();
        let next = RawDir::new(&open, &mut buffer).next().unwrap().unwrap().file_name().to_string_lossy().into_owned();
        let position = offsets.iter().position(|(_, name)| *name == next);
        // What was made and removed meanwhile may be missing.
        let follows = position.is_some_and(|p| (offsets.len() / 2 + 1..offsets.len() / 2 + 4).contains(&p));
        // After rewinding the directory is as it is now.
        rustix::fs::seek(&open, SeekFrom::Start(0)).unwrap();
        let now = fs::read_dir(dir).unwrap().count();
        (seen.len() == KEPT, twice, follows, now)
    });
}

// claim: A37
#[test]
fn watchers_see_what_is_done_in_the_mount() {
    as_below(Commit::Sync, |dir| {
        let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, dir, WatchFlags::ALL_EVENTS).unwrap();
        fs::write(dir.join("one"), "x").unwrap();
        fs::rename(dir.join("one"), dir.join("two")).unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::read(dir.join("two")).unwrap();
        fs::remove_file(dir.join("two")).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        let mut seen = Vec::new();
        while let Ok(event) = reader.next() {
            let flags: ReadFlags = event.events();
            seen.push((flags, event.file_name().map(|name| name.to_string_lossy().into_owned())));
        }
        seen
    });
}

//! Who a file is: inode numbers, links, flags, the figures of the file system and of the mount.

use replfs_tests::below::{Answered, as_below};
use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup};
use rustix::fs::{AtFlags, CWD, IFlags, Mode, OFlags, RawDir, StatVfs, Statx, StatxFlags};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Inode number and links of everything in a tree, by stat(2) and as its directory has it.
fn identities(root: &Path) -> BTreeMap<String, (u64, u64, u64)> {
    fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, (u64, u64, u64)>) {
        let open = File::open(dir).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(open, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ".." || name == "." {
                continue;
            }
            let meta = dir.join(&name).symlink_metadata().unwrap();
            let path = format!("{prefix}/{name}");
            found.insert(path.clone(), (meta.ino(), entry.ino(), meta.nlink()));
            if meta.is_dir() {
                walk(&dir.join(&name), &path, found);
            }
        }
    }
    let meta = root.metadata().unwrap();
    let mut found = BTreeMap::from([(String::new(), (meta.ino(), meta.ino(), meta.nlink()))]);
    walk(root, "", &mut found);
    found
}

// claim: A38, A39, A40
#[test]
fn inode_numbers_are_those_of_the_source_at_every_mount() {
    let mut rig = Rig::start(Commit::Sync);
    let mnt = rig.mnt();
    fs::create_dir_all(mnt.join("dir/sub")).unwrap();
    fs::write(mnt.join("dir/file"), "x").unwrap();
    fs::hard_link(mnt.join("dir/file"), mnt.join("dir/sub/second")).unwrap();
    symlink("file", mnt.join("dir/link")).unwrap();
    replfs_tests::tree::fifo(&mnt.join("fifo"));
    fs::hard_link(mnt.join("fifo"), mnt.join("dir/fifo")).unwrap();
    let first = identities(&mnt);
    assert_eq!(first, identities(&rig.src()));
    assert_eq!(first["/dir/file"], (first["/dir/sub/second"].0, first["/dir/file"].0, 2), "{first:#?}");
    fs::rename(mnt.join("dir/file"), mnt.join("renamed")).unwrap();
    assert_eq!(identities(&mnt)["/renamed"], first["/dir/file"], "a rename makes no other file of it");
    fs::rename(mnt.join("renamed"), mnt.join("dir/file")).unwrap();
    rig.unmount();
    rig.mount();
    assert_eq!(identities(&mnt), first, "at a second mount");
    rig.kill_source();
    rig.mount();
    assert_eq!(identities(&mnt), first, "after a killed daemon");
    rig.finish();
}

/// All but the identity of the file system and the flags of the mount.
fn figures(path: &Path) -> [u64; 9] {
    let StatVfs { f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail: _, f_namemax, .. } =
        rustix::fs::statvfs(path).unwrap();
    [f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_namemax, 0]
}

// claim: A53
#[test]
fn the_figures_of_the_file_system_are_those_of_the_source() {
    let mut rig = Rig::bare(Commit::Sync, Setup::default());
    let src = rig.src();
    // A disk of its own, where nobody else's files come and go.
    let disk = Disk::new(&rig, "disk", 16, &["-m", "20"]);
    disk.mount(&mut rig, &src);
    rig.start_target();
    rig.mount();
    assert_eq!(figures(&rig.mnt()), figures(&src));
    let file = rig.mnt().join("file");
    fs::write(&file, vec![1; 3 << 20]).unwrap();
    File::open(&file).unwrap().sync_all().unwrap();
    let (after, below) = (figures(&file), figures(&src));
    assert_eq!(after, below, "of a file, after it was written");
    assert!(after[3] > after[4], "what is kept for root is not available to others: {after:?}");
    rig.unmount();
}

fn statx(path: &Path) -> Statx {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::ALL).unwrap()
}

// claim: A54
#[test]
fn the_mount_is_a_mount_to_those_who_ask() {
    let rig = Rig::start(Commit::Sync);
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    let is_root = |path: &Path| {
        let statx = statx(path);
        assert!(statx.stx_attributes_mask.contains(rustix::fs::StatxAttributes::MOUNT_ROOT));
        statx.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT)
    };
    assert!(is_root(&rig.mnt()) && !is_root(&rig.mnt().join("dir")));
    let (inside, outside) = (statx(&rig.mnt().join("dir")), statx(rig.home()));
    assert_ne!((inside.stx_dev_major, inside.stx_dev_minor), (outside.stx_dev_major, outside.stx_dev_minor));
    // Nothing goes over its edge by a link or a rename.
    fs::write(rig.home().join("outside"), "x").unwrap();
    let across = [
        fs::hard_link(rig.home().join("outside"), rig.mnt().join("inside")).answer(),
        fs::rename(rig.home().join("outside"), rig.mnt().join("inside")).answer(),
        fs::rename(rig.mnt().join("dir"), rig.home().join("dir")).answer(),
        fs::remove_dir(rig.mnt()).answer(),
    ];
    let xdev = Err(rustix::io::Errno::XDEV);
    assert_eq!(across, [xdev, xdev, xdev, Err(rustix::io::Errno::BUSY)]);
    let open = rustix::fs::open(rig.mnt(), OFlags::RDONLY, Mode::empty()).unwrap();
    assert_eq!(rustix::fs::fstatfs(&open).unwrap().f_type, 0x6573_5546, "it says that it is FUSE");
    drop(open);
    rig.finish();
}

// claim: A87
#[test]
fn inode_flags_work_as_below() {
    as_below(Commit::Sync, |dir| {
        let file = File::create_new(dir.join("file")).unwrap();
        let flags =
            |file: &File| rustix::fs::ioctl_getflags(file).map(|flags| flags & !IFlags::from_bits_retain(0x80000));
        let before = [flags(&file), flags(&File::open(dir).unwrap())];
        let nodump = rustix::fs::ioctl_setflags(&file, IFlags::NODUMP);
        let after = flags(&file);
        let fixed = rustix::fs::ioctl_setflags(&file, IFlags::IMMUTABLE);
        let refused = [File::create(dir.join("file")).map(drop).answer(), fs::remove_file(dir.join("file")).answer()];
        // Always: nobody can remove the file before.
        let free = rustix::fs::ioctl_setflags(&file, IFlags::empty());
        if refused[1].is_ok() {
            fs::write(dir.join("file"), "x").unwrap();
        }
        (before, nodump, after, fixed, refused, free)
    });
}

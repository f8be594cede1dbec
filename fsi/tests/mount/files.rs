//! Content: reading, writing, holes, space, copying.

use crate::rig::{Rig, c_path, errno};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

fn read_write(path: &std::path::Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

#[test]
fn what_is_written_is_read_on_both_sides() {
    let rig = Rig::new();
    let data: Vec<u8> = (0..3_500_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    fs::write(rig.at("f"), &data).unwrap();
    assert!(fs::read(rig.at("f")).unwrap() == data);
    assert!(fs::read(rig.below("f")).unwrap() == data);
    let mut file = read_write(&rig.at("f"));
    file.write_all_at(b"middle", 1_048_570).unwrap();
    file.seek(std::io::SeekFrom::Start(1_048_568)).unwrap();
    let mut got = [0; 10];
    file.read_exact(&mut got).unwrap();
    assert_eq!(&got[2..8], b"middle");
    assert_eq!(fs::metadata(rig.at("f")).unwrap().len(), data.len() as u64);
}

#[test]
fn a_write_only_file_and_a_reader_see_the_same() {
    let rig = Rig::new();
    fs::write(rig.at("f"), vec![b'a'; 10_000]).unwrap();
    let reader = File::open(rig.at("f")).unwrap();
    let mut got = vec![0; 10_000];
    reader.read_exact_at(&mut got, 0).unwrap();
    let writer = OpenOptions::new().write(true).open(rig.at("f")).unwrap();
    writer.write_all_at(b"bbb", 5000).unwrap();
    reader.read_exact_at(&mut got, 0).unwrap();
    assert_eq!(&got[4999..5004], b"abbba");
}

#[test]
fn truncation_changes_size_and_times() {
    let rig = Rig::new();
    fs::write(rig.at("f"), "0123456789").unwrap();
    let before = fs::metadata(rig.at("f")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let file = read_write(&rig.at("f"));
    file.set_len(4).unwrap();
    let after = fs::metadata(rig.at("f")).unwrap();
    assert_eq!(after.len(), 4);
    assert!((after.mtime(), after.mtime_nsec()) > (before.mtime(), before.mtime_nsec()));
    file.set_len(100).unwrap();
    assert_eq!(fs::read(rig.at("f")).unwrap().len(), 100);
    File::create(rig.at("f")).unwrap();
    assert_eq!(fs::metadata(rig.below("f")).unwrap().len(), 0);
    // SAFETY: the path is NUL-terminated and lives through the call.
    let result = unsafe { libc::truncate(c_path(&rig.at("f")).as_ptr(), 7) };
    assert_eq!(result, 0);
    assert_eq!(fs::metadata(rig.below("f")).unwrap().len(), 7);
}

#[test]
fn a_direct_or_synchronous_file_works_like_any_other() {
    let rig = Rig::new();
    for flags in [libc::O_SYNC, libc::O_DSYNC, libc::O_DIRECT, libc::O_NOFOLLOW | libc::O_NOATIME] {
        let path = rig.at(&format!("f{flags}"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).custom_flags(flags).open(&path).unwrap();
        file.write_all_at(b"odd length at an odd place", 3).unwrap();
        assert_eq!(&fs::read(&path).unwrap()[3..], b"odd length at an odd place");
        file.sync_all().unwrap();
        file.sync_data().unwrap();
    }
}

#[test]
fn holes_are_found_and_kept() {
    let rig = Rig::new();
    let file = read_write(&rig.at("f"));
    file.write_all_at(&[1; 4096], 1 << 20).unwrap();
    file.set_len(3 << 20).unwrap();
    assert_eq!(seek(&file, SeekFrom::Data(0)).unwrap(), 1 << 20);
    assert_eq!(seek(&file, SeekFrom::Hole(1 << 20)).unwrap(), (1 << 20) + 4096);
    assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 0);
    assert_eq!(errno(seek(&file, SeekFrom::Data(2 << 20))), libc::ENXIO);
    assert_eq!(fs::metadata(rig.at("f")).unwrap().blocks(), 8);
    assert_eq!(seek(&file, SeekFrom::End(0)).unwrap(), 3 << 20);
}

#[test]
fn space_is_allocated_punched_and_zeroed() {
    let rig = Rig::new();
    let file = read_write(&rig.at("f"));
    fallocate(&file, FallocateFlags::empty(), 0, 65536).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 65536);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 65536, 65536).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 65536);
    assert_eq!(file.metadata().unwrap().blocks(), 256);
    file.write_all_at(&vec![7; 65536], 0).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 8192).unwrap();
    fallocate(&file, FallocateFlags::ZERO_RANGE, 60000, 10000).unwrap();
    let data = fs::read(rig.at("f")).unwrap();
    assert_eq!(data.len(), 70000);
    assert!(data[..4096].iter().all(|b| *b == 7) && data[4096..12288].iter().all(|b| *b == 0));
    assert!(data[12288..60000].iter().all(|b| *b == 7) && data[60000..].iter().all(|b| *b == 0));
    assert_eq!(errno(fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096)), libc::EOPNOTSUPP);
    assert_eq!(errno(fallocate(&file, FallocateFlags::empty(), 0, 0)), libc::EINVAL);
}

#[test]
fn copying_from_file_to_file_moves_the_bytes() {
    let rig = Rig::new();
    let data: Vec<u8> = (0..40_000_000_u32).map(|n| (n / 3).to_le_bytes()[0]).collect();
    fs::write(rig.at("a"), &data).unwrap();
    let (from, to) = (File::open(rig.at("a")).unwrap(), read_write(&rig.at("b")));
    let (mut read_at, mut write_at) = (100, 50);
    loop {
        let n = rustix::fs::copy_file_range(&from, Some(&mut read_at), &to, Some(&mut write_at), data.len()).unwrap();
        if n == 0 {
            break;
        }
    }
    let copied = fs::read(rig.at("b")).unwrap();
    assert!(copied[50..] == data[100..]);
    assert!(fs::read(rig.below("b")).unwrap() == copied);
    // Within one file.
    let (mut read_at, mut write_at) = (0, 20_000_000);
    let n = rustix::fs::copy_file_range(&to, Some(&mut read_at), &to, Some(&mut write_at), 5000).unwrap();
    assert_eq!(n, 5000);
    assert!(fs::read(rig.at("b")).unwrap()[20_000_000..20_005_000] == copied[..5000]);
}

#[test]
fn an_unlinked_file_lives_until_it_is_closed() {
    let mut rig = Rig::new();
    let mut file = read_write(&rig.at("f"));
    file.write_all(b"before").unwrap();
    fs::remove_file(rig.at("f")).unwrap();
    file.write_all(b" after").unwrap();
    file.set_permissions(crate::rig::permissions(0o600)).unwrap();
    file.set_len(9).unwrap();
    let meta = file.metadata().unwrap();
    assert_eq!((meta.nlink(), meta.len(), meta.mode() & 0o777), (0, 9, 0o600));
    // A new file of that name is another one.
    fs::write(rig.at("f"), "new").unwrap();
    let mut got = [0; 9];
    file.read_exact_at(&mut got, 0).unwrap();
    assert_eq!(&got, b"before af");
    assert_eq!(fs::read(rig.below("f")).unwrap(), b"new");
    drop(file);
    rig.unmount();
    assert_eq!(fs::read(rig.src.join("f")).unwrap(), b"new");
}

#[test]
fn figures_of_the_file_system_are_the_backing_ones() {
    let rig = Rig::new();
    let (up, down) = (rustix::fs::statvfs(&rig.mnt).unwrap(), rustix::fs::statvfs(&rig.src).unwrap());
    assert_eq!((up.f_blocks, up.f_bsize, up.f_frsize), (down.f_blocks, down.f_bsize, down.f_frsize));
    assert_eq!((up.f_files, up.f_namemax), (down.f_files, down.f_namemax));
}

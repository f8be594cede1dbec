//! What is in a file: written, truncated, allocated, copied, with holes, to its limits.

use replfs_tests::below::{Answer, Answered, as_below};
use replfs_tests::caller::{NOBODY, ROOT};
use replfs_tests::command::shell;
use replfs_tests::rig::Commit;
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use rustix::fs::{FallocateFlags, SeekFrom};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

in_both_modes!(
    fallocate_reserves_punches_and_zeroes,
    copy_file_range_copies,
    truncation_and_sparse_writes_keep_holes,
    files_of_odd_open_modes_are_written,
);

// claim: A2
fn fallocate_reserves_punches_and_zeroes(commit: Commit) {
    as_below(commit, |dir| {
        let file = |name: &str| {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(dir.join(name)).unwrap();
            file.write_all_at(&vec![5; 200_000], 0).unwrap();
            file
        };
        let allocate = |name: &str, mode, offset, len| rustix::fs::fallocate(file(name), mode, offset, len);
        let keep = FallocateFlags::KEEP_SIZE;
        [
            allocate("grown", FallocateFlags::empty(), 100_000, 1 << 20),
            allocate("reserved", keep, 100_000, 1 << 20),
            allocate("punched", FallocateFlags::PUNCH_HOLE | keep, 10_000, 100_000),
            allocate("punched at the end", FallocateFlags::PUNCH_HOLE | keep, 190_000, 100_000),
            allocate("zeroed", FallocateFlags::ZERO_RANGE, 10_000, 100_000),
            allocate("zeroed beyond", FallocateFlags::ZERO_RANGE, 190_000, 100_000),
            allocate("zeroed, size kept", FallocateFlags::ZERO_RANGE | keep, 190_000, 100_000),
            allocate("nothing", FallocateFlags::empty(), 0, 0),
            allocate("without keep", FallocateFlags::PUNCH_HOLE, 10_000, 100_000),
            allocate("beyond all", FallocateFlags::empty(), u64::MAX >> 2, 1 << 20),
        ]
    });
}

// claim: A3
fn copy_file_range_copies(commit: Commit) {
    as_below(commit, |dir| {
        let bytes = replfs_tests::seed::Random::new(1).bytes(3_000_000);
        fs::write(dir.join("from"), &bytes).unwrap();
        let from = File::open(dir.join("from")).unwrap();
        let to = File::options().read(true).write(true).create_new(true).open(dir.join("to")).unwrap();
        let copy = |at: u64, onto: u64, len: usize| {
            let (mut input, mut output, mut left) = (at, onto, len);
            while left > 0 {
                match rustix::fs::copy_file_range(&from, Some(&mut input), &to, Some(&mut output), left) {
                    Ok(0) => break,
                    Ok(n) => left -= n,
                    Err(error) => return Err(error),
                }
            }
            Ok(len - left)
        };
        let copied =
            [copy(0, 0, 3_000_000), copy(1000, 5_000_000, 100_000), copy(2_999_000, 10, 5000), copy(4_000_000, 0, 10)];
        let within = rustix::fs::copy_file_range(&to, Some(&mut 0), &to, Some(&mut 6_000_000), 10_000);
        shell(dir, "cp from whole; cat from from > twice");
        (copied, within)
    });
}

// claim: A1, A2
fn truncation_and_sparse_writes_keep_holes(commit: Commit) {
    as_below(commit, |dir| {
        tree::holes(&dir.join("holes"));
        let file = OpenOptions::new().write(true).open(dir.join("holes/middle")).unwrap();
        file.set_len(1_050_000).unwrap();
        file.set_len(3 << 20).unwrap();
        file.write_all_at(b"end", 9 << 20).unwrap();
        File::create(dir.join("grown")).unwrap().set_len(12_345_678).unwrap();
        let shrunk = File::create(dir.join("shrunk")).unwrap();
        shrunk.write_all_at(&[1; 10_000], 0).unwrap();
        shrunk.set_len(5000).unwrap();
        shrunk.set_len(10_000).unwrap();
        fs::read(dir.join("shrunk")).unwrap()
    });
}

// claim: A1
fn files_of_odd_open_modes_are_written(commit: Commit) {
    as_below(commit, |dir| {
        let open = |name: &str, flags: i32| {
            OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(dir.join(name))
        };
        let append = OpenOptions::new().append(true).create(true).open(dir.join("append")).unwrap();
        append.write_all_at(b"one ", 0).unwrap();
        append.write_all_at(b"two", 0).unwrap();
        for (name, flags) in [("sync", libc::O_SYNC), ("dsync", libc::O_DSYNC), ("noatime", libc::O_NOATIME)] {
            let file = open(name, flags).unwrap();
            file.write_all_at(b"written", 5).unwrap();
            file.sync_data().unwrap();
        }
        // Gathered writes, and a file that is larger than one request to a FUSE file system may be.
        let large = replfs_tests::seed::Random::new(2).bytes(5_000_001);
        fs::write(dir.join("large"), &large).unwrap();
        fs::read(dir.join("large")).unwrap() == large
    });
}

// claim: A45
#[test]
fn o_direct_of_whole_blocks_reads_and_writes() {
    as_below(Commit::Sync, |dir| {
        let open =
            |flags| File::options().read(true).write(true).create(true).custom_flags(flags).open(dir.join("direct"));
        let direct = open(libc::O_DIRECT).unwrap();
        let mut buffer = vec![7; 16 * 4096];
        let start = buffer.as_ptr().align_offset(4096);
        let buffer = &mut buffer[start..start + 8 * 4096];
        let written = [
            direct.write_at(&buffer[..4096], 8192).answer(),
            direct.write_at(&buffer[..8 * 4096], 65536).answer(),
            direct.write_at(&buffer[..512], 512).answer(),
        ];
        let read = [
            direct.read_at(&mut buffer[..4096], 8192).answer(),
            direct.read_at(&mut buffer[..4096], 0).answer(),
            direct.read_at(&mut buffer[..8 * 4096], 65536 + 4 * 4096).answer(),
            direct.read_at(&mut buffer[..4096], 1 << 20).answer(),
        ];
        // Beside one who does not read and write directly.
        let cached = open(0).unwrap();
        let mut seen = [0; 4];
        cached.read_exact_at(&mut seen, 8192).unwrap();
        buffer[..4096].fill(9);
        direct.write_at(&buffer[..4096], 8192).unwrap();
        cached.read_exact_at(&mut seen, 8192).unwrap();
        cached.write_all_at(b"cached", 8192).unwrap();
        direct.read_exact_at(&mut buffer[..4096], 8192).unwrap();
        (written, read, seen, buffer[..8].to_vec())
    });
}

// claim: A47
#[test]
fn seek_finds_data_and_holes() {
    as_below(Commit::Sync, |dir| {
        tree::holes(dir);
        let mut answers = Vec::new();
        for name in ["start", "middle", "end", "all", "many", "reserved"] {
            let file = File::open(dir.join(name)).unwrap();
            let len = file.metadata().unwrap().len();
            for at in [0, 1, 4096, 65_536, 1 << 20, 3 << 20, len - 1, len, len + 1] {
                answers.push(rustix::fs::seek(&file, SeekFrom::Data(at)));
                answers.push(rustix::fs::seek(&file, SeekFrom::Hole(at)));
            }
            answers.push(rustix::fs::seek(&file, SeekFrom::End(-1)));
            answers.push(rustix::fs::seek(&file, SeekFrom::Current(-1 << 40)));
        }
        answers
    });
}

/// A write in a process whose files may not become longer than 10,000 bytes.
fn limited(path: &Path, ignore: bool) -> i32 {
    ROOT.alone(|| {
        let limit = libc::rlimit { rlim_cur: 10_000, rlim_max: 10_000 };
        // SAFETY: `limit` lives through the call; a signal's disposition of this process alone is changed.
        unsafe {
            libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
            if ignore {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            }
        }
        let mut file = File::options().append(true).open(path).unwrap();
        // The first write is cut short, the second ends the process or fails.
        let first = file.write(&[1; 12_000]).unwrap_or(0);
        assert!(first == 10_000 || first == 12_000);
        file.write(b"more").err().and_then(|error| error.raw_os_error()).unwrap_or(0)
    })
}

// claim: A48
#[test]
fn files_grow_to_the_limit_and_no_further() {
    as_below(Commit::Sync, |dir| {
        let file = File::options().write(true).create_new(true).open(dir.join("file")).unwrap();
        // 16 TiB less a block is the largest file of ext4 with blocks of 4 KiB.
        let most = (1_u64 << 44) - 4096;
        let large: [Answer<()>; 4] = [
            file.set_len(most).answer(),
            file.set_len(most + 4097).answer(),
            file.write_at(b"x", u64::MAX >> 1).map(drop).answer(),
            file.write_at(b"xx", 1 << 50).map(drop).answer(),
        ];
        file.set_len(0).unwrap();
        for name in ["signalled", "ignored"] {
            File::create(dir.join(name)).unwrap();
        }
        let killed = limited(&dir.join("signalled"), false);
        let ignored = limited(&dir.join("ignored"), true);
        let sizes = ["signalled", "ignored"].map(|name| dir.join(name).metadata().unwrap().len());
        (large, killed, ignored, sizes)
    });
}

// claim: A56
#[test]
fn what_stat_says_of_size_space_links_and_kind_is_as_below() {
    as_below(Commit::Sync, |dir| {
        tree::holes(&dir.join("holes"));
        fs::create_dir_all(dir.join("dir/sub")).unwrap();
        fs::write(dir.join("dir/file"), vec![1; 100_000]).unwrap();
        File::open(dir.join("dir/file")).unwrap().sync_all().unwrap();
        fs::hard_link(dir.join("dir/file"), dir.join("second")).unwrap();
        std::os::unix::fs::symlink("somewhere", dir.join("link")).unwrap();
        tree::fifo(&dir.join("fifo"));
        tree::device(&dir.join("null"), 1, 3);
        fs::set_permissions(dir.join("second"), fs::Permissions::from_mode(0o444)).unwrap();
        let of = |name: &str| {
            let meta = dir.join(name).symlink_metadata().unwrap();
            (meta.len(), meta.blocks(), meta.blksize(), meta.nlink(), meta.mode(), meta.rdev(), meta.uid())
        };
        let all = ["dir", "dir/sub", "dir/file", "second", "link", "fifo", "null", "holes/start", "holes/all"].map(of);
        let device_works = fs::write(dir.join("null"), "gone").answer();
        (all, device_works, NOBODY.does(|| fs::write(dir.join("second"), "x").answer()))
    });
}

// claim: A56
#[test]
fn pipes_and_sockets_connect_programs() {
    as_below(Commit::Sync, |dir| {
        tree::fifo(&dir.join("pipe"));
        let said = shell(dir, "cat pipe & echo through the pipe > pipe; wait");
        // By a short name, which an address has room for.
        let open = File::open(dir).unwrap();
        let address =
            Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&open).to_string()).join("socket");
        let listener = UnixListener::bind(&address).unwrap();
        let mut near = UnixStream::connect(&address).unwrap();
        near.write_all(b"through the socket").unwrap();
        let mut heard = [0; 18];
        listener.accept().unwrap().0.read_exact(&mut heard).unwrap();
        drop(listener);
        // A process that another test has just made holds copies of all descriptors until it runs its program, and this one listens until then.
        let refused = until("an end of the listening", PATIENCE, || UnixStream::connect(&address).err());
        (said, heard, Err::<(), _>(refused).answer())
    });
}

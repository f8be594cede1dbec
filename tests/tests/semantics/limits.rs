//! What cannot reach a FUSE file system built on fuser, as the application sees it. Each case shows the limit itself,
//! so that it fails when a newer kernel or fuser has lifted it.

use replfs_tests::below::{Answer, Answered};
use replfs_tests::child::Child;
use replfs_tests::command::tool;
use replfs_tests::extents;
use replfs_tests::rig::{Commit, Rig, Setup, watchdog};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, StatxFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

fn file(dir: &Path) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join("file")).unwrap();
    file.write_all_at(&[7; 16_384], 0).unwrap();
    file
}

// claim: A77
#[test]
fn a_file_that_never_had_a_name_is_not_supported() {
    let rig = Rig::start(Commit::Sync);
    let made = rustix::fs::open(rig.mnt(), OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR);
    assert_eq!(made.map(drop), Err(Errno::OPNOTSUPP));
    rig.finish();
}

// claim: A78
#[test]
fn syncfs_writes_mapped_pages_back_and_waits_for_no_target() {
    let rig = Rig::with(Commit::Real, Setup::default());
    let file = file(&rig.mnt());
    let mut map = replfs_tests::mapping::Mapping::shared(&file, 4096).unwrap();
    map.bytes()[0] = b'm';
    rig.settle();
    watchdog::stop(rig.target_pid());
    let start = Instant::now();
    rustix::fs::syncfs(&file).unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(fs::read(rig.src().join("file")).unwrap()[0], b'm');
    watchdog::resume(rig.target_pid());
    drop((map, file));
    rig.finish();
}

// claim: A79
#[test]
fn ranges_are_neither_collapsed_nor_inserted() {
    let rig = Rig::start(Commit::Sync);
    let file = file(&rig.mnt());
    let unshare = FallocateFlags::UNSHARE_RANGE;
    for flags in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE, unshare] {
        assert_eq!(rustix::fs::fallocate(&file, flags, 4096, 4096), Err(Errno::OPNOTSUPP));
    }
    drop(file);
    rig.finish();
}

// claim: A80
#[test]
fn blocks_are_not_shared_between_files() {
    let rig = Rig::start(Commit::Sync);
    let file = file(&rig.mnt());
    let other = File::create(rig.mnt().join("other")).unwrap();
    // SAFETY: FICLONE takes a descriptor and no pointer.
    let cloned = unsafe { libc::ioctl(other.as_raw_fd(), libc::FICLONE, file.as_raw_fd()) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert_eq!((cloned, error), (-1, Some(libc::EOPNOTSUPP)));
    // What asks for a clone where it can have one gets a copy.
    tool(&rig.mnt(), "cp", ["--reflink=auto", "file", "copy"]);
    drop((file, other));
    rig.finish();
}

/// The smallest signal handler, so that a signal interrupts what can be interrupted.
extern "C" fn caught(_: libc::c_int) {}

// claim: A81
#[test]
fn a_signal_ends_a_call_that_waits_when_the_target_has_been_given_up() {
    let rig = Rig::with(Commit::Sync, Setup::default().option(&["--degrade-after", "2s"]));
    let path = rig.mnt().join("file");
    fs::write(&path, "x").unwrap();
    rig.settle();
    watchdog::stop(rig.target_pid());
    let mut child = Child::start(|line| {
        let handler: extern "C" fn(libc::c_int) = caught;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
        let file = File::options().write(true).open(&path).unwrap();
        line.say(1);
        i32::from(file.write_at(b"written", 0).unwrap() == 7)
    });
    child.line.hear();
    let start = Instant::now();
    watchdog::kill(u32::try_from(child.pid()).unwrap(), rustix::process::Signal::TERM);
    assert_eq!(child.end(), 1, "the write is carried out");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    watchdog::resume(rig.target_pid());
    assert_eq!(fs::read(&path).unwrap(), b"written");
    rig.finish();
}

// claim: A82
#[test]
fn the_time_of_birth_is_not_told() {
    let rig = Rig::start(Commit::Sync);
    drop(file(&rig.mnt()));
    let asked = |path: &Path| rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::ALL).unwrap().stx_mask;
    let (below, through) = (asked(&rig.src().join("file")), asked(&rig.mnt().join("file")));
    let btime = StatxFlags::BTIME.bits();
    assert_eq!((below & btime, through & btime), (btime, 0));
    let basic = StatxFlags::BASIC_STATS.bits();
    assert_eq!(through & basic, basic);
    rig.finish();
}

// claim: A83
#[test]
fn o_direct_asks_for_no_alignment() {
    let rig = Rig::start(Commit::Sync);
    drop(file(&rig.mnt()));
    let open = |dir: &Path| {
        File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(dir.join("file")).unwrap()
    };
    let odd = |file: &File| -> [Answer<usize>; 2] {
        let mut buffer = [1; 1000];
        [file.write_at(&buffer[..100], 3).answer(), file.read_at(&mut buffer[1..], 7).answer()]
    };
    assert_eq!(odd(&open(&rig.mnt())), [Ok(100), Ok(999)]);
    drop(file(rig.home()));
    assert_eq!(odd(&open(rig.home())), [Err(Errno::INVAL); 2], "the file system below asks for some");
    rig.finish();
}

// claim: A88
#[test]
fn reads_that_may_not_wait_are_not_supported() {
    let rig = Rig::start(Commit::Sync);
    let file = file(&rig.mnt());
    let read = |flags: u32| {
        let mut buffer = [0; 10];
        let mut into = [IoSliceMut::new(&mut buffer)];
        rustix::io::preadv2(&file, &mut into, 0, ReadWriteFlags::from_bits_retain(flags))
    };
    assert_eq!([read(0), read(ReadWriteFlags::HIPRI.bits())], [Ok(10); 2]);
    assert_eq!(read(ReadWriteFlags::NOWAIT.bits()), Err(Errno::OPNOTSUPP));
    // RWF_DONTCACHE of Linux 6.14; before that unknown flags are refused in the same way.
    assert_eq!(read(0x80), Err(Errno::OPNOTSUPP));
    drop(file);
    rig.finish();
}

// claim: A89
#[test]
fn places_on_disk_are_not_told() {
    let rig = Rig::start(Commit::Sync);
    drop(file(&rig.mnt()));
    assert_eq!(extents::wait_for_disk(&rig.mnt().join("file")).answer(), Err(Errno::OPNOTSUPP));
    rig.finish();
}

// claim: A90
#[test]
fn the_c_library_does_not_know_how_many_links_there_may_be() {
    let rig = Rig::start(Commit::Sync);
    let path = CString::new(rig.mnt().into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: `path` is NUL-terminated and lives through the call.
    let most = unsafe { libc::pathconf(path.as_ptr(), libc::_PC_LINK_MAX) };
    assert_eq!(most, 127, "what the C library has for a file system that it does not know");
    // It is not what the file system does (A34).
    let file = rig.mnt().join("file");
    fs::write(&file, "x").unwrap();
    for n in 0..200 {
        fs::hard_link(&file, rig.mnt().join(n.to_string())).unwrap();
    }
    rig.finish();
}

//! Several processes at once, and the jobs they run.

use crate::rig::{Rig, child};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

const APPENDERS: usize = 4;
const LINES: usize = 500;

/// Runs a job if this is a child process started by [`child`]; nothing otherwise.
#[test]
fn child_jobs() {
    let (Ok(job), Ok(path)) = (std::env::var("FSI_JOB"), std::env::var("FSI_PATH")) else { return };
    match job.split_once(':') {
        Some(("append", tag)) => append(Path::new(&path), tag),
        Some(("map", _)) => map(Path::new(&path)),
        Some(("names", _)) => names(Path::new(&path)),
        _ => panic!("unknown job {job}"),
    }
}

fn append(path: &Path, tag: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    for n in 0..LINES {
        file.write_all(format!("{tag} {n:06} {}\n", tag.repeat(n % 50)).as_bytes()).unwrap();
    }
}

fn names(path: &Path) {
    let mut list = [0_u8; 4096];
    let len = rustix::fs::listxattr(path, &mut list[..]).unwrap();
    println!("{}", String::from_utf8_lossy(&list[..len]));
}

fn map(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    // SAFETY: a new mapping of the whole file, which keeps its size while it is mapped.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    // SAFETY: `at` is the start of a mapping of `len` bytes that nothing else in this process refers to.
    let bytes = unsafe { std::slice::from_raw_parts_mut(at.cast::<u8>(), len) };
    assert!(bytes.iter().all(|b| *b == b'.'));
    bytes[0] = b'<';
    bytes[len / 2] = b'|';
    bytes[len - 1] = b'>';
    // SAFETY: the mapping above.
    assert_eq!(unsafe { libc::msync(at, len, libc::MS_SYNC) }, 0);
    bytes[len / 3] = b'/';
    // SAFETY: the mapping above, which is not used after this.
    assert_eq!(unsafe { libc::munmap(at, len) }, 0);
}

#[test]
fn appends_of_several_processes_never_overlap() {
    let rig = Rig::new();
    File::create(rig.at("log")).unwrap();
    let tags = ["a", "b", "c", "d"];
    let mut children: Vec<_> =
        tags.iter().map(|tag| child(&format!("append:{tag}"), &rig.at("log")).spawn().unwrap()).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let text = fs::read_to_string(rig.below("log")).unwrap();
    assert_eq!(text.lines().count(), APPENDERS * LINES);
    for tag in tags {
        let mine = text.lines().filter(|line| line.starts_with(tag));
        for (n, line) in mine.enumerate() {
            assert_eq!(line, format!("{tag} {n:06} {}", tag.repeat(n % 50)).trim_end_matches('\n'));
        }
    }
    assert_eq!(fs::read_to_string(rig.at("log")).unwrap(), text);
}

#[test]
fn pages_written_through_a_mapping_reach_the_backing_file() {
    let rig = Rig::new();
    let len = 3 * 4096 + 100;
    fs::write(rig.at("m"), vec![b'.'; len]).unwrap();
    assert!(child("map:", &rig.at("m")).status().unwrap().success());
    let file = File::open(rig.at("m")).unwrap();
    file.sync_all().unwrap();
    for side in [&rig.mnt, &rig.src] {
        let data = fs::read(side.join("m")).unwrap();
        assert_eq!(data.len(), len);
        assert_eq!((data[0], data[len / 2], data[len - 1], data[len / 3]), (b'<', b'|', b'>', b'/'));
    }
}

#[test]
fn a_mount_ends_while_it_is_in_use() {
    let mut rig = Rig::new();
    let mut file = File::create(rig.at("f")).unwrap();
    file.write_all(b"open").unwrap();
    let last = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        file.write_all(b" still").unwrap();
    });
    // Returns once the file is closed.
    rig.unmount();
    last.join().unwrap();
    assert_eq!(fs::read(rig.src.join("f")).unwrap(), b"open still");
    assert!(!rig.mnt.join("f").exists());
}

//! What is read ahead and what is not, of files that never were in memory. What becomes of it in a session is `tests/tests/ahead.rs`'s.

use super::*;
use crate::common::{at, create, incarnation, name, write};
use crate::home::Directories;
use crate::queue::Item;
use bytes::Bytes;
use protocol::{Phase, Record, ReplicaId, SeqNo};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 64;

/// A replica on a disk: beside this program, since there may be none under /tmp.
struct Bench {
    dir: tempfile::TempDir,
    ahead: Ahead,
    queue: Arc<Queue>,
    seq: u64,
}

impl Bench {
    fn new() -> Self {
        let beside = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
        let part = |text: &str| {
            fs::create_dir(dir.path().join(text)).unwrap();
            OwnedFd::from(fs::File::open(dir.path().join(text)).unwrap())
        };
        let (tree, meta) = (part("tree"), part("meta"));
        let dirs = Directories { tree, meta, orphans: part("orphan"), aside: part("aside"), stages: part("stage") };
        let home = Home::open(name("tree"), ReplicaId::from_bytes([1; 16]), dirs, true).unwrap();
        home.start(incarnation(1), 0).unwrap();
        let queue = Arc::new(Queue::default());
        let ahead = Ahead::new(Arc::new(home), queue.clone(), Arc::new(Facts::new("tree")));
        Self { dir, ahead, queue, seq: 0 }
    }

    fn path(&self, text: &str) -> PathBuf {
        self.dir.path().join("tree").join(text)
    }

    /// A file that never was in memory.
    fn cold(&self, text: &str) -> PathBuf {
        let path = self.path(text);
        let file = fs::File::options().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(&path).unwrap();
        let room = vec![7; usize::try_from(BLOCK * (BLOCKS + 1)).unwrap()];
        let aligned = room.as_ptr().align_offset(4096);
        file.write_all_at(&room[aligned..][..usize::try_from(BLOCK * BLOCKS).unwrap()], 0).unwrap();
        file.sync_all().unwrap();
        path
    }

    fn push(&mut self, op: Op, payload: &'static [u8]) {
        self.seq += 1;
        let seq = SeqNo::new(self.seq);
        let record = Record { seq, stamp: 0, tolerant: false, phase: Phase::Plain, beside: 0, op };
        let item = Item::Record { record, payload: Bytes::from_static(payload).into(), starts: false };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(self.queue.push(item)));
    }
}

/// Whether reading a block takes the disk. Leaves no trace but the block in memory.
fn is_cold(path: &Path, block: u64) -> bool {
    let file = fs::File::options().read(true).custom_flags(libc::O_NOATIME).open(path).unwrap();
    // Nothing but this block.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let before = usage::blocks_read();
    file.read_exact_at(&mut [0], block * BLOCK).unwrap();
    usage::blocks_read() != before
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::yield_now();
    }
}

#[test]
fn blocks_that_a_write_covers_in_part_are_read_before_its_turn_and_nothing_is_changed() {
    let mut bench = Bench::new();
    let (first, second) = (bench.cold("first"), bench.cold("second"));
    let tree = bench.path("");
    let looked_at = [&first, &second, &tree];
    let before = looked_at.map(|path| fs::metadata(path).unwrap());
    bench.push(Op::List { path: RelPath::root(), after: None, last: None, hash: true }, b"");
    bench.push(create(9, "new"), b"");
    // From the middle of a block to the middle of another; one that needs nothing of what is there; one beyond the end.
    bench.push(write(at(2, "first"), 20 * BLOCK + 100), &[1; 3 * 4096]);
    bench.push(write(at(2, "first"), 40 * BLOCK), &[1; 4096]);
    bench.push(write(at(3, "second"), BLOCKS * BLOCK + 10), b"beyond");
    bench.push(write(at(3, "second"), 50 * BLOCK + 5), b"within");
    bench.ahead.worth();
    until("all are looked at", || bench.ahead.facts.snapshot().read_ahead == 6);
    bench.ahead.end();
    for (path, block) in [(&first, 20), (&first, 23), (&second, 50)] {
        assert!(!is_cold(path, block), "{block} of {} was read", path.display());
    }
    for block in [21, 22, 40] {
        assert!(is_cold(&first, block), "{block} is written over whole");
    }
    let after = looked_at.map(|path| fs::metadata(path).unwrap());
    for (before, after) in before.iter().zip(&after) {
        let facts = |of: &fs::Metadata| (of.len(), of.blocks(), of.mtime_nsec(), of.ctime_nsec(), of.atime_nsec());
        assert_eq!(facts(before), facts(after));
    }
    assert!(!bench.path("new").exists());
}

#[test]
fn what_may_not_be_opened_or_is_not_there_is_left_to_who_applies_it() {
    let mut bench = Bench::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path("pipe"), rustix::fs::Mode::RWXU).unwrap();
    std::os::unix::fs::symlink("/etc", bench.path("link")).unwrap();
    for (node, text) in [(2, "pipe"), (3, "link"), (4, "link/passwd"), (5, "none"), (6, "none/below")] {
        bench.push(write(at(node, text), 5), b"content");
        bench.push(
            Op::SetAttr { place: at(node, text), size: None, owner: None, mode: None, atime: None, mtime: None },
            b"",
        );
    }
    bench.ahead.worth();
    until("all are looked at", || bench.ahead.facts.snapshot().read_ahead == 10);
    bench.ahead.end();
}

#[test]
fn a_wait_for_the_disk_is_told_from_other_waits() {
    let bench = Bench::new();
    let file = fs::File::options().write(true).open(bench.cold("file")).unwrap();
    let mut reads = Reads::default();
    let long = Duration::from_secs(1);
    // What the thread has read before does not count twice.
    reads.waited(long);
    assert!(!reads.waited(long));
    file.write_all_at(b"content", 10 * BLOCK + 5).unwrap();
    assert!(!reads.waited(QUICK / 2) && reads.waited(long));
    assert!(!reads.waited(long));
}

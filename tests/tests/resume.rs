//! A mirror that is cut in the middle goes on from there (S9): what is on the target already does not travel again. Cut by the link,
//! by a kill of the target, by a kill of the source; of a tree of small files and of one big file.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::{Random, seed};
use replfs_tests::tree;
use replfs_tests::wait::{PATIENCE, until};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Size of the big file in MiB, unless this says otherwise.
const BIG_MIB: &str = "REPLFS_TEST_BIG_MIB";
const DEFAULT_BIG_MIB: u64 = 256;

/// Small files.
const FILES: usize = 4000;

/// Granularity in which what is there is counted.
const BLOCK: usize = 16 << 10;

/// Bytes on the link are counted: where several of these share two cores, QUIC sends again what only came late.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug)]
enum Cut {
    Link,
    Target,
    Source,
}

// claim: A133
#[test]
fn a_tree_goes_on_after_the_link_was_cut() {
    goes_on(small, Cut::Link);
}

// claim: A133
#[test]
fn a_tree_goes_on_after_the_target_was_killed() {
    goes_on(small, Cut::Target);
}

// claim: A133
#[test]
fn a_tree_goes_on_after_the_source_was_killed() {
    goes_on(small, Cut::Source);
}

// claim: A133
#[test]
fn a_big_file_goes_on_after_the_link_was_cut() {
    goes_on(big, Cut::Link);
}

// claim: A133
#[test]
fn a_big_file_goes_on_after_the_target_was_killed() {
    goes_on(big, Cut::Target);
}

// claim: A133
#[test]
fn a_big_file_goes_on_after_the_source_was_killed() {
    goes_on(big, Cut::Source);
}

fn small(src: &Path) {
    tree::sources(src, FILES);
}

fn big(src: &Path) {
    let mib = std::env::var(BIG_MIB).ok().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_BIG_MIB);
    let mut file = File::create(src.join("big")).unwrap();
    let mut random = Random::new(21);
    for _ in 0..mib {
        file.write_all(&random.bytes(1 << 20)).unwrap();
    }
}

fn goes_on(make: fn(&Path), cut: Cut) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    let setup = Setup::default().linked().option(&["--degrade-after", "2s", "--connect-timeout", "3s"]);
    let mut rig = Rig::prepare(Commit::Real, setup);
    make(&rig.src());
    let files = files(&rig.src());
    let total: u64 = files.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    rig.mount();
    let moment = total / 5 + Random::new(seed).below(total * 3 / 10);
    // What is on its way may all be on its way still.
    until("some of it to be there", PATIENCE * 4, || {
        (rig.link().bytes_there() >= moment && has_some(&rig, &files)).then_some(())
    });
    match cut {
        Cut::Link => {
            rig.link().cut();
            rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
        }
        Cut::Target => rig.kill_target(),
        Cut::Source => rig.kill_source(),
    }
    if matches!(cut, Cut::Source) {
        drained(&rig);
    }
    let missing = missing(&rig, &files);
    let before = rig.link().bytes_there();
    assert!(missing < total, "nothing of {total} bytes had arrived: it was not cut in the middle");
    match cut {
        Cut::Link => rig.link().mend(),
        Cut::Target => rig.start_target(),
        Cut::Source => rig.mount(),
    }
    until("the mirror to be over", PATIENCE * 4, || {
        rig.try_status().filter(replfs_tests::rig::status::Source::is_settled)
    });
    let again = rig.link().bytes_there() - before;
    println!("{cut:?}: {total} bytes in all, {missing} were missing, {again} went over the link afterwards");
    // What is sent has frames, packets and names around it.
    let around = missing / 16 + files.len() as u64 * 400;
    assert!(again <= missing + around + total / 20, "{again} bytes for {missing} missing of {total}");
    rig.finish();
}

/// What a source that is dead had handed to the kernel is still on its way, up to its window: that is not sent again.
fn drained(rig: &Rig) {
    let (mut seen, mut since) = (rig.link().bytes_there(), Instant::now());
    until("what was on its way to arrive", PATIENCE, || {
        let now = rig.link().bytes_there();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        (since.elapsed() >= Duration::from_millis(300)).then_some(())
    });
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// Whether the target has any of it, which changes meanwhile: a block of a staging file, or a file.
fn has_some(rig: &Rig, all: &[PathBuf]) -> bool {
    let has_bytes = |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0);
    let listed = fs::read_dir(rig.root().join(".replfs").join(replfs_tests::rig::NAME).join("stage"));
    let staged = listed.into_iter().flatten().flatten().any(|entry| has_bytes(&entry.path()));
    staged || all.iter().any(|path| has_bytes(&rig.replica().join(path.strip_prefix(rig.src()).unwrap())))
}

/// Bytes that the target has neither under the file's name nor in a staging file.
fn missing(rig: &Rig, all: &[PathBuf]) -> u64 {
    let stages: Vec<PathBuf> = files(&rig.root().join(".replfs").join(replfs_tests::rig::NAME).join("stage"));
    all.iter()
        .map(|path| {
            let there = rig.replica().join(path.strip_prefix(rig.src()).unwrap());
            let copies: Vec<File> = stages.iter().chain([&there]).filter_map(|path| File::open(path).ok()).collect();
            let file = File::open(path).unwrap();
            let len = file.metadata().unwrap().len();
            let absent = |at: &u64| {
                let len = usize::try_from(len - at).unwrap().min(BLOCK);
                let wanted = block(&file, *at, len);
                !copies.iter().any(|copy| block(copy, *at, len) == wanted)
            };
            (0..len).step_by(BLOCK).filter(absent).map(|at| (len - at).min(BLOCK as u64)).sum::<u64>()
        })
        .sum()
}

fn block(file: &File, at: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
}

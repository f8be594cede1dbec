//! What the fuzzers try (`fuzz/`), on stable and within a bound: the corpora that are checked in, and some thousand mutations of them from fixed
//! seeds, through the same functions (docs/fuzzing.md). A failure names the file, or the number of the mutation, and leaves its bytes in /tmp.
#![allow(clippy::unwrap_used)]

use replfs_fuzzed::{Mutator, TARGETS, Target};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Mutations of each format at most.
const MUTATIONS: u64 = 8000;
/// A slow machine does fewer of them, but never fewer than a tenth.
const ENOUGH: Duration = Duration::from_secs(8);

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}

fn survives(target: &Target, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        let kept = std::env::temp_dir().join(format!("replfs-fuzzed-{}", target.name));
        fs::write(&kept, bytes).unwrap();
        panic!("{}: {what} (the bytes are in {})", target.name, kept.display());
    }
}

// claim: A220
#[test]
fn no_bytes_of_the_corpora_or_near_them_make_a_parser_panic_or_believe_two_things() {
    for target in TARGETS {
        let corpus = corpus(target.name);
        assert!(!corpus.is_empty(), "{} has a corpus", target.name);
        for (path, bytes) in &corpus {
            survives(target, bytes, &path.display().to_string());
        }
        let begun = Instant::now();
        let mut done = 0;
        while done < MUTATIONS && (done < MUTATIONS / 10 || begun.elapsed() < ENOUGH) {
            let mut mutator = Mutator::new(done);
            let (seed, other) = (mutator.below(corpus.len()), mutator.below(corpus.len()));
            let bytes = mutator.mutate(&corpus[seed].1, &corpus[other].1);
            survives(target, &bytes, &format!("mutation {done}"));
            done += 1;
        }
        println!("{}: {} files, {done} mutations in {:?}", target.name, corpus.len(), begun.elapsed());
    }
}

#[test]
fn every_fuzzer_has_its_format_and_every_format_its_fuzzer() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml")).unwrap();
    let bins = manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let mut fuzzers: Vec<&str> = bins.filter(|name| *name != "replfs-fuzz").collect();
    let mut formats: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    fuzzers.sort_unstable();
    formats.sort_unstable();
    assert_eq!(fuzzers, formats);
    let total: u64 = TARGETS.iter().flat_map(|target| corpus(target.name)).map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(total < 300_000, "the corpora have {total} bytes: fuzz cmin");
}

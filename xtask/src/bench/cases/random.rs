//! Pages of 4 KiB anywhere in a file of 64 MiB.

use crate::bench::case::{Caches, Case, Done, Place, Timed, repeat};
use crate::bench::fixture::{Fixture, RANDOM_BYTES, WIDE_BYTES, noise};
use anyhow::Result;
use replfs_tests::seed::Random;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;

/// Reads of a cold unit, few enough that most pages are read once.
const COLD_READS: usize = 1500;

pub fn cases() -> Vec<Case> {
    let case = |name, about, caches, kept_bytes, prepare| Case {
        name,
        about,
        fixtures: &[Fixture::Random],
        caches,
        kept_bytes,
        prepare,
    };
    let warm = Caches::AsPrepared;
    vec![
        case("rand-read-4K-warm", "read of 4 KiB anywhere in 64 MiB, in the page cache", warm, 0, read_warm),
        case("rand-read-4K-cold", "the same, nothing cached", Caches::Cold, 0, read_cold),
        case("rand-read-4K-cold-above", "the same, cached below the mount only", Caches::ColdAbove, 0, read_cold),
        case("rand-write-4K", "write of 4 KiB anywhere in 64 MiB, page cache", warm, 300 << 20, |place| {
            write(place, false)
        }),
        Case {
            fixtures: &[Fixture::Wide],
            ..case("W2-rand-write-fsync", "the same in 256 MiB, and an fsync at the end", warm, 700 << 20, write_wide)
        },
        case("W3-write-4K-fdatasync", "write of 4 KiB anywhere in 64 MiB and fdatasync", warm, 32 << 20, |place| {
            write(place, true)
        }),
    ]
}

/// Offsets of pages, more of them than the processor's caches remember.
fn offsets(len: u64) -> Vec<u64> {
    let mut random = Random::new(5);
    (0..1 << 16).map(|_| random.below(len / PAGE as u64) * PAGE as u64).collect()
}

fn read_warm(place: &Place) -> Result<Timed> {
    let path = place.fixture(Fixture::Random);
    std::io::copy(&mut File::open(&path)?, &mut std::io::sink())?;
    let (file, offsets, time) = (File::open(path)?, offsets(RANDOM_BYTES), place.time());
    let mut page = vec![0; PAGE];
    Ok(Box::new(move || {
        let done = repeat(time, |n| Ok(file.read_exact_at(&mut page, offsets[n % offsets.len()])?))?;
        Ok(Done::Operations(done))
    }))
}

fn read_cold(place: &Place) -> Result<Timed> {
    let (file, offsets) = (File::open(place.fixture(Fixture::Random))?, offsets(RANDOM_BYTES));
    // Reading ahead would make some of it warm, by luck.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
    let reads = place.count(COLD_READS);
    let mut page = vec![0; PAGE];
    Ok(Box::new(move || {
        for offset in offsets.iter().cycle().take(reads) {
            file.read_exact_at(&mut page, *offset)?;
        }
        Ok(Done::Operations(reads as u64))
    }))
}

fn write(place: &Place, sync: bool) -> Result<Timed> {
    let file = OpenOptions::new().write(true).open(place.fixture(Fixture::Random))?;
    let (offsets, time, page) = (offsets(RANDOM_BYTES), place.time(), noise(PAGE));
    Ok(Box::new(move || {
        let done = repeat(time, |n| {
            file.write_all_at(&page, offsets[n % offsets.len()])?;
            if sync {
                file.sync_data()?;
            }
            Ok(())
        })?;
        Ok(Done::Operations(done))
    }))
}

/// As the peers were measured: long enough that most pages are dirty once and some twice, and with what it takes to write
/// them back.
fn write_wide(place: &Place) -> Result<Timed> {
    let file = OpenOptions::new().write(true).open(place.fixture(Fixture::Wide))?;
    let (offsets, time, page) = (offsets(WIDE_BYTES), place.time() * 4, noise(PAGE));
    Ok(Box::new(move || {
        let done = repeat(time, |n| Ok(file.write_all_at(&page, offsets[n % offsets.len()])?))?;
        file.sync_all()?;
        Ok(Done::Operations(done))
    }))
}

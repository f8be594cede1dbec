//! One large file from its start to its end, 1 MiB per call.

use crate::bench::case::{Caches, Case, Done, Place, Timed, repeat};
use crate::bench::fixture::{Fixture, LARGE_BYTES, noise};
use anyhow::{Result, ensure};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

const BLOCK: usize = 1 << 20;
const BLOCK_BYTES: u64 = BLOCK as u64;

const PAGE: usize = 4096;

pub fn cases() -> Vec<Case> {
    let read = |name, about, caches, prepare| Case {
        name,
        about,
        fixtures: &[Fixture::Large],
        caches,
        kept_bytes: 0,
        prepare,
    };
    vec![
        Case {
            name: "seq-write-1M",
            about: "write of 1 MiB into a new file, 128 MiB, page cache",
            fixtures: &[],
            caches: Caches::AsPrepared,
            kept_bytes: 128 << 20,
            prepare: |place| write(place, 128, 0, false),
        },
        Case {
            name: "seq-write-1M-unaligned",
            about: "the same from a buffer that does not begin at a page, as languages' own buffers do",
            fixtures: &[],
            caches: Caches::AsPrepared,
            kept_bytes: 128 << 20,
            prepare: |place| write(place, 128, 16, false),
        },
        Case {
            name: "W1-write-fsync",
            about: "write of 1 MiB into a new file, 256 MiB, and fsync",
            fixtures: &[],
            caches: Caches::AsPrepared,
            kept_bytes: 256 << 20,
            prepare: |place| write(place, 256, 0, true),
        },
        read("seq-read-1M-warm", "read of 1 MiB, in the page cache", Caches::AsPrepared, read_warm),
        read("seq-read-1M-cold", "the same, nothing cached", Caches::Cold, read_once),
        read("seq-read-1M-cold-above", "the same, cached below the mount only", Caches::ColdAbove, read_once),
    ]
}

/// `shift`: how far from a page's start the buffer begins. A request carries at most 256 pages, so 1 MiB that touches 257 is two.
fn write(place: &Place, blocks: usize, shift: usize, sync: bool) -> Result<Timed> {
    let memory = noise(BLOCK + 2 * PAGE);
    let start = memory.as_ptr().align_offset(PAGE) + shift;
    let blocks = place.count(blocks);
    let mut file = File::create(place.dir.join("file"))?;
    Ok(Box::new(move || {
        for _ in 0..blocks {
            file.write_all(&memory[start..start + BLOCK])?;
        }
        if sync {
            file.sync_all()?;
        }
        Ok(Done::Bytes(blocks as u64 * BLOCK_BYTES))
    }))
}

fn read_warm(place: &Place) -> Result<Timed> {
    let file = File::open(place.fixture(Fixture::Large))?;
    let mut block = vec![0; BLOCK];
    for n in 0..LARGE_BYTES / BLOCK_BYTES {
        file.read_exact_at(&mut block, n * BLOCK_BYTES)?;
    }
    let time = place.time();
    Ok(Box::new(move || {
        let done =
            repeat(
                time,
                |n| Ok(file.read_exact_at(&mut block, n as u64 % (LARGE_BYTES / BLOCK_BYTES) * BLOCK_BYTES)?),
            )?;
        Ok(Done::Bytes(done * BLOCK_BYTES))
    }))
}

fn read_once(place: &Place) -> Result<Timed> {
    let file = File::open(place.fixture(Fixture::Large))?;
    let mut block = vec![0; BLOCK];
    Ok(Box::new(move || {
        let mut at = 0;
        loop {
            let len = file.read_at(&mut block, at)?;
            at += len as u64;
            if len == 0 {
                ensure!(at == LARGE_BYTES, "{at} bytes were read instead of {LARGE_BYTES}");
                return Ok(Done::Bytes(at));
            }
        }
    }))
}

//! Compares the bytes of two files and where they have data. Nothing of names and attributes.

use crate::extents;
use anyhow::{Context, Result};
use rustix::fs::{Advice, OFlags, SeekFrom};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Granularity of the map of data: file systems may round to their block.
const BLOCK: u64 = 4096;

/// Allocation may differ by this much without meaning: an attribute block, index blocks of a fragmented file.
const METADATA_SLACK: u64 = 32 << 10;

/// A stretch of blocks with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    start: u64,
    end: u64,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Whether two amounts of allocated space differ by more than the metadata of a file with so many extents.
pub fn allocation_differs(a: u64, b: u64, extents: usize) -> bool {
    a.abs_diff(b) > METADATA_SLACK + extents as u64 * 64
}

/// The same path in both trees, open.
pub struct Pair {
    a: File,
    b: File,
}

impl Pair {
    pub fn open(a: &Path, b: &Path) -> Result<Self> {
        let open = |path: &Path| {
            std::fs::OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)
                .with_context(|| format!("cannot open {}", path.display()))
        };
        Ok(Self { a: open(a)?, b: open(b)? })
    }

    /// Both maps of data. An allocated but never written range that somebody has read counts as data while it is in
    /// the page cache; so where the maps differ, the file systems are asked what was written, if they can tell, and else both files leave the
    /// cache first.
    pub fn data_maps(&self) -> Result<(Vec<Extent>, Vec<Extent>)> {
        let maps = (data_map(&self.a)?, data_map(&self.b)?);
        if maps.0 == maps.1 {
            return Ok(maps);
        }
        for file in [&self.a, &self.b] {
            file.sync_data()?;
            rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?;
        }
        match (extents::written(&self.a), extents::written(&self.b)) {
            (Ok(a), Ok(b)) => Ok((joined(a), joined(b))),
            _ => Ok((data_map(&self.a)?, data_map(&self.b)?)),
        }
    }

    /// Position of the first byte that differs. What both maps call a hole is zero on both sides and is not read: files of
    /// many terabytes have holes only. Files of different length differ at the end of the shorter one.
    pub fn first_difference(&self, maps: &(Vec<Extent>, Vec<Extent>)) -> Result<Option<u64>> {
        let mut stretches: Vec<Extent> = maps.0.iter().chain(&maps.1).copied().collect();
        stretches.sort_unstable_by_key(|extent| extent.start);
        let (mut x, mut y) = (vec![0; 256 << 10], vec![0; 256 << 10]);
        let mut read = 0;
        for stretch in stretches {
            let mut at = stretch.start.max(read);
            while at < stretch.end {
                let len = usize::try_from(stretch.end - at).unwrap_or(usize::MAX).min(x.len());
                let (n, m) = (fill(&self.a, &mut x[..len], at)?, fill(&self.b, &mut y[..len], at)?);
                if x[..n] != y[..m] {
                    let same = x[..n].iter().zip(&y[..m]).take_while(|(p, q)| p == q).count();
                    return Ok(Some(at + same as u64));
                }
                if n == 0 {
                    break;
                }
                at += n as u64;
            }
            read = at;
        }
        Ok(None)
    }
}

fn fill(file: &File, buffer: &mut [u8], at: u64) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

fn data_map(file: &File) -> Result<Vec<Extent>> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(joined(found)),
            Err(error) => return Err(error).context("cannot seek data"),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).context("cannot seek a hole")?;
        found.push(start..end);
        at = end;
    }
}

/// The blocks of stretches, those that meet as one.
fn joined(stretches: Vec<Range<u64>>) -> Vec<Extent> {
    let mut map: Vec<Extent> = Vec::new();
    for Range { start, end } in stretches {
        let (first, last) = (start / BLOCK * BLOCK, end.next_multiple_of(BLOCK));
        match map.last_mut() {
            Some(before) if before.end >= first => before.end = last,
            _ => map.push(Extent { start: first, end: last }),
        }
    }
    map
}

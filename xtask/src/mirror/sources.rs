//! What is mirrored: trees with files of all sizes, a large file, and a change of some of its blocks. The same every time.

use anyhow::Result;
use replfs_tests::seed::Random;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A tree of `files` files of some 9 KiB on average: most small, a few of hundreds of KiB.
pub fn tree(root: &Path, files: u64) -> Result<()> {
    let mut random = Random::new(31);
    let content = random.bytes(1 << 20);
    let mut made = 0;
    for package in 0.. {
        let mut dir = root.join(format!("part{:03}", package / 40)).join(format!("package{package:05}"));
        if package % 3 == 0 {
            dir.push("inner");
        }
        fs::create_dir_all(&dir)?;
        for file in 0..10 + random.below(31) {
            if made == files {
                return Ok(());
            }
            let bound = match random.below(100) {
                0..60 => 4 << 10,
                60..90 => 16 << 10,
                90..99 => 64 << 10,
                _ => 512 << 10,
            };
            let (at, len) = (random.below(1 << 19), random.below(bound));
            let (at, len) = (usize::try_from(at)?, usize::try_from(len)?);
            fs::write(dir.join(format!("file{file}.data")), &content[at..at + len])?;
            made += 1;
        }
    }
    Ok(())
}

/// A file of so many MiB that nothing can guess.
pub fn file(path: &Path, mib: u64) -> Result<()> {
    let mut random = Random::new(32);
    let mut file = File::create(path)?;
    for _ in 0..mib {
        file.write_all(&random.bytes(1 << 20))?;
    }
    Ok(())
}

/// Changes one in a hundred of its blocks of 4 KiB, others in every round.
pub fn change_blocks(path: &Path, round: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let blocks = file.metadata()?.len() / 4096;
    let mut random = Random::new(33 + round);
    for _ in 0..blocks / 100 {
        file.write_all_at(&random.bytes(4096), random.below(blocks) * 4096)?;
    }
    Ok(())
}

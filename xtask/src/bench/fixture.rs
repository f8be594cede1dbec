//! What lies in SRC and in the bare directory before a mount begins, so that reading it needs no preparation, and what both
//! sides share beside them.

use super::postgres;
use anyhow::{Context, Result};
use replfs_tests::command;
use replfs_tests::seed::Random;
use replfs_tests::tree;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Size of [`Fixture::Large`].
pub const LARGE_BYTES: u64 = 128 << 20;

/// Size of [`Fixture::Random`].
pub const RANDOM_BYTES: u64 = 64 << 20;

/// Size of [`Fixture::Wide`].
pub const WIDE_BYTES: u64 = 256 << 20;

/// Files in [`Fixture::Tree`], and in the archive that is unpacked where nothing else is asked for.
pub const TREE_FILES: usize = 3000;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fixture {
    /// A file that is read.
    Large,
    /// A file that is written here and there.
    Random,
    /// A larger one.
    Wide,
    /// A tree of small files in nested directories.
    Tree,
    /// A database cluster.
    Cluster,
}

impl Fixture {
    /// The name that it lies under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Random => "random",
            Self::Wide => "wide",
            Self::Tree => "tree",
            Self::Cluster => "cluster",
        }
    }

    /// Makes it at `path`. Errors: the disk's.
    pub fn make(self, path: &Path, scratch: &Path) -> Result<()> {
        match self {
            Self::Large => fill(path, LARGE_BYTES),
            Self::Random => fill(path, RANDOM_BYTES),
            Self::Wide => fill(path, WIDE_BYTES),
            Self::Tree => {
                tree::sources(path, TREE_FILES);
                Ok(())
            }
            Self::Cluster => postgres::copy_cluster(scratch, path),
        }
        .with_context(|| format!("cannot make {}", path.display()))
    }
}

/// Content that nothing can guess; the same in every run.
pub fn noise(len: usize) -> Vec<u8> {
    Random::new(3).bytes(len)
}

fn fill(path: &Path, len: u64) -> Result<()> {
    let block = noise(1 << 20);
    let mut file = File::create(path)?;
    for _ in 0..len >> 20 {
        file.write_all(&block)?;
    }
    Ok(())
}

/// Makes the archive of a tree of so many files that is unpacked, in the scratch directory and once; where it is.
pub fn archive(scratch: &Path, files: usize) -> Result<PathBuf> {
    let archive = scratch.join(format!("tree-{files}.tar"));
    if !archive.exists() {
        let tree = scratch.join("unpacked");
        tree::sources(&tree, files);
        command::tool(&tree, "tar", ["-cf".as_ref(), archive.as_os_str(), ".".as_ref()]);
        fs::remove_dir_all(&tree)?;
    }
    Ok(archive)
}

//! Looking without changing: attributes, opening, walking through a tree.

use crate::bench::case::{Caches, Case, Done, Place, Timed, c_path, repeat};
use crate::bench::fixture::Fixture;
use anyhow::{Result, ensure};
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that are looked at over and over.
const FILES: usize = 1000;

pub fn cases() -> Vec<Case> {
    let case =
        |name, about, caches, prepare| Case { name, about, fixtures: &[Fixture::Tree], caches, kept_bytes: 0, prepare };
    let warm = Caches::AsPrepared;
    vec![
        case("statfs", "statfs: the smallest question that always goes to the daemon", warm, ask),
        case("stat-cached", "lstat of 1000 files, over and over", warm, stat),
        case("open-close", "open for reading and close, 1000 files, over and over", warm, open),
        case("walk-warm", "readdir and lstat of a tree of 3000 files, again", warm, walk_again),
        case("walk-cold-above", "the same, cached below the mount only", Caches::ColdAbove, walk_once),
        case("walk-cold", "the same, nothing cached", Caches::Cold, walk_once),
    ]
}

fn ask(place: &Place) -> Result<Timed> {
    let (dir, time) = (c_path(&place.dir)?, place.time());
    Ok(Box::new(move || {
        let done = repeat(time, |_| {
            rustix::fs::statfs(&dir)?;
            Ok(())
        })?;
        Ok(Done::Operations(done))
    }))
}

fn stat(place: &Place) -> Result<Timed> {
    let (files, time) = (files(place)?, place.time());
    Ok(Box::new(move || {
        let done = repeat(time, |n| {
            rustix::fs::lstat(&files[n % files.len()])?;
            Ok(())
        })?;
        Ok(Done::Operations(done))
    }))
}

fn open(place: &Place) -> Result<Timed> {
    let (files, time) = (files(place)?, place.time());
    Ok(Box::new(move || {
        let done = repeat(time, |n| {
            rustix::fs::open(&files[n % files.len()], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            Ok(())
        })?;
        Ok(Done::Operations(done))
    }))
}

fn walk_again(place: &Place) -> Result<Timed> {
    let tree = place.fixture(Fixture::Tree);
    walk(&tree, &mut |_| {})?;
    let time = place.time();
    Ok(Box::new(move || {
        let (mut seen, end) = (0, std::time::Instant::now() + time);
        while std::time::Instant::now() < end {
            walk(&tree, &mut |_| seen += 1)?;
        }
        Ok(Done::Operations(seen))
    }))
}

#[allow(clippy::unnecessary_wraps)] // all cases are prepared alike
fn walk_once(place: &Place) -> Result<Timed> {
    let tree = place.fixture(Fixture::Tree);
    Ok(Box::new(move || {
        let mut seen = 0;
        walk(&tree, &mut |_| seen += 1)?;
        Ok(Done::Operations(seen))
    }))
}

/// Lists and looks at everything below a directory.
fn walk(dir: &Path, found: &mut impl FnMut(PathBuf)) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let is_dir = fs::symlink_metadata(&path)?.is_dir();
        if is_dir {
            walk(&path, found)?;
        }
        found(path);
    }
    Ok(())
}

/// Files of the tree, looked at once.
fn files(place: &Place) -> Result<Vec<CString>> {
    let mut files = Vec::new();
    walk(&place.fixture(Fixture::Tree), &mut |path| {
        if files.len() < FILES && path.extension().is_some() {
            files.push(path);
        }
    })?;
    ensure!(files.len() == FILES, "the tree has only {} files", files.len());
    files.iter().map(|path| c_path(path)).collect()
}

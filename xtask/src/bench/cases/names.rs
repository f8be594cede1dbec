//! Names that come, move and go: files made, renamed, deleted; directories.

use crate::bench::case::{Caches, Case, Done, Place, Timed, c_path};
use crate::bench::fixture::noise;
use anyhow::Result;
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CString;
use std::fs;
use std::path::PathBuf;

/// Files in one directory.
const PER_DIRECTORY: usize = 100;

/// Files of a unit.
const FILES: usize = 2000;

/// Directories of W8.
const DIRECTORIES: usize = 20;

pub fn cases() -> Vec<Case> {
    let case = |name, about, kept_bytes, prepare| Case {
        name,
        about,
        fixtures: &[],
        caches: Caches::AsPrepared,
        kept_bytes,
        prepare,
    };
    vec![
        case("W4-create-4K", "create, write of 4 KiB, close; 100 files per new directory", 16 << 20, create),
        case("mkdir", "mkdir", 2 << 20, make_directories),
        case("rename", "rename within a directory", 4 << 20, rename),
        case("unlink", "unlink of files of 4 KiB", 16 << 20, unlink),
        case(
            "W8-rename-unlink",
            "rename into the next directory, one in five onto a file; delete 9 of 10",
            16 << 20,
            rename_and_unlink,
        ),
    ]
}

fn create(place: &Place) -> Result<Timed> {
    let count = place.count(FILES);
    let dirs = c_paths((0..count.div_ceil(PER_DIRECTORY)).map(|n| place.dir.join(format!("d{n}"))))?;
    let files = c_paths((0..count).map(|n| place.dir.join(format!("d{}/f{n}", n / PER_DIRECTORY))))?;
    let page = noise(4096);
    Ok(Box::new(move || {
        for (dir, files) in dirs.iter().zip(files.chunks(PER_DIRECTORY)) {
            rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))?;
            for file in files {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = rustix::fs::open(file, flags, Mode::from_raw_mode(0o644))?;
                rustix::io::write(&file, &page)?;
            }
        }
        Ok(Done::Operations(files.len() as u64))
    }))
}

fn make_directories(place: &Place) -> Result<Timed> {
    let dirs = c_paths((0..place.count(FILES)).map(|n| place.dir.join(format!("d{n}"))))?;
    Ok(Box::new(move || {
        for dir in &dirs {
            rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))?;
        }
        Ok(Done::Operations(dirs.len() as u64))
    }))
}

fn rename(place: &Place) -> Result<Timed> {
    let count = place.count(FILES);
    let before = files(place, count)?;
    let after = c_paths((0..count).map(|n| place.dir.join(format!("r{n}"))))?;
    Ok(Box::new(move || {
        for (before, after) in before.iter().zip(&after) {
            rustix::fs::renameat(CWD, before, CWD, after)?;
        }
        Ok(Done::Operations(before.len() as u64))
    }))
}

fn unlink(place: &Place) -> Result<Timed> {
    let files = files(place, place.count(FILES))?;
    Ok(Box::new(move || {
        for file in &files {
            rustix::fs::unlink(file)?;
        }
        Ok(Done::Operations(files.len() as u64))
    }))
}

fn rename_and_unlink(place: &Place) -> Result<Timed> {
    let per_directory = place.count(FILES) / DIRECTORIES;
    let (mut renames, mut doomed) = (Vec::new(), Vec::new());
    for dir in 0..DIRECTORIES {
        fs::create_dir(place.dir.join(format!("d{dir}")))?;
        for n in 0..per_directory {
            let before = place.dir.join(format!("d{dir}/f{n}"));
            fs::write(&before, format!("{dir}-{n}\n").repeat(20))?;
            // Every fifth goes onto the name that the one before it was given.
            let onto = n % 5 == 0 && n > 0;
            let next = (dir + 1) % DIRECTORIES;
            let after = c_path(&place.dir.join(format!("d{next}/r{dir}_{}", if onto { n - 1 } else { n })))?;
            if !onto && n % 10 != 1 {
                doomed.push(after.clone());
            }
            renames.push((c_path(&before)?, after));
        }
    }
    Ok(Box::new(move || {
        for (before, after) in &renames {
            rustix::fs::renameat(CWD, before, CWD, after)?;
        }
        for file in &doomed {
            rustix::fs::unlink(file)?;
        }
        Ok(Done::Operations((renames.len() + doomed.len()) as u64))
    }))
}

/// Files of 4 KiB in one directory.
fn files(place: &Place, count: usize) -> Result<Vec<CString>> {
    let page = noise(4096);
    let paths: Vec<PathBuf> = (0..count).map(|n| place.dir.join(format!("f{n}"))).collect();
    for path in &paths {
        fs::write(path, &page)?;
    }
    c_paths(paths.into_iter())
}

fn c_paths(paths: impl Iterator<Item = PathBuf>) -> Result<Vec<CString>> {
    paths.map(|path| c_path(&path)).collect()
}

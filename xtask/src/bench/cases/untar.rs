//! Unpacking a source tree.

use crate::bench::case::{Caches, Case, Done, Place, Timed};
use crate::bench::fixture::{self, TREE_FILES};
use anyhow::{Result, ensure};
use std::process::{Command, Stdio};

pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "W5-untar",
        about: "tar -x of a tree of 3000 files, per file",
        fixtures: &[],
        caches: Caches::AsPrepared,
        kept_bytes: 32 << 20,
        prepare,
    }]
}

/// Files of a unit that is counted.
const COUNTED_FILES: usize = 20_000;

fn prepare(place: &Place) -> Result<Timed> {
    let files = if place.counted { place.count(COUNTED_FILES) } else { TREE_FILES };
    let archive = fixture::archive(&place.scratch, files)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(&place.dir).stdin(Stdio::null());
    Ok(Box::new(move || {
        ensure!(tar.status()?.success(), "tar failed; its message is above");
        Ok(Done::Operations(files as u64))
    }))
}

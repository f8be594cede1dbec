//! Unpacking a source tree.

use crate::bench::case::{Caches, Case, Done, Place, Timed};
use crate::bench::fixture::{self, ARCHIVE, TREE_FILES};
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

fn prepare(place: &Place) -> Result<Timed> {
    fixture::archive(&place.scratch)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(place.scratch.join(ARCHIVE)).arg("-C").arg(&place.dir).stdin(Stdio::null());
    Ok(Box::new(move || {
        ensure!(tar.status()?.success(), "tar failed; its message is above");
        Ok(Done::Operations(TREE_FILES as u64))
    }))
}

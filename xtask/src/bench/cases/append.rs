//! A log: short lines at the end of a file.

use crate::bench::case::{Caches, Case, Done, Place, Timed, repeat};
use anyhow::Result;
use std::fs::OpenOptions;
use std::io::Write;

/// Appends of a unit that is counted.
const APPENDS: usize = 50_000;

pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "W9-append-100B",
        about: "write of 100 bytes with O_APPEND",
        fixtures: &[],
        caches: Caches::AsPrepared,
        // A record is its 100 bytes and a head of about as many.
        kept_bytes: 32 << 20,
        prepare,
    }]
}

fn prepare(place: &Place) -> Result<Timed> {
    let mut log = OpenOptions::new().create_new(true).append(true).open(place.dir.join("log"))?;
    let line = [b'x'; 100];
    if place.counted {
        let count = place.count(APPENDS);
        return Ok(Box::new(move || {
            for _ in 0..count {
                log.write_all(&line)?;
            }
            Ok(Done::Operations(count as u64))
        }));
    }
    let time = place.time();
    Ok(Box::new(move || Ok(Done::Operations(repeat(time, |_| Ok(log.write_all(&line)?))?))))
}

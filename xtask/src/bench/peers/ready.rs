//! Whether a peer that was just started replicates yet: events before it watches are lost, so it is asked again and again.

use super::peer::Peer;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one file may take to arrive before the next is written.
const EACH: Duration = Duration::from_secs(3);

/// Waits until a file that the application writes is in the replica, and is gone there when it was removed.
pub fn wait(peer: &impl Peer) -> Result<()> {
    match peer.replica() {
        Some(replica) => appears(&peer.app(), &replica),
        None => Ok(()),
    }
}

/// The same of two directories.
pub fn appears(app: &Path, replica: &Path) -> Result<()> {
    let start = Instant::now();
    for round in 0_u32.. {
        let name = format!("ready-{round}");
        fs::write(app.join(&name), &name)?;
        let there = within(EACH, || fs::read_to_string(replica.join(&name)).is_ok_and(|text| text == name));
        fs::remove_file(app.join(&name))?;
        if there && within(EACH * 10, || !replica.join(&name).exists()) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "nothing arrives in {}", replica.display());
    }
    Ok(())
}

fn within(time: Duration, mut is: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is() {
        if start.elapsed() > time {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

//! Sees on the replica when the target has applied a write: the last bytes of each write are its own, and are looked for where they
//! belong. This asks nobody and takes next to no processor time; the replica is ordinary files.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a mark.
pub const MARK: usize = 8;

/// Between two looks. A look is a system call of a microsecond.
const PAUSE: Duration = Duration::from_micros(50);

/// How long the next write may take to appear.
const PATIENCE: Duration = Duration::from_secs(90);

/// Puts the mark of the write that ends there into its last bytes; it is at least [`MARK`] long.
pub fn mark(write: &mut [u8], end: u64) {
    let at = write.len() - MARK;
    write[at..].copy_from_slice(&of(end));
}

/// What stands before the end of a write. No file has it by chance, and none of zeros does.
fn of(end: u64) -> [u8; MARK] {
    (end ^ 0x5EA1_ED0F_F1CE_5EA1).to_le_bytes()
}

/// Waits until the writes that end there, in this order, have all appeared in a file that may not be there yet; when each was seen.
pub fn wait(path: &Path, ends: &[u64]) -> Result<Vec<Instant>> {
    // Without this a pause is twice as long. It is this thread's alone.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("cannot set the slack of timers")?;
    let (mut seen, mut file, mut last) = (Vec::with_capacity(ends.len()), None, Instant::now());
    while let Some(end) = ends.get(seen.len()) {
        if file.is_none() {
            file = File::open(path).ok();
        }
        if let Some(file) = &file
            && is_there(file, *end).with_context(|| path.display().to_string())?
        {
            last = Instant::now();
            seen.push(last);
            continue;
        }
        ensure!(
            last.elapsed() < PATIENCE,
            "{}: {} of {} writes appeared, and no other in {PATIENCE:?}",
            path.display(),
            seen.len(),
            ends.len()
        );
        std::thread::sleep(PAUSE);
    }
    Ok(seen)
}

fn is_there(file: &File, end: u64) -> std::io::Result<bool> {
    let mut found = [0; MARK];
    let read = file.read_at(&mut found, end - MARK as u64)?;
    Ok(read == MARK && found == of(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_seen_when_they_are_there_and_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let waits = std::thread::spawn({
            let path = path.clone();
            move || wait(&path, &[100, 4196]).unwrap()
        });
        let file = File::create(&path).unwrap();
        let mut later = vec![1; 4096];
        mark(&mut later, 4196);
        file.write_all_at(&later, 100).unwrap();
        let first = Instant::now();
        let mut sooner = vec![1; 100];
        mark(&mut sooner, 100);
        file.write_all_at(&sooner, 0).unwrap();
        let seen = waits.join().unwrap();
        assert!(seen[0] >= first && seen[1] >= seen[0]);
    }

    #[test]
    fn zeros_and_another_write_are_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::options().read(true).write(true).create_new(true).open(dir.path().join("file")).unwrap();
        file.set_len(4096).unwrap();
        assert!(!is_there(&file, 4096).unwrap());
        assert!(!is_there(&file, 5000).unwrap());
        let mut other = vec![0; 4096];
        mark(&mut other, 8192);
        file.write_all_at(&other, 0).unwrap();
        assert!(!is_there(&file, 4096).unwrap());
        mark(&mut other, 4096);
        file.write_all_at(&other, 0).unwrap();
        assert!(is_there(&file, 4096).unwrap());
    }
}

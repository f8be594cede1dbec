//! How long after the application's last operation the replica is equal.

use super::difference::{Pair, last_change};
use super::peer::Peer;
use crate::signals;
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Longest wait for a replica to be equal: a peer that needs longer counts as one that never is.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Between two comparisons.
const PAUSE: Duration = Duration::from_millis(10);

/// What the clock of a file system may be behind: a tick of a slow kernel.
const TICK: Duration = Duration::from_millis(10);

/// The moment when the application has done its last operation.
#[derive(Clone, Copy, Debug)]
pub struct End {
    instant: Instant,
    clock: SystemTime,
}

impl End {
    /// It is now.
    pub fn now() -> Self {
        Self { instant: Instant::now(), clock: SystemTime::now() }
    }
}

/// Between the last time that a difference was seen and the first at which there was none for certain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// Seconds.
    pub low: f64,
    /// Seconds.
    pub high: f64,
}

/// What came of waiting.
pub enum Outcome {
    Equal(Lag),
    /// It did not become equal in time: a difference.
    Never(String),
}

/// Waits until directories (paths below the application's and the replica's) are equal. Errors: Ctrl-C, or something cannot be read.
pub fn wait(peer: &dyn Peer, paths: &[PathBuf], end: End) -> Result<Outcome> {
    let Some(replica) = peer.replica() else { return Ok(Outcome::Equal(Lag { low: 0.0, high: 0.0 })) };
    let mut low = Duration::ZERO;
    let mut pairs: Vec<Pair> =
        paths.iter().map(|path| Pair::new(peer.below().join(path), replica.join(path))).collect();
    loop {
        ensure!(!signals::enough(), "interrupted");
        let begun = end.instant.elapsed();
        match first(&mut pairs)? {
            None => break,
            Some(what) if begun > PATIENCE => return Ok(Outcome::Never(what)),
            Some(_) => low = begun,
        }
        std::thread::sleep(PAUSE);
    }
    let mut high = end.instant.elapsed();
    // It was equal since it changed last.
    let mut changed = Duration::ZERO;
    for path in paths {
        let last = last_change(&replica.join(path))?;
        changed = changed.max((last + TICK).duration_since(end.clock).unwrap_or_default());
    }
    high = high.min(changed).max(low);
    Ok(Outcome::Equal(Lag { low: low.as_secs_f64(), high: high.as_secs_f64() }))
}

/// The same without a time: before something begins.
pub fn equal(peer: &dyn Peer, paths: &[PathBuf]) -> Result<()> {
    match wait(peer, paths, End::now())? {
        Outcome::Equal(_) => Ok(()),
        Outcome::Never(what) => anyhow::bail!("the replica is not equal after {PATIENCE:?}: {what}"),
    }
}

/// What the application sees against the replica, through everything that the peer puts in between.
pub fn as_seen(peer: &dyn Peer, paths: &[PathBuf]) -> Result<Option<String>> {
    let Some(replica) = peer.replica() else { return Ok(None) };
    let mut pairs: Vec<Pair> = paths.iter().map(|path| Pair::new(peer.app().join(path), replica.join(path))).collect();
    first(&mut pairs)
}

fn first(pairs: &mut [Pair]) -> Result<Option<String>> {
    for pair in pairs {
        if let Some(what) = pair.difference()? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    struct Two(TempDir);

    impl Peer for Two {
        fn app(&self) -> PathBuf {
            self.0.path().join("app")
        }

        fn replica(&self) -> Option<PathBuf> {
            Some(self.0.path().join("replica"))
        }

        fn processes(&self) -> Vec<u32> {
            Vec::new()
        }

        fn commands(&self) -> Vec<String> {
            Vec::new()
        }
    }

    #[test]
    fn the_moment_of_the_last_change_lies_between_both_bounds() {
        let two = Two(tempfile::tempdir().unwrap());
        for dir in [two.app(), two.replica().unwrap()] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(two.app().join("file"), "content").unwrap();
        let end = End::now();
        let late = two.replica().unwrap().join("file");
        let copies = std::thread::spawn(move || {
            while end.instant.elapsed() < Duration::from_millis(100) {
                std::thread::yield_now();
            }
            let begun = end.instant.elapsed();
            fs::write(late, "content").unwrap();
            (begun.as_secs_f64(), end.instant.elapsed().as_secs_f64())
        });
        let Outcome::Equal(Lag { low, high }) = wait(&two, &["".into()], end).unwrap() else { panic!("never") };
        let (begun, done) = copies.join().unwrap();
        assert!(low <= high && low <= done, "{low} {high} {done}");
        assert!(begun <= high && high <= done + TICK.as_secs_f64(), "{begun} {high} {done}");
    }

    #[test]
    fn what_was_equal_when_the_application_ended_has_no_lag() {
        let two = Two(tempfile::tempdir().unwrap());
        for dir in [two.app(), two.replica().unwrap()] {
            fs::create_dir(dir).unwrap();
        }
        while last_change(&two.replica().unwrap()).unwrap() + TICK >= SystemTime::now() {
            std::thread::yield_now();
        }
        let Outcome::Equal(lag) = wait(&two, &["".into()], End::now()).unwrap() else { panic!("never") };
        assert_eq!(lag, Lag { low: 0.0, high: 0.0 });
    }
}

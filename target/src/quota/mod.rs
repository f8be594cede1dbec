//! How much of the disk a replica takes, against its quota (T8): allocated bytes and inodes of the tree and of what replfs keeps beside it (what is orphaned,
//! set aside, staged, and the undo log with what it keeps). An image is not counted: it shares the replica's data.
//!
//! Counted by what each record changes (`apply::weight`), and for lanes by staging file. A walk (`walk`) counts everything at the beginning of a session, and again when something was
//! refused or is not known exactly: file systems allocate a little of their own, later. Nothing that takes room is admitted before the first walk is over.

mod walk;

pub(crate) use walk::bytes_of;

use crate::apply::Fault;
use crate::home::Home;
use crate::limits::Limits;
use parking_lot::Mutex;
use protocol::{Name, StageId};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is counted within this time is counted before a session begins.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Between two walks because of something that was refused, at least.
const AGAIN: Duration = Duration::from_secs(5);
/// What changed is counted anew after so long in any case.
const EVERY: Duration = Duration::from_secs(3600);
/// What file systems allocate at least.
const BLOCK_BYTES: u64 = 4096;

/// What a replica takes, and may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaStatus {
    /// Allocated bytes.
    pub used_bytes: u64,
    /// As many as there may be.
    pub limit_bytes: Option<u64>,
    /// Inodes.
    pub used_files: u64,
    /// As many as there may be.
    pub limit_files: Option<u64>,
    /// A walk is counting them; until the first one is over, only what changed is known.
    pub counting: bool,
}

/// The quota of one replica during a session.
#[derive(Debug)]
pub(crate) struct Quota {
    name: String,
    most_bytes: Option<u64>,
    most_files: Option<u64>,
    bytes: AtomicI64,
    files: AtomicI64,
    /// What the undo log takes.
    undo: AtomicU64,
    /// A walk has been over everything.
    known: AtomicBool,
    counting: AtomicBool,
    /// Something changed that was not counted exactly.
    inexact: AtomicBool,
    /// Counts changes.
    changes: AtomicU64,
    walked: Mutex<Option<Instant>>,
    /// What staging files in use took last.
    stages: Mutex<HashMap<StageId, i64>>,
}

impl Quota {
    pub fn new(name: &Name, limits: Limits) -> Self {
        Self {
            name: name.to_string(),
            most_bytes: limits.quota,
            most_files: limits.quota_files,
            bytes: AtomicI64::new(0),
            files: AtomicI64::new(0),
            undo: AtomicU64::new(0),
            known: AtomicBool::new(false),
            counting: AtomicBool::new(false),
            inexact: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            walked: Mutex::new(None),
            stages: Mutex::default(),
        }
    }

    /// Whether there is anything to count for.
    pub fn is_set(&self) -> bool {
        self.most_bytes.is_some() || self.most_files.is_some()
    }

    /// Bytes and inodes in use, as far as is known.
    fn used(&self) -> (u64, u64) {
        let count = |of: &AtomicI64| u64::try_from(of.load(Ordering::Relaxed)).unwrap_or(0);
        (count(&self.bytes) + self.undo.load(Ordering::Relaxed), count(&self.files))
    }

    pub fn status(&self) -> Option<QuotaStatus> {
        let (used_bytes, used_files) = self.used();
        self.is_set().then(|| QuotaStatus {
            used_bytes,
            limit_bytes: self.most_bytes,
            used_files,
            limit_files: self.most_files,
            counting: self.counting.load(Ordering::Relaxed),
        })
    }

    /// What is in use has become more, or less.
    pub fn add(&self, bytes: i64, files: i64) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.files.fetch_add(files, Ordering::Relaxed);
    }

    /// The size of the undo log.
    pub fn undo(&self, bytes: u64) {
        self.undo.store(bytes, Ordering::Relaxed);
    }

    /// Something changed, by nobody knows how much.
    pub fn unsure(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.inexact.store(true, Ordering::Relaxed);
    }

    /// Whether so much more may be taken. An error is one of a full disk.
    pub fn admit(&self, bytes: u64, files: u64) -> Result<(), Fault> {
        if (bytes, files) == (0, 0) {
            return Ok(());
        }
        let name = &self.name;
        if !self.known.load(Ordering::Acquire) {
            return Err(full(format!("quota of {name}: what it takes is being counted; this goes on by itself")));
        }
        let (used, there) = self.used();
        let todo = "remove something on the source, or what is set aside here, or start the target with a larger";
        if let Some(most) = self.most_bytes
            && (used.saturating_add(bytes) > most || files > 0 && used >= most)
        {
            let (used, most) = (size(used), size(most));
            return Err(full(format!("quota of {name}: {used} used of {most}, and this takes more; {todo} --quota")));
        }
        if let Some(most) = self.most_files
            && there.saturating_add(files) > most
            && files > 0
        {
            return Err(full(format!(
                "quota of {name}: {there} files of {most}, and this is one more; {todo} --quota-files"
            )));
        }
        Ok(())
    }

    /// Bytes that may still be taken; `None`: there is no bound.
    pub fn room(&self) -> Option<u64> {
        self.most_bytes.map(|most| most.saturating_sub(self.used().0))
    }

    /// A lane is about to work on a staging file that takes so much.
    pub fn stage_before(&self, stage: StageId, bytes: Option<i64>) {
        let mut stages = self.stages.lock();
        if let Some(bytes) = bytes {
            stages.entry(stage).or_insert(bytes);
        }
    }

    /// It has; `weigh` says what the staging file takes now, `None` where there is none.
    pub fn stage_after(&self, stage: StageId, weigh: impl FnOnce() -> Option<i64>) {
        let mut stages = self.stages.lock();
        // Looked at with the lock held: several threads work on one file.
        let (before, now) = (stages.remove(&stage), weigh());
        let files = i64::from(now.is_some()) - i64::from(before.is_some());
        self.add(now.unwrap_or(0) - before.unwrap_or(0), files);
        if let Some(now) = now {
            stages.insert(stage, now);
        }
    }

    /// It is none any more.
    pub fn stage_placed(&self, stage: StageId) {
        self.stages.lock().remove(&stage);
    }

    pub fn stages_cleared(&self) {
        self.stages.lock().clear();
    }

    /// What a write of so many bytes at a place takes at most, in whole blocks.
    pub fn room_for(offset: u64, len: u64) -> u64 {
        let start = offset - offset % BLOCK_BYTES;
        offset.saturating_add(len).checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX) - start
    }
}

fn full(text: String) -> Fault {
    Fault { errno: Some(Errno::DQUOT), ..Fault::retry(text) }
}

/// As people read it.
fn size(bytes: u64) -> String {
    let (mut unit, mut below) = (1_u64, "bytes");
    for name in ["KiB", "MiB", "GiB", "TiB"] {
        if bytes / unit < 1024 {
            break;
        }
        (unit, below) = (unit << 10, name);
    }
    if unit == 1 {
        format!("{bytes} {below}")
    } else {
        format!("{}.{} {below}", bytes / unit, bytes % unit * 10 / unit)
    }
}

impl Home {
    /// Counts everything; goes on in a thread of its own where that takes long.
    pub fn count(self: &Arc<Self>) {
        let quota = &self.quota;
        if !quota.is_set() || quota.counting.swap(true, Ordering::AcqRel) {
            return;
        }
        let deadline = (!quota.known.load(Ordering::Acquire)).then(|| Instant::now() + AT_ONCE);
        if let Some(deadline) = deadline
            && self.count_now(&mut || Instant::now() < deadline)
        {
            return;
        }
        let weak = Arc::downgrade(self);
        let count = move || {
            let Some(home) = weak.upgrade() else { return };
            // Of a session that is over nobody wants to know.
            home.count_now(&mut || Arc::strong_count(&home) > 1);
            home.quota.counting.store(false, Ordering::Release);
        };
        if let Err(error) = thread::Builder::new().name("target-count".into()).spawn(count) {
            tracing::warn!(name = %self.name, %error, "cannot start a thread to count what the replica takes");
            quota.counting.store(false, Ordering::Release);
        }
    }

    /// Counts again where something was refused, or is not known exactly.
    pub fn count_again(self: &Arc<Self>, refused: bool) {
        let age = self.quota.walked.lock().map_or(EVERY, |at| at.elapsed());
        let wanted = refused || self.quota.inexact.load(Ordering::Relaxed) || age >= EVERY;
        if age > AGAIN && wanted {
            self.count();
        }
    }

    fn count_now(&self, go_on: &mut dyn FnMut() -> bool) -> bool {
        let quota = &self.quota;
        let before = (quota.bytes.load(Ordering::Relaxed), quota.files.load(Ordering::Relaxed));
        let changes = quota.changes.load(Ordering::Relaxed);
        quota.inexact.store(false, Ordering::Relaxed);
        let counted = walk::walk(self, go_on);
        let done = match counted {
            Ok(Some((bytes, files))) => {
                // What came meanwhile may have been seen by the walk, or not.
                let more = |now: i64, before: i64| (now - before).max(0);
                let now = (quota.bytes.load(Ordering::Relaxed), quota.files.load(Ordering::Relaxed));
                quota.bytes.fetch_add(bytes + more(now.0, before.0) - now.0, Ordering::Relaxed);
                quota.files.fetch_add(files + more(now.1, before.1) - now.1, Ordering::Relaxed);
                if quota.changes.load(Ordering::Relaxed) != changes {
                    quota.inexact.store(true, Ordering::Relaxed);
                }
                quota.known.store(true, Ordering::Release);
                true
            }
            Ok(None) => false,
            Err(error) => {
                quota.inexact.store(true, Ordering::Relaxed);
                tracing::warn!(name = %self.name, %error, "cannot count what the replica takes");
                false
            }
        };
        *quota.walked.lock() = Some(Instant::now());
        if done {
            quota.counting.store(false, Ordering::Release);
        }
        done
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn quota(bytes: Option<u64>, files: Option<u64>) -> Quota {
        let quota =
            Quota::new(&Name::new(b"n").unwrap(), Limits { quota: bytes, quota_files: files, ..Limits::default() });
        quota.known.store(true, Ordering::Relaxed);
        quota
    }

    #[test]
    fn what_passes_the_bound_is_refused_as_by_a_full_disk() {
        let quota = quota(Some(1 << 20), Some(10));
        quota.add(1 << 19, 9);
        quota.admit(1 << 19, 1).unwrap();
        let fault = quota.admit((1 << 19) + 1, 0).unwrap_err();
        assert_eq!(fault.errno, Some(Errno::DQUOT));
        assert!(fault.text.starts_with("quota of n: 512.0 KiB used of 1.0 MiB"), "{}", fault.text);
        quota.add(0, 1);
        assert!(quota.admit(0, 1).unwrap_err().text.contains("10 files of 10"));
        quota.admit(5, 0).unwrap();
        quota.add(1 << 20, -9);
        assert!(quota.admit(0, 1).is_err() && quota.admit(1, 0).is_err() && quota.admit(0, 0).is_ok());
        assert!(quota.admit(u64::MAX, 0).is_err());
    }

    #[test]
    fn several_lanes_in_one_staging_file_count_it_once() {
        let (quota, stage) = (quota(Some(1), None), StageId::new(7, 0));
        quota.stage_before(stage, None);
        quota.stage_after(stage, || Some(0));
        quota.stage_before(stage, Some(0));
        quota.stage_before(stage, Some(4096));
        quota.stage_after(stage, || Some(8192));
        quota.stage_after(stage, || Some(8192));
        assert_eq!(quota.used(), (8192, 1));
        quota.stage_after(stage, || None);
        assert_eq!(quota.used(), (0, 0));
    }

    #[test]
    fn room_is_counted_in_blocks() {
        assert_eq!(Quota::room_for(0, 1), 4096);
        assert_eq!(Quota::room_for(4095, 2), 8192);
        assert_eq!(Quota::room_for(8192, 4096), 4096);
        assert!(Quota::room_for(1, u64::MAX) > 1 << 62);
    }
}

//! That what the set leaves out is to be set aside on the target, because a directory took it along to where rules say otherwise. A small file
//! says so to the daemon that comes after, until the target has done it. What is set aside is found by passes.

use parking_lot::Mutex;
use protocol::SeqNo;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Sweep {
    wanted: AtomicBool,
    /// There as long as it is wanted, or not done on the target.
    file: Option<PathBuf>,
    /// Done on the target once it has applied this.
    done: Mutex<Option<SeqNo>>,
}

impl Sweep {
    /// As the last daemon left it.
    pub fn new(file: Option<PathBuf>) -> Self {
        let wanted = file.as_ref().is_some_and(|file| file.exists());
        Self { wanted: AtomicBool::new(wanted), file, done: Mutex::new(None) }
    }

    /// The pass that comes next, or runs, has to do it.
    pub fn want(&self) {
        *self.done.lock() = None;
        if self.wanted.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(file) = &self.file
            && let Err(error) = write(file)
        {
            let file = file.display();
            tracing::warn!(event = "sweep-note", %error, %file, "a daemon after this one will not set aside what left the set with a directory");
        }
    }

    /// Whether it is wanted.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A pass has done it; the target has once it has applied this. `None`: it may not have.
    pub fn is_over(&self, applied: Option<SeqNo>) {
        if self.wanted.swap(false, Ordering::Relaxed) {
            *self.done.lock() = applied;
        }
    }

    /// The target has applied this.
    pub fn settle(&self, applied: SeqNo) {
        let Some(file) = &self.file else { return };
        let mut done = self.done.lock();
        if done.is_some_and(|seq| seq <= applied) {
            *done = None;
            // Where it stays, the next daemon sets aside what is there to be: nothing.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Lasts over a power cut, as the rename may.
fn write(file: &Path) -> io::Result<()> {
    File::create(file)?.sync_all()?;
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_until_the_target_has_done_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sweep");
        let sweep = Sweep::new(Some(file.clone()));
        assert!(!sweep.is_wanted());
        sweep.want();
        assert!(sweep.is_wanted() && Sweep::new(Some(file.clone())).is_wanted());
        sweep.is_over(Some(SeqNo::new(7)));
        sweep.settle(SeqNo::new(6));
        assert!(!sweep.is_wanted() && file.exists());
        // Again, before that: what was done then is not all.
        sweep.want();
        sweep.settle(SeqNo::new(8));
        assert!(file.exists());
        sweep.is_over(Some(SeqNo::new(9)));
        sweep.settle(SeqNo::new(9));
        assert!(!file.exists());
    }
}

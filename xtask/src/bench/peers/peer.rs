//! What a peer is: something that keeps a replica of a directory on the other machine.

use super::far::Far;
use super::gluster::Gluster;
use super::kind::Kind;
use super::replfs::Replfs;
use super::watched::Watched;
use anyhow::Result;
use std::path::PathBuf;

/// One that runs. Dropping it ends it.
pub trait Peer {
    /// Where the application works.
    fn app(&self) -> PathBuf;

    /// The same, below what the peer puts over it: what is looked at while the replica is waited for.
    fn below(&self) -> PathBuf {
        self.app()
    }

    /// Where the replica is; `None`: there is none.
    fn replica(&self) -> Option<PathBuf>;

    /// Whether what the application has written may not be below yet when the call returns.
    fn writes_behind(&self) -> bool {
        false
    }

    /// Its processes at present, without their children.
    fn processes(&self) -> Vec<u32>;

    /// Those of them that are the target's alone and can be told apart.
    fn target_processes(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Waits until nothing goes on in the background.
    fn rest(&self) {}

    /// Right before the application begins.
    fn begin(&mut self) {}

    /// When it has ended.
    fn ended(&mut self) {}

    /// Operations sent so far, where they are counted.
    fn records(&self) -> Option<u64> {
        None
    }

    /// Why the last unit was not what the peer's name says, if so.
    fn doubt(&self) -> Option<String> {
        None
    }

    /// How it was started, for people who want to see the same.
    fn commands(&self) -> Vec<String>;
}

/// Starts a peer, and waits until it replicates.
pub fn start(kind: Kind, far: &Far) -> Result<Box<dyn Peer>> {
    Ok(match kind {
        Kind::Gluster => Box::new(Gluster::start(far)?),
        Kind::Lsyncd | Kind::Inotify => Box::new(Watched::start(kind, far)?),
        _ => Box::new(Replfs::start(kind, far)),
    })
}

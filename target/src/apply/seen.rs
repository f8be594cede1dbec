//! What of the replica an operation is about to change: whether one that failed has changed it all the same.

use super::Applier;
use super::node::stat_name;
use platform::sys::attr;
use protocol::{Op, RelPath};
use rustix::fs::Stat;
use std::io;

/// Change times come from a clock that may stand still for so long: of what changed later than this before, they prove nothing.
const CLOCK_STEP_NS: i128 = 100_000_000;

/// As it was at a moment.
pub(crate) enum Seen {
    /// The nodes under the names that come, go or move; zero for none.
    Names([u64; 2]),
    /// The node whose data or attributes are changed.
    Node(Box<Stat>),
    /// It could not be looked at.
    Unknown,
}

impl Seen {
    /// Whether nothing changed from then to `after`, for certain.
    pub fn is_same(&self, after: &Self) -> bool {
        match (self, after) {
            (Self::Names(before), Self::Names(after)) => before == after,
            (Self::Node(before), Self::Node(after)) => {
                let shape = |stat: &Stat| (stat.st_ino, stat.st_size, stat.st_blocks, stat.st_mode, stat.st_nlink);
                let time = |stat: &Stat| (attr::ctime(stat), attr::mtime(stat));
                let changed = attr::ctime(before);
                let changed = i128::from(changed.secs) * 1_000_000_000 + i128::from(changed.nanos);
                shape(before) == shape(after)
                    && time(before) == time(after)
                    && i128::from(platform::sys::now_ns()) - changed > CLOCK_STEP_NS
            }
            _ => false,
        }
    }
}

impl Applier {
    /// What `op` is about to change, as it is now.
    pub fn seen(&mut self, op: &Op) -> Seen {
        let seen = match op {
            Op::Create { path, .. } | Op::Unlink { path, .. } | Op::Link { to: path, .. } => {
                self.inode_at(path).map(|inode| Seen::Names([inode, 0]))
            }
            Op::Rename { from, to, .. } => {
                self.inode_at(from).and_then(|from| Ok(Seen::Names([from, self.inode_at(to)?])))
            }
            _ => {
                return op.place().and_then(|place| self.node(place).ok()).map_or(Seen::Unknown, |fd| {
                    attr::stat(&fd).map_or(Seen::Unknown, |stat| Seen::Node(Box::new(stat)))
                });
            }
        };
        seen.unwrap_or(Seen::Unknown)
    }

    pub(super) fn inode_at(&mut self, path: &RelPath) -> io::Result<u64> {
        let (dir, name) = self.parent(path).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(stat_name(dir, name.as_bytes())?.map_or(0, |stat| stat.st_ino))
    }
}

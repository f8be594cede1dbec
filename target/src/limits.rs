//! What a target lets a source do to its disk (T8): a bound on room, and what of a node is kept but not put in force. Where it is chosen
//! for a source and a NAME stands here, and nowhere else.

use crate::peer::Peer;
use crate::root::Target;
use protocol::Name;

/// What a source may do to the target's disk. The default: everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a replica may take on the disk, with what replfs keeps about it; `None`: all there are.
    pub quota: Option<u64>,
    /// Nodes (files, directories, whatever has an inode) that it may have, counted the same way; `None`: no bound.
    pub quota_files: Option<u64>,
    /// Device nodes are not made: each is kept as an empty file that is told of as the device.
    pub refuse_devices: bool,
    /// Setuid, setgid and capabilities of files are kept and not put in force.
    pub strip_setuid: bool,
}

impl Target {
    /// What `peer` may do to the replica NAME: of two bounds, that of every replica and that of this one, the smaller.
    pub(crate) fn limits_of(&self, peer: &Peer, name: &Name) -> Limits {
        let own = peer.dir(name).and_then(|dir| dir.quota);
        let quota = self.limits.quota.into_iter().chain(own).min();
        Limits { quota, ..self.limits }
    }
}

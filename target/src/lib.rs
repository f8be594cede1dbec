//! The target server: keeps an exact replica of each source's directory below one ROOT.
//!
//! A session runs over any pair of byte streams; connections, keys and fingerprints are somebody else's business. What
//! lives here: who may have which directory (`admit`), how far a replica is (`position`, `home`), applying records in
//! order (`worker`, `apply`), reading ahead of that (`ahead`), making them durable (`sync`), the conversation around that (`session`, `outbox`), content that
//! comes beside it (`lane`, `stages`), what the replica was before repair (`image`, `undo`), and reading a replica for its owner (`reading`).
//!
//! ROOT/NAME is exactly the source's tree. ROOT/.replfs/NAME holds what replfs itself keeps about it: `owner`,
//! `position`, `durable`, `clean`, `orphan/` (files without a name that the source still has open) and `aside/` (what was
//! in the way of repair: nothing is ever thrown away by it) and `stage/` (content that lanes bring, before it has a name) and `image/` (the last coherent
//! state, while repair goes on) or `undo/` (what takes the replica back to it).

mod admit;
mod ahead;
mod apply;
mod aside;
mod check;
mod chunks;
mod clean;
#[doc(hidden)]
pub mod edge;
mod error;
mod home;
mod image;
mod inbox;
mod kept;
mod lane;
mod limits;
mod outbox;
mod owner;
mod passed;
mod peer;
mod position;
mod queue;
mod quota;
mod reading;
mod root;
mod session;
mod stages;
mod status;
#[doc(hidden)]
pub mod stepped;
mod sync;
mod syncs;
mod undo;
mod worker;

pub use error::{ErrorKind, TargetError};
pub use limits::Limits;
pub use peer::{Peer, PeerDir};
pub use quota::QuotaStatus;
pub use reading::Reading;
pub use root::{Target, TargetConfig};
pub use status::{Blocked, ImageStatus, KeptStatus, ReplicaStatus, STATUS_VERSION, TargetStatus};
pub use undo::{RollBack, RollBackError, roll_back};

#[cfg(test)]
extern crate self as replfs_target;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod redo_tests;

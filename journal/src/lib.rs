//! The journal (S5): an ordered, bounded store of the frames that one source has numbered in one incarnation. They are appended, read back in
//! order from any number that is still there, trimmed from the front, and survive a crash. docs/journal.md has the bytes and the reasons.
//!
//! A chain of segments lies in *areas*: a directory in memory (tmpfs: survives the daemon, not the machine), one on disk, and extensions. Three
//! handles share it: [`Journal`] appends and trims, [`Syncer`] makes durable and does the slow work ahead of time, [`Reader`] reads. No policy
//! here: what is sent, when the application may go on, what a damage means for a target, is the SRM's.

mod append;
mod area;
mod chain;
mod cursor;
mod cut;
mod damage;
pub mod disk;
mod header;
mod keep;
mod mark;
mod open;
mod reader;
mod record;
mod segment;
mod shared;
mod sync;

#[cfg(test)]
mod tests;

pub use append::{AppendError, Journal};
pub use area::{AreaConfig, AreaError, AreaKind, AreaStatus, MIN_AREA_BYTES, erase};
pub use cut::Place;
pub use damage::{Damage, DamageKind};
pub use disk::{Disk, DiskFile, RealDisk};
pub use open::{Config, Recovered};
pub use reader::{Entry, ReadError, Reader};
pub use sync::{SyncError, Syncer};

//! File System Interface: the mount. Carries out on the backing directory what applications ask for, and describes to the
//! SRM what changed (F1-F6). The only crate that names `fuser`.
//!
//! `adapter` turns requests into calls, one each, and results into replies; `fs` and the files around it are the file
//! system itself and know nothing of FUSE but its inode number 1; `mount` makes the mount and ends it.
//!
//! Numbering (I1): an operation is carried out and handed to the SRM under one hold of the locks, data and attributes
//! under the shared namespace lock and the node's lock, names under the exclusive namespace lock. The reply goes out
//! after the locks are dropped. No FUSE thread ever waits for the network or for room, but in commit mode `remote` (`proposals`).

mod adapter;
mod attrs;
mod convert;
mod data;
mod dirs;
mod files;
mod flags;
mod fs;
mod mount;
mod mountinfo;
mod moves;
mod names;
mod proposals;
mod removed;
mod reply;
mod space;
#[doc(hidden)]
pub mod stepped;
mod written_back;
mod xattrs;

pub use mount::{MountOptions, Mounted, mount};

#[cfg(test)]
mod tests;

//! The mount behaves as the file system below it does (F3), claim by claim of docs/semantics.md: nearly every case runs
//! in an ordinary directory and in the mount, and both must be the same; then the replica must be the same too.
#![allow(clippy::unwrap_used)]

mod access;
mod bounds;
mod data;
mod handles;
mod identity;
mod limits;
mod locks;
mod mapped;
mod mounts;
mod names;
mod privilege;
mod space;
mod stamps;
mod xattrs;

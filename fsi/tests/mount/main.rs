//! What applications see in a real mount (F3), with an SRM that has no target. Needs root and /dev/fuse.
#![allow(clippy::unwrap_used)]

mod attributes;
mod directories;
mod files;
mod model;
mod names;
mod order;
mod privilege;
mod recorder;
mod records;
mod rig;
mod sharing;

//! The journal against disks that lose what was not durable, files that were tampered with, and itself.
#![allow(clippy::unwrap_used)]

mod basic;
mod begin;
mod crash;
mod cut;
mod damage;
mod rig;
mod rng;
mod sim_disk;
mod sim_node;
mod threads;

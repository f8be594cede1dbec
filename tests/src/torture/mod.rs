//! Real daemons, real mounts, real programs, and everything done to them that goes wrong in life, from a seed: `cargo xtask torture`, `cargo xtask soak`,
//! `tests/torture.rs`. After each round nobody has to do anything: both sides are the same, and what was acknowledged is there. docs/torture.md has it in short.

pub mod events;
pub mod fault;
pub mod history;
mod judge;
pub mod machine;
mod network;
pub mod plan;
pub mod round;
pub mod running;
pub mod sample;
pub mod soak;
mod tamper;
pub mod workload;

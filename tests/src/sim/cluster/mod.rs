//! A simulator of whole clusters: the file system layer, the SRM with its journal and its passes, and the target with its applier, all as they ship, over
//! directories in memory, in one thread, on simulated time and a simulated network; everything that happens is decided by a seed.
//!
//! `schedule` makes events of a seed, `world` lets them happen, `action` is what applications do and `apps` what they are told, `net` what is between the two sides, `near_end` and `far_end` the
//! sessions there, `wire` how what is sent is told, `border` which sets there are and what crosses their borders, `view` what of a state is in one, `syncs` when the target's disk is done and `loss` how it goes wrong, `settle` how all comes to rest, `machine` the time, the disks and the ends of daemons, `life` what follows from those, `side` the two daemons, `snapshot` what a directory has in it. `history` knows what was promised and finds fault; it knows
//! nothing of the rest. `bug` has the deliberate mistakes, `search` runs many seeds, `counts` says what they came to.

mod action;
mod apps;
mod border;
pub mod bug;
mod counts;
mod far_end;
pub mod history;
mod life;
mod loss;
mod machine;
mod near_end;
mod net;
pub mod schedule;
pub mod search;
mod settle;
mod side;
mod snapshot;
mod syncs;
mod tamper;
mod view;
pub mod wire;
mod world;

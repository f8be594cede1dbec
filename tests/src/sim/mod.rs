//! A simulator of the map of clean and dirty (`srm::map`): both sides in memory, one thread, everything that happens decided by a
//! seed. The map is the real one; the driver around it does what the SRM's own does, a step at a time where that one holds its
//! locks.
//!
//! `store` is a file system, `node` what is known of one, `replica` the target; `source`, `live`, `repair`, `work`, `list` and `copy` drive the map;
//! `apps` are the applications; `schedule` makes events of a seed, `world` lets them happen, `check` looks at them, `search` runs many and makes
//! a failing one small; `economy` counts what is sent after a bypass; `bug` has the deliberate mistakes that show that the checks see something.
//!
//! `modes` is another simulator, of the commit modes, and `cluster` one of both sides as they ship.

pub mod apps;
pub mod bug;
pub mod check;
pub mod cluster;
pub mod copy;
pub mod economy;
pub mod list;
pub mod live;
pub mod modes;
pub mod node;
pub mod record;
pub mod repair;
pub mod replica;
pub mod schedule;
pub mod search;
pub mod source;
pub mod store;
pub mod work;
pub mod world;

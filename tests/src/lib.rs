//! What the end-to-end suites in `tests/` share: the comparer, the rig that runs daemons and mounts, the link that can be
//! cut, generators of trees, of load and of sequences of operations. No promise of replfs is tested here; these helpers are tested here.

pub mod below;
pub mod blocklog;
pub mod by_descriptor;
pub mod caller;
pub mod child;
pub mod claims;
pub mod command;
pub mod compare;
pub mod disk;
pub mod extents;
pub mod judges;
pub mod liar;
pub mod link;
pub mod load;
pub mod mapping;
pub mod model;
pub mod peer;
pub mod postgres;
pub mod powerloss;
pub mod rig;
pub mod roam;
pub mod scale;
pub mod seed;
pub mod sim;
pub mod suite;
pub mod torture;
pub mod tree;
pub mod user;
pub mod volatile;
pub mod wait;
pub mod weather;

/// Runs each named function `fn name(commit: Commit)` as a test of its own in every commit mode.
#[macro_export]
macro_rules! in_both_modes {
    ($($name:ident),+ $(,)?) => {
        mod sync_mode {
            $(#[test] fn $name() { super::$name($crate::rig::Commit::Sync); })+
        }
        mod real_mode {
            $(#[test] fn $name() { super::$name($crate::rig::Commit::Real); })+
        }
    };
}

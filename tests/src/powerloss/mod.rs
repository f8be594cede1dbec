//! Power loss of the machines of source and target at random moments of one workload, of which everything that the disks were given is on record:
//! each disk is rebuilt as of each moment, and what applications had been promised until then is looked for.
//!
//! A round is one workload. It ends with the loss of the source while the target goes on, and then goes through as many moments
//! as one likes at which both lose power.

pub mod cut;
pub mod history;
pub mod machine;
pub mod moments;
pub mod observe;
pub mod plan;
pub mod record;
pub mod round;
pub mod work;

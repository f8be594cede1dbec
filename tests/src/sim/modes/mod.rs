//! A simulator of the commit modes: which promise holds when a daemon dies, a machine loses power or the connection is lost, at every moment of a run.
//!
//! The source is the real one: the SRM with its core, replies, bounds, backlog, proposals and what it notes for the next daemon, over a real journal, without threads
//! (`srm::Srm::stepped`). Its moments are the places of `platform::killpoint` that it passes. Around it, and modelled: what the FUSE layer does for an operation
//! (`source`), the target (`replica`), the connection (`line`), what a power cut leaves of SRC (`moments`), and the work of a pass, which is one step here.
//!
//! `world` runs a schedule, `recover` brings everything up again after its end came; `check` has the promises; `search` tries every moment, and seeds; `bug` has
//! the deliberate mistakes that show that the checks see something.

pub mod bug;
pub mod check;
mod line;
pub mod moments;
mod recover;
mod replica;
pub mod search;
mod source;
pub mod world;

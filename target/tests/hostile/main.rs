//! A source that means harm, and people on the target's machine who do: records as they would come from a source's key in wrong
//! hands. Whatever comes, nothing outside of its replica changes or is opened, nothing waits for ever, and other sources go on.
//! Frames go straight into a target without a cage: this is what it is worth by itself.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod forged;
mod kinds;
mod links;
mod names;
mod numbers;
mod races;
mod replayed;
mod scene;

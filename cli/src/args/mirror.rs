//! The words of `replfs mirror`.

use super::{StateArgs, units};
use clap::Args;
use std::ffi::OsString;
use std::time::Duration;

/// `replfs mirror`.
#[derive(Debug, Args)]
pub struct MirrorArgs {
    /// Where the source is mounted, or its NAME
    pub mnt: OsString,
    /// Only these and what is below them: below MNT, or beginning with MNT or SRC; what is on one side only is meant too
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Connections at most that copy files, 1 to 16, from now on until the unmount [default: as mounted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub lanes: Option<u8>,
    /// Return when source and target are brought together; this is the default
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Return when it has begun, which is after what is being compared already; 'replfs status' shows how far it is
    #[arg(long, overrides_with = "wait")]
    pub no_wait: bool,
    /// How long to wait [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub timeout: Option<Duration>,
    /// A JSON document per line: how far it is once a second, and how it ended
    #[arg(long)]
    pub json: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

//! Bringing a replica back: `replfs restore` and `replfs roll-back`.

use super::{StateArgs, units};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// `replfs restore`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // switches that have nothing to do with each other
pub struct RestoreArgs {
    /// What to restore: paths within the replica [default: all of it]
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Where the replica is: the name of a peer, HOST[:7420] or [v6]:PORT, or, with a '/' in it, a directory ROOT on this machine
    #[arg(long, value_name = "T")]
    pub from: String,
    /// Fingerprint of a target that is no peer
    #[arg(long, value_name = "FPR")]
    pub target_key: Option<String>,
    /// Name of the replica, as it was mounted
    #[arg(long, value_name = "NAME")]
    pub name: OsString,
    /// Where to: a directory, made if it is missing; may be a mount of replfs
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Change nothing; list what would be done: new, changed, attributes, aside, extra
    #[arg(long)]
    pub dry_run: bool,
    /// Where what would be lost in DIR is put first [default: aside/NAME-TIME in the state directory]
    #[arg(long, value_name = "DIR")]
    pub aside: Option<PathBuf>,
    /// Set aside too what DIR has and the replica has not
    #[arg(long)]
    pub exact: bool,
    /// Compare content also where size and modification time agree
    #[arg(long)]
    pub checksum: bool,
    /// Block in which content is compared: 512 bytes to 1MiB
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = units::size)]
    pub block_size: u64,
    /// How long to wait for the target's first answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub connect_timeout: Duration,
    /// What was done as a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept: the key that owns the replica.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs roll-back`.
#[derive(Debug, Args)]
pub struct RollBackArgs {
    /// Directory of the replicas, as the target has it
    #[arg(value_name = "ROOT")]
    pub root: PathBuf,
    /// Name of the replica: ROOT/NAME
    #[arg(value_name = "NAME")]
    pub name: OsString,
    /// Change nothing; say what it would be taken back to
    #[arg(long)]
    pub dry_run: bool,
    /// What was done as a JSON document with a version
    #[arg(long)]
    pub json: bool,
}

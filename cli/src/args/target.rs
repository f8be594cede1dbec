//! `replfs target`: what may be written.

use super::{StateArgs, peers, units};
use crate::cage::CageMode;
use clap::Args;
use platform::awake::LowLatency;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `replfs target`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct TargetArgs {
    /// Instead of running one.
    #[command(subcommand)]
    pub command: Option<peers::TargetCommand>,
    /// Directory of the replicas: ROOT/NAME for each source; its last part is made when it is missing
    #[arg(long, value_name = "ROOT", required = true)]
    pub root: Option<PathBuf>,
    /// Fingerprint of a source that may have any directory that nobody else has ('replfs key' on the source prints it); may be repeated.
    /// Sources that were invited need none
    #[arg(long, value_name = "FPR")]
    pub allow: Vec<String>,
    /// Address and UDP port to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:7420")]
    pub listen: SocketAddr,
    /// Before a catch-up, keep the replica as it is until it is coherent again: off, or auto: a whole tree in ROOT/.replfs/NAME/image where the file system
    /// can share the data (XFS, Btrfs), elsewhere an undo log for 'replfs roll-back'
    #[arg(long, value_name = "HOW", default_value = "off")]
    pub keep_image: KeepImage,
    /// The daemon is confined to ROOT and its state, so that a source which takes it over reaches nothing else: require, auto (as far as the kernel
    /// can; 'replfs status' says what), or off
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub cage: CageMode,
    /// Whether idle cores of this machine stay awake (busy for its host) while a source sends change after change and waits for each: on; off; auto, in a virtual
    /// machine of at most 8 cores
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub low_latency: LowLatency,
    /// Threads that receive, expand and check what sources send, 1 to 256; beside them each session has one that applies, and each lane one [default: one for two
    /// cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Most that a replica may take of the disk, with what is kept about it, such as 200GiB; allocated, so that holes cost nothing
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub quota: Option<u64>,
    /// Most files, directories and other nodes that a replica may have, counted the same way
    #[arg(long, value_name = "N")]
    pub quota_files: Option<u64>,
    /// Device nodes of a source: keep them, or refuse to make them: an empty file stands for each, which restore gives back as the device
    #[arg(long, value_name = "HOW", default_value = "keep")]
    pub devices: Devices,
    /// Setuid, setgid and capabilities of a source's files: keep them, or strip them from the files here; restore gives them back
    #[arg(long, value_name = "HOW", default_value = "keep")]
    pub setuid: Setuid,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// What becomes of a source's device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Devices {
    /// They are made.
    Keep,
    /// An empty file stands for each.
    Refuse,
}

/// What becomes of setuid, setgid and capabilities of a source's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Setuid {
    /// They are in force.
    Keep,
    /// They are noted, and not in force.
    Strip,
}

/// Whether the last coherent state is kept during a catch-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KeepImage {
    /// It is not.
    Off,
    /// As a tree where the file system can share data between files, as an undo log elsewhere.
    Auto,
}

//! `replfs target invite`, `pair`, `peers`, `key`: their words.

use super::{STATE_HELP, StateArgs, units};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Beside `replfs target` itself.
#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// Print an invitation: whoever mounts with it, once and in time, is known from then on and has one directory here
    Invite(InviteArgs),
}

/// `replfs target invite`.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// The directory below ROOT that will be the source's, and no other
    #[arg(id = "granted", long = "dir", value_name = "NAME")]
    pub dir: String,
    /// Whose target [default: that of the target daemon that runs here]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<PathBuf>,
    /// How many bytes the directory may hold [default: as much as there is]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub quota: Option<u64>,
    /// How long the invitation is good
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::interval)]
    pub ttl: Duration,
    /// Where the source finds this target [default: where the daemon listens, by the name of this machine where that is everywhere]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub address: Option<String>,
    /// What the source will be called here [default: as its machine is called]
    #[arg(long, value_name = "PEER")]
    pub name: Option<String>,
    /// The replica that is in the directory may be that of another key: of a source that is gone, or was set up anew
    #[arg(long)]
    pub take_over: bool,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs pair`.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// What 'replfs target invite' printed on the target; '-' reads it from standard input
    #[arg(value_name = "INVITE")]
    pub invitation: String,
    /// What the target will be called here [default: as its machine is called]
    #[arg(long, value_name = "PEER")]
    pub name: Option<String>,
    /// How long to wait for the target
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub connect_timeout: Duration,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `replfs peers`.
#[derive(Debug, Args)]
pub struct PeersArgs {
    /// What to do; without it, list them.
    #[command(subcommand)]
    pub command: Option<PeersCommand>,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept.
    #[arg(long = "state", value_name = "DIR", help = STATE_HELP, global = true)]
    state: Option<PathBuf>,
}

impl PeersArgs {
    /// Where state is kept.
    pub fn state(&self) -> StateArgs {
        StateArgs { dir: self.state.clone() }
    }
}

/// What to do with peers.
#[derive(Debug, Subcommand)]
pub enum PeersCommand {
    /// List the nodes that are known, what for, and the invitations that are open
    List {
        /// As a JSON document with a version
        #[arg(long)]
        json: bool,
    },
    /// Show everything that is known of one
    Show {
        /// Its name
        #[arg(value_name = "PEER")]
        name: String,
        /// As a JSON document with a version
        #[arg(long)]
        json: bool,
    },
    /// Call one by another name from now on
    Rename {
        /// Its name
        #[arg(value_name = "PEER")]
        name: String,
        /// Its new name
        #[arg(value_name = "NEW")]
        new: String,
    },
    /// A target is at another address from now on; mounts that are up go there at once
    Address {
        /// Its name
        #[arg(value_name = "PEER")]
        name: String,
        /// Where it is
        #[arg(value_name = "HOST[:PORT]")]
        address: String,
    },
    /// Know one no more: its open connections end at once, and no new one is let in or made; replicas stay as they are. Or withdraw an
    /// invitation
    Revoke {
        /// Its name, or the number of an invitation as the list shows it
        #[arg(value_name = "PEER|#INVITATION")]
        name: String,
    },
}

/// `replfs key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do; without it, print the fingerprint.
    #[command(subcommand)]
    pub command: Option<KeyCommand>,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
    /// Where state is kept.
    #[arg(long = "state", value_name = "DIR", help = STATE_HELP, global = true)]
    state: Option<PathBuf>,
}

impl KeyArgs {
    /// Where state is kept.
    pub fn state(&self) -> StateArgs {
        StateArgs { dir: self.state.clone() }
    }
}

/// What to do with the key.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a new key. Peers learn it at their next connection, which running daemons begin at once; the old one is kept until all
    /// have, and nobody has to be paired again
    Rotate {
        /// Also where peers have not learned the present one yet: those have to be paired again
        #[arg(long)]
        force: bool,
    },
}

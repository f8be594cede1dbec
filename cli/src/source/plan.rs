//! From the arguments of a mount to a plan in which everything is parsed, checked, opened and locked, before anything is
//! touched that others use.

use super::asked::Asked;
use super::identity::{self, Identity};
use super::limits::Limits;
use super::locks::Locks;
use super::memory::Memory;
use super::resolve::Resolved;
use super::{SetFile, journal, mounts, root};
use crate::args::mount_options::MountFlags;
use crate::args::target_name::TargetPlace;
use crate::args::{KeepImage, MountArgs};
use crate::exit::Failure;
use crate::reach::{self, Trust};
use crate::state::Places;
use platform::awake::LowLatency;
use protocol::Name;
use scm::packing::{Packers, Packing};
use scm::path::{MOST_PATHS, Path};
use srm::sending::Rule;
use srm::set::Set;
use srm::status::{CacheMode, NearBounds};
use srm::{Commit, JournalConfig};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is known before the layers are put together.
#[derive(Debug)]
pub struct SourcePlan {
    /// SRC, absolute, without links.
    pub src: PathBuf,
    /// MNT, absolute, without links.
    pub mnt: PathBuf,
    /// NAME.
    pub name: Name,
    /// Where the replica is; a local ROOT is absolute.
    pub target: TargetPlace,
    /// The same as the user named it, for status and messages.
    pub target_text: String,
    /// By what the target is recognised; `None` for a local ROOT only.
    pub trust: Option<Trust>,
    /// When applications are answered.
    pub commit: Commit,
    /// Who gathers writes.
    pub cache: CacheMode,
    /// How long a reply waits for a target that does not answer.
    pub degrade_after: Duration,
    /// How long the target tries what it cannot carry out; `None`: for ever.
    pub retry_after: Option<Duration>,
    /// How long an operation waits for the target's verdict.
    pub remote_timeout: Duration,
    /// How long the mount waits for the first answer.
    pub connect_timeout: Duration,
    /// How long the daemon goes on after the unmount.
    pub drain_timeout: Duration,
    /// Bound of what is queued in memory, in bytes.
    pub backlog_bytes: u64,
    /// Where what is queued is kept; none without a target.
    pub journal: Option<JournalConfig>,
    /// Whether cores are kept awake for calls that wait.
    pub low_latency: LowLatency,
    /// That take requests; 0: as many as suit this machine.
    pub threads: usize,
    /// Connections at most that copy files beside the ordered one.
    pub lanes: usize,
    /// When it sends what is queued.
    pub send: Vec<Rule>,
    /// How fast it may send; `None` where no network is between.
    pub limits: Option<Arc<Limits>>,
    /// How what is sent is packed; `None` where no network is between.
    pub packing: Option<Arc<Packing>>,
    /// Network paths to the target; none: the one that the system chooses.
    pub paths: Vec<Path>,
    /// Take over what is on the target and belongs to nobody.
    pub adopt: bool,
    /// The last coherent state is kept during a catch-up; of a local ROOT only.
    pub keeps_images: bool,
    /// How files that exist on both sides are compared.
    pub compare: srm::Compare,
    /// When everything is verified by itself.
    pub verify_every: Option<Duration>,
    /// How fast that reads, in bytes in a second.
    pub verify_rate: Option<u64>,
    /// What is replicated.
    pub set: Set,
    /// Where that was read from, and is read again.
    pub set_file: SetFile,
    /// Flags of the mount.
    pub flags: MountFlags,
    /// SRC as it was before the mount, below which no other file system is reached where the system allows it (root).
    pub root: OwnedFd,
    /// Where other file systems are mounted below SRC.
    pub submounts: Vec<String>,
    /// Directories of this node; [`crate::keys::load`] gives the node's key.
    pub places: Places,
    /// What is remembered of this source.
    pub state_dir: PathBuf,
    /// What was remembered at the last mount: replica, clean end. Where SRC is accepted as another directory, or another
    /// one is recorded, the clean end is forgotten: content is to be compared.
    pub memory: Memory,
    identity: Identity,
    _locks: Locks,
}

impl SourcePlan {
    /// Records which directory SRC is. From then on a mount under this NAME of any other one is refused. To be called once
    /// the target has let this source in.
    pub fn remember_source(&self) -> Result<(), Failure> {
        identity::write(&self.state_dir, &self.identity)?;
        match (&self.trust, std::str::from_utf8(self.name.as_bytes())) {
            (Some(trust), Ok(dir)) => reach::bind(&self.places, trust, dir, &self.src),
            _ => Ok(()),
        }
    }

    /// The control socket of this source's daemon.
    pub fn socket(&self) -> PathBuf {
        self.places.source_socket(self.name.as_os_str())
    }
}

/// Checks, opens and locks everything, and makes this source's state directory.
pub(super) fn prepare(args: &MountArgs, flags: MountFlags) -> Result<SourcePlan, Failure> {
    let asked = Asked::read(args)?;
    let replication = &args.replication;
    mounts::clear_dead(&args.mnt)?;
    let resolved = Resolved::find(args, &asked)?;
    let set_file = SetFile::find(replication.set.as_deref(), &asked.name, &resolved);
    let set = set_file.load()?;
    let name = asked.name.as_os_str();
    let state_dir = resolved.places.make_source(name)?;
    let locks = Locks::take(&resolved.src, &state_dir, &asked.name)?;
    let identity = Identity::of(locks.src())?;
    let same = identity::check(&state_dir, &resolved.src, &identity, replication.accept_changed_source)?;
    let mut memory = Memory::read(&state_dir)?;
    if !same {
        memory.clean_end_secs = None;
    }
    let limits = match resolved.target {
        TargetPlace::Remote { .. } => Some(Arc::new(Limits::new(replication.limit.clone()))),
        _ if replication.limit.is_empty() => None,
        _ => return Err(Failure::usage("a limit is for a target on the network; leave --limit out")),
    };
    let packing = match resolved.target {
        TargetPlace::Remote { .. } => {
            let most = replication.packers.and_then(|most| NonZeroUsize::new(most.into()));
            Some(Packing::new(replication.compress, Some(Packers::new(most))))
        }
        _ => None,
    };
    let paths = paths(&replication.path, &resolved.target)?;
    let journal = match resolved.target {
        TargetPlace::None => None,
        _ => Some(journal::plan(replication, &resolved.places, &asked.name, &state_dir, same)?),
    };
    Ok(SourcePlan {
        root: root::open(locks.src(), flags.noatime)?,
        submounts: mounts::below(&resolved.src, &resolved.mnt),
        src: resolved.src,
        mnt: resolved.mnt,
        name: asked.name,
        target: resolved.target,
        target_text: asked.target_text,
        trust: asked.trust,
        commit: Commit {
            mode: replication.commit,
            near: replication.near.change().over(NearBounds::default()),
            strict: replication.strict,
        },
        cache: replication.cache,
        degrade_after: replication.degrade_after,
        retry_after: replication.retry_after.0,
        remote_timeout: replication.remote_timeout,
        connect_timeout: replication.connect_timeout,
        drain_timeout: replication.drain_timeout,
        backlog_bytes: replication.backlog,
        journal,
        low_latency: replication.low_latency,
        threads: replication.threads.map_or(0, usize::from),
        lanes: replication.lanes.into(),
        send: replication.send.clone(),
        limits,
        packing,
        paths,
        adopt: replication.adopt,
        keeps_images: replication.keep_image == KeepImage::Auto,
        compare: srm::Compare { block_bytes: replication.block_size, min_size: replication.min_size },
        verify_every: replication.verify_every,
        verify_rate: replication.verify_rate.0,
        set,
        set_file,
        flags,
        places: resolved.places,
        state_dir,
        memory,
        identity,
        _locks: locks,
    })
}

/// The network paths that were given, if they can be those of this target.
fn paths(given: &[Path], target: &TargetPlace) -> Result<Vec<Path>, Failure> {
    let remote = matches!(target, TargetPlace::Remote { .. });
    if !given.is_empty() && !remote {
        return Err(Failure::usage("a path is for a target on the network; leave --path out"));
    }
    if given.len() > MOST_PATHS {
        return Err(Failure::usage(format!("{} paths are too many; give at most {MOST_PATHS}", given.len())));
    }
    let twice = given.iter().enumerate().find(|(n, path)| given[..*n].contains(path));
    match twice {
        Some((_, path)) => Err(Failure::usage(format!("path '{}' is given twice; give each once", path.local))),
        None => Ok(given.to_vec()),
    }
}

/// The same checks for `-f`; nothing is made, and no lock is kept.
pub(super) fn check_only(args: &MountArgs, _flags: MountFlags) -> Result<(), Failure> {
    let asked = Asked::read(args)?;
    if mounts::is_dead(&args.mnt) {
        // It would be cleared, and is in the way of every further look.
        return Ok(());
    }
    let resolved = Resolved::find(args, &asked)?;
    paths(&args.replication.path, &resolved.target)?;
    SetFile::find(args.replication.set.as_deref(), &asked.name, &resolved).load()?;
    let state_dir = resolved.places.source(asked.name.as_os_str());
    let src = Locks::probe(&resolved.src, &state_dir, &asked.name)?;
    identity::check(&state_dir, &resolved.src, &Identity::of(&src)?, args.replication.accept_changed_source)?;
    Ok(())
}

//! What the control socket of a source's daemon answers.

use super::limits::Limits;
use super::{SetFile, SourcePlan, asked};
use crate::args::limit::Limit;
use crate::args::send;
use crate::control::{CommitRequest, Control, Left, SetInForce, Status, Unfinished, Writer};
use crate::exit::{Code, Failure};
use crate::reach::Reach;
use fsi::Mounted;
use parking_lot::Mutex;
use protocol::RelPath;
use scm::packing::Packing;
use srm::sending::Rule;
use srm::set::changes;
use srm::status::{CacheMode, PathState, PathStatus, SendStatus};
use srm::verify::{VerifyOptions, VerifyRefused};
use srm::{Commit, OnRemove, Srm};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Tells files that are open for writing, with inode numbers beyond some one.
type Writers = Box<dyn Fn(u64) -> Vec<(u64, RelPath)> + Send + Sync>;

/// A source's daemon, as commands see it.
pub struct SourceDaemon {
    srm: Arc<Srm>,
    /// Read by one command at a time.
    set_file: Mutex<SetFile>,
    /// How fast it may send, where a network is between.
    limits: Option<Arc<Limits>>,
    /// How what is sent is packed, where a network is between.
    packing: Option<Arc<Packing>>,
    /// How a target on the network is known.
    reach: Option<Reach>,
    /// Who gathers writes.
    cache: CacheMode,
    /// What tells the files that are open for writing, once there is a mount.
    writers: OnceLock<Writers>,
    /// Commands that wait for the drain want the daemon to go on until then.
    until: Mutex<Option<Instant>>,
}

impl SourceDaemon {
    /// The daemon around `srm`.
    pub fn new(srm: Arc<Srm>, plan: &SourcePlan, reach: Option<Reach>) -> Arc<Self> {
        let (set_file, limits) = (Mutex::new(plan.set_file.clone()), plan.limits.clone());
        let (packing, cache) = (plan.packing.clone(), plan.cache);
        Arc::new(Self {
            srm,
            set_file,
            limits,
            packing,
            reach,
            cache,
            writers: OnceLock::new(),
            until: Mutex::new(None),
        })
    }

    /// There is a mount.
    pub fn mounted(&self, mounted: &Mounted) {
        let _first = self.writers.set(Box::new(mounted.writers()));
    }

    /// Makes SRC durable.
    pub fn sync_source(&self) -> std::io::Result<()> {
        self.srm.sync_source()
    }

    /// The mount is gone: sends what is left until it is all there, or until `timeout` is over and nobody waits any longer.
    pub fn finish(&self, timeout: Duration) -> Result<(), Left> {
        self.srm.close();
        let own = Instant::now() + timeout;
        loop {
            let until = self.until.lock().map_or(own, |asked| asked.max(own));
            match self.srm.drain(until.saturating_duration_since(Instant::now())) {
                Ok(()) => return Ok(()),
                // Before the time was over: nothing more will be sent, whoever waits for it.
                Err(left) if Instant::now() < until => return Err(left.into()),
                Err(left) if self.until.lock().is_none_or(|asked| asked <= Instant::now()) => return Err(left.into()),
                // Somebody began to wait meanwhile.
                Err(_) => {}
            }
        }
    }
}

fn path_status(path: scm::path::Known) -> PathStatus {
    let scm::path::Known { local, target, alive, since_ms, reason, session, lanes, sent_bytes } = path;
    let state = match alive {
        None => PathState::Untried,
        Some(true) => PathState::Alive,
        Some(false) => PathState::Dead,
    };
    // A target that showed the wrong key has its say in it.
    let reason = reason.map(|reason| srm::said::words(&reason));
    PathStatus { local, target, state, since_ms, reason, session, lanes, sent_bytes }
}

impl Control for SourceDaemon {
    fn status(&self) -> Status {
        let mut status = self.srm.status();
        status.cache = self.cache;
        if let Some(target) = status.targets.first_mut() {
            target.limit = self.limits.as_ref().and_then(|limits| limits.now());
            let packed = self.packing.as_ref().map(|packing| packing.now()).unwrap_or_default();
            (target.packed_from_bytes, target.packed_bytes) = (packed.raw_bytes, packed.sent_bytes);
            target.packing = packed.streams;
            let paths = self.reach.as_ref().map(|reach| reach.dialer.known_paths()).unwrap_or_default();
            target.paths = paths.into_iter().map(path_status).collect();
        }
        Status::Source(status)
    }

    fn writers(&self, after: u64) -> Result<Vec<Writer>, Failure> {
        let writers = self.writers.get().map(|writers| writers(after)).unwrap_or_default();
        Ok(writers.into_iter().map(|(ino, path)| Writer { ino, path: path.as_bytes().to_vec() }).collect())
    }

    fn peers_changed(&self) {
        if let Some(reach) = &self.reach {
            reach.peers_changed();
        }
    }

    fn bypass(&self, on: bool) -> Result<(), Unfinished> {
        if self.srm.is_bypassed() {
            return Err(Unfinished::Failed(Failure::usage(
                "this mount has no target, so there is nothing to switch; mount it with --target",
            )));
        }
        self.srm.bypass(on);
        Ok(())
    }

    fn limit(&self, wanted: Option<Vec<Limit>>) -> Result<(Option<u64>, Vec<Limit>), Failure> {
        let limits = self.limits.as_ref().ok_or_else(|| {
            Failure::usage("nothing is sent over a network from this mount, so there is nothing to limit")
        })?;
        if let Some(wanted) = wanted {
            tracing::info!(event = "limit", limits = ?wanted.iter().map(ToString::to_string).collect::<Vec<_>>(), "how fast may be sent was changed");
            limits.set(wanted);
        }
        Ok((limits.now(), limits.all()))
    }

    fn send(&self, wanted: Option<&[Rule]>) -> Result<SendStatus, Failure> {
        if self.srm.is_bypassed() {
            let text = "this mount has no target, so there is nothing to send; mount it with --target";
            return Err(Failure::usage(text));
        }
        if let Some(wanted) = wanted {
            self.srm.set_send_rules(wanted).map_err(|refused| {
                Failure::usage(format!("{refused}; 'replfs commit MNT real' or local comes first"))
            })?;
            let rules: Vec<_> = wanted.iter().copied().map(send::shown).collect();
            tracing::info!(event = "send", ?rules, "when is sent was changed");
        }
        Ok(self.srm.send_status())
    }

    fn commit(&self, request: CommitRequest) -> Result<(), Unfinished> {
        if self.srm.is_bypassed() {
            let text = "this mount has no target, so there is nothing to wait for; mount it with --target";
            return Err(Unfinished::Failed(Failure::usage(text)));
        }
        asked::check_cache(self.cache, request.mode).map_err(Unfinished::Failed)?;
        let near = request.near.over(self.srm.commit_mode().near);
        let commit = Commit { mode: request.mode, near, strict: request.strict };
        self.srm.set_commit_mode(commit).map_err(|refused| {
            let text = format!("{refused}; 'replfs send MNT now' lets go of it and holds nothing any more");
            Unfinished::Failed(Failure::usage(text))
        })
    }

    fn mirror(&self, paths: &[Vec<u8>], lanes: Option<u8>, timeout: Duration) -> Result<(), Unfinished> {
        super::mirror::begin(&self.srm, paths, lanes, timeout)
    }

    fn sync(&self, timeout: Duration) -> Result<(), Unfinished> {
        Ok(self.srm.sync(timeout)?)
    }

    fn drain(&self, timeout: Duration) -> Result<(), Unfinished> {
        let until = Instant::now() + timeout;
        {
            let mut asked = self.until.lock();
            *asked = Some(asked.map_or(until, |before| before.max(until)));
        }
        Ok(self.srm.drain(timeout)?)
    }

    fn verify(&self, options: VerifyOptions) -> Result<u64, Failure> {
        self.srm.verify(options).map_err(|refused| {
            let code = match refused {
                VerifyRefused::Running(_) => Code::InUse,
                VerifyRefused::Away(_) => Code::Unreachable,
                VerifyRefused::Thread(_) => Code::System,
                VerifyRefused::Unreadable(..) => Code::Unreadable,
                _ => Code::Usage,
            };
            Failure::new(code, refused.to_string())
        })
    }

    fn stop_verify(&self) -> Result<(), Failure> {
        if self.srm.stop_verify() {
            return Ok(());
        }
        Err(Failure::usage("no verification runs; 'replfs status' shows how the last one ended"))
    }

    fn set(&self) -> Result<SetInForce, Failure> {
        let path = self.set_file.lock().path().as_os_str().as_bytes().to_vec();
        Ok(SetInForce { path, text: self.srm.set().text().to_owned() })
    }

    fn reload_set(&self, on_remove: OnRemove) -> Result<Vec<String>, Failure> {
        let file = self.set_file.lock();
        let set = file.load()?;
        let lines = changes(&self.srm.set(), &set);
        self.srm.change_set(set, on_remove);
        Ok(lines)
    }
}

//! Where the layers of a source meet: tree, SRM, connection, FUSE, control socket, signals.

use super::SourcePlan;
use super::feed::{FirstAnswer, SourceFeed};
use super::lanes::SourceLanes;
use super::local::LocalDialer;
use super::memory::Memory;
use super::stream::StreamThread;
use super::watch::SourceDaemon;
use crate::args::target_name::TargetPlace;
use crate::control::server::Server;
use crate::daemon::Ready;
use crate::exit::{Code, Failure};
use crate::reach::Reach;
use crate::serve::{self, Signals};
use crate::{keys, low_latency, notify};
use fsi::{MountOptions, Mounted};
use platform::tree::Tree;
use protocol::RefusalCode;
use scm::keyring::Keyring;
use scm::lane;
use scm::limit::{Allowance, LimitedDialer};
use scm::packing::PackingDialer;
use scm::session::{self, Dial, Feed};
use srm::Srm;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use target::{Limits, Target, TargetConfig};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

/// What a target that answers at once may need beyond the time for connecting.
const GREETING: Duration = Duration::from_secs(1);
/// How long what still runs at the very end may take.
const LAST: Duration = Duration::from_secs(1);

/// The target itself, where it is a directory of this machine.
type LocalTarget = Option<Arc<Target>>;

/// What connects to the target: the session, and the lanes.
struct Dialers {
    session: Arc<dyn Dial>,
    lanes: Arc<dyn Dial>,
}

/// What connects to the target, and the target itself where it is a local directory; what a target on the network is known by.
type Reached = (Dialers, LocalTarget, Option<Reach>);

const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// Runs the source until it is unmounted and drained.
pub fn run(plan: &SourcePlan, ready: &Ready) -> Result<(), Failure> {
    platform::sys::share_memory();
    platform::sys::raise_descriptor_limit();
    let keyring = keys::load(&plan.places)?;
    let runtime =
        Runtime::new().map_err(|e| Failure::io(Code::System, "cannot start the threads of the source daemon", &e))?;
    let srm = start_srm(plan)?;
    let Attached { warning, local, reach, stream } = attach(plan, &runtime, keyring, &srm)?;
    let daemon = SourceDaemon::new(Arc::clone(&srm), plan, reach);
    let control = Server::start(&plan.socket(), Arc::clone(&daemon) as Arc<_>)?;
    let mounted = fsi::mount(Arc::clone(&srm), &mount_options(plan))
        .map_err(|error| Failure::new(Code::Mount, format!("cannot mount {}: {error}", plan.mnt.display())))?;
    daemon.mounted(&mounted);
    obey_signals(&runtime, &mounted)?;
    tracing::info!(event = "mounted", source = %plan.src.display(), at = %plan.mnt.display(), "usable");
    ready.mounted(warning);
    if let Err(error) = mounted.wait() {
        tracing::error!(event = "session-ended", %error, "the mount ended with an error");
    }
    notify::stopping();
    let outcome = daemon.finish_cleanly(plan);
    control.end(outcome);
    srm.stop();
    if outcome.is_ok() {
        srm.forget_journal();
    }
    if let Some(target) = local {
        runtime.block_on(target.shutdown());
    }
    if let Some(stream) = stream {
        stream.end();
    }
    runtime.shutdown_timeout(LAST);
    tracing::info!(event = "ended", "unmounted");
    Ok(())
}

fn start_srm(plan: &SourcePlan) -> Result<Arc<Srm>, Failure> {
    // From here on an end is unclean until it is known to be clean.
    if plan.memory.clean_end_secs.is_some() {
        Memory { clean_end_secs: None, ..plan.memory }.write(&plan.state_dir)?;
    }
    if plan.journal.is_none() {
        // What this mount changes is noted nowhere.
        srm::forget_hot(&plan.state_dir.join(super::journal::HOT)).map_err(|e| {
            Failure::io(
                Code::System,
                format!("cannot remove {}", plan.state_dir.join(super::journal::HOT).display()),
                &e,
            )
        })?;
    }
    let system = |what: &str, e: &std::io::Error| Failure::io(Code::System, what, e);
    let tree = Tree::new(plan.root.as_fd())
        .map_err(|e| Failure::io(Code::Source, format!("cannot read {}", plan.src.display()), &e))?;
    let config = srm::Config {
        name: plan.name.clone(),
        source: plan.src.to_string_lossy().into_owned(),
        mountpoint: plan.mnt.to_string_lossy().into_owned(),
        target: plan.target_text.clone(),
        commit: plan.commit,
        degrade_after: plan.degrade_after,
        retry_after: plan.retry_after,
        remote_timeout: plan.remote_timeout,
        backlog_bytes: plan.backlog_bytes,
        journal: plan.journal.clone(),
        adopt: plan.adopt,
        replica: plan.memory.replica,
        clean_end_secs: plan.memory.clean_end_secs,
        submounts: plan.submounts.clone(),
        software: SOFTWARE.to_owned(),
        set: plan.set.clone(),
        sweep: Some(plan.state_dir.join("sweep")),
        bypassed: plan.target == TargetPlace::None,
        compare: plan.compare,
    };
    let srm =
        Srm::start(Arc::new(tree), config).map_err(|e| system("cannot start the threads of the source daemon", &e))?;
    srm.lanes().set_limit(plan.lanes);
    let awake = low_latency::open(plan.low_latency)?;
    awake.start().map_err(|e| system("cannot start the threads of the source daemon", &e))?;
    srm.stay_awake(awake);
    // Before anything can be sent.
    srm.set_send_rules(&plan.send).map_err(|refused| Failure::usage(refused.to_string()))?;
    if let Some(every) = plan.verify_every {
        srm.verify_every(every, plan.verify_rate)
            .map_err(|e| system("cannot start the threads of the source daemon", &e))?;
    }
    Ok(srm)
}

/// What became of the target at first.
#[derive(Default)]
struct Attached {
    /// What the user is to know about it.
    warning: Option<String>,
    local: LocalTarget,
    reach: Option<Reach>,
    stream: Option<StreamThread>,
}

/// Connects to the target, if there is to be one.
fn attach(plan: &SourcePlan, runtime: &Runtime, keyring: Keyring, srm: &Arc<Srm>) -> Result<Attached, Failure> {
    let Some((dialers, local, reach)) = dialers(plan, runtime, keyring)? else {
        let warning = Some("no target: nothing is replicated (state bypass)".to_owned());
        return Ok(Attached { warning, ..Attached::default() });
    };
    let (feed, stream) = connect(plan, runtime, srm, dialers)?;
    let away = judge(plan, feed.first_answer(plan.connect_timeout + GREETING))?;
    let missing = reach.as_ref().and_then(|reach| without(&reach.missing));
    let warnings: Vec<_> = missing.into_iter().chain(away).collect();
    Ok(Attached { warning: (!warnings.is_empty()).then(|| warnings.join("; ")), local, reach, stream: Some(stream) })
}

/// What is to be said of network paths that are not there.
fn without(missing: &[(String, String)]) -> Option<String> {
    let one = |(local, why): &(String, String)| format!("path {local} cannot be used now ({why})");
    let all: Vec<_> = missing.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("{}; it is tried again by itself", all.join(", ")))
}

/// How the target is reached; `None` where there is none.
fn dialers(plan: &SourcePlan, runtime: &Runtime, keyring: Keyring) -> Result<Option<Reached>, Failure> {
    match (&plan.target, &plan.trust) {
        (TargetPlace::None, _) => Ok(None),
        (TargetPlace::Local(root), _) => {
            let _within = runtime.enter();
            let config = TargetConfig { root: root.clone(), software: SOFTWARE.to_owned(), limits: Limits::default() };
            let target = Target::open(config).map_err(|error| serve::failure(&error))?;
            target.keep_images(plan.keeps_images);
            let peer = keys::local_peer(&keyring);
            let session: Arc<dyn Dial> = Arc::new(LocalDialer::new(Arc::clone(&target), peer));
            Ok(Some((Dialers { lanes: Arc::clone(&session), session }, Some(target), None)))
        }
        (TargetPlace::Remote { host, port }, Some(trust)) => {
            let reach =
                Reach::new((host.clone(), *port), trust, &plan.places, keyring, plan.connect_timeout).over(&plan.paths);
            let dialer = reach.dialer.clone();
            runtime.spawn(dialer.clone().look_after_paths());
            let mut dialers = Dialers { lanes: Arc::new(dialer.for_lanes()), session: Arc::new(dialer) };
            if let Some(limits) = plan.limits.clone() {
                let allowance = Allowance::new(Box::new(move || limits.now()));
                dialers.lanes = LimitedDialer::new(dialers.lanes, Arc::clone(&allowance));
                dialers.session = LimitedDialer::new(dialers.session, allowance);
            }
            // What is packed is what the limit counts.
            if let Some(packing) = &plan.packing {
                dialers.lanes = PackingDialer::new(dialers.lanes, Arc::clone(packing));
                dialers.session = PackingDialer::new(dialers.session, Arc::clone(packing));
            }
            Ok(Some((dialers, None, Some(reach))))
        }
        // Refused when the words were read.
        (TargetPlace::Remote { .. }, None) => Err(Failure::usage("the target is not known; give its --target-key")),
    }
}

/// Starts the session that keeps the target up to date, and what opens lanes beside it.
fn connect(
    plan: &SourcePlan,
    runtime: &Runtime,
    srm: &Arc<Srm>,
    dialers: Dialers,
) -> Result<(Arc<SourceFeed>, StreamThread), Failure> {
    let wake = Arc::new(Notify::new());
    let waker = Arc::clone(&wake);
    srm.on_wake(move || waker.notify_one());
    let (known, state_dir) = (plan.memory.replica, plan.state_dir.clone());
    let feed = SourceFeed::new(Arc::clone(srm), move |replica| {
        // Another replica than the known one is refused before this; so it is new, or known.
        if known != Some(replica)
            && let Err(error) = (Memory { replica: Some(replica), clean_end_secs: None }).write(&state_dir)
        {
            tracing::error!(event = "state", %error, "which replica this source has could not be written down");
        }
    });
    let stream = StreamThread::start(session::run(Arc::clone(&feed) as Arc<dyn Feed>, dialers.session, wake))?;
    let (wake, woken) = watch::channel(0);
    srm.lanes().on_wake(move || wake.send_modify(|n| *n += 1));
    runtime.spawn(lane::run(Arc::new(SourceLanes(Arc::clone(srm))), dialers.lanes, woken, lane::IDLE));
    Ok((feed, stream))
}

/// What the first answer of the target means for the mount: go on, go on with a warning, or not at all.
fn judge(plan: &SourcePlan, answer: Option<FirstAnswer>) -> Result<Option<String>, Failure> {
    let first_time = plan.memory.replica.is_none();
    let target = &plan.target_text;
    let away = |reason: String| {
        if first_time {
            let text = format!("{reason}; at the very first mount the target must answer: start it, or check its name");
            return Err(Failure::new(Code::Unreachable, text));
        }
        Ok(Some(format!("{reason}; changes are remembered and brought over when it is back (state accumulating)")))
    };
    match answer {
        Some(FirstAnswer::Welcome) => {
            plan.remember_source()?;
            Ok(None)
        }
        Some(FirstAnswer::Key(text)) => Err(Failure::new(Code::Key, text)),
        Some(FirstAnswer::Lost(reason)) => away(reason),
        None => away(format!("cannot reach {target}: no answer within {:?}", plan.connect_timeout)),
        Some(FirstAnswer::Refused(code, text)) => {
            let code = match code {
                RefusalCode::Unknown => Code::Key,
                RefusalCode::Owned => Code::Owned,
                RefusalCode::NotEmpty => Code::NotEmpty,
                RefusalCode::Changed => Code::Changed,
                RefusalCode::Unwritable if first_time => Code::Root,
                RefusalCode::Unwritable | RefusalCode::Busy => return away(format!("{target}: {text}")),
                RefusalCode::Version | RefusalCode::Protocol | RefusalCode::Missing | RefusalCode::Other => Code::Mount,
            };
            Err(Failure::new(code, format!("{target}: {text}")))
        }
    }
}

fn mount_options(plan: &SourcePlan) -> MountOptions {
    MountOptions {
        source_name: plan.src.to_string_lossy().into_owned(),
        mountpoint: plan.mnt.clone(),
        read_only: plan.flags.read_only,
        nosuid: plan.flags.nosuid,
        nodev: plan.flags.nodev,
        noexec: plan.flags.noexec,
        noatime: plan.flags.noatime,
        threads: plan.threads,
        cache: plan.cache,
    }
}

/// SIGTERM and SIGINT unmount, and the daemon drains and ends; a second one ends at once.
fn obey_signals(runtime: &Runtime, mounted: &Mounted) -> Result<(), Failure> {
    let _within = runtime.enter();
    let mut signals = Signals::new().map_err(|e| Failure::io(Code::System, "cannot listen to signals", &e))?;
    let unmount = mounted.unmounter();
    runtime.spawn(async move {
        signals.next().await;
        tracing::info!(event = "signal", "unmounting");
        let unmounting = tokio::task::spawn_blocking(unmount);
        tokio::select! {
            _ = unmounting => {}
            () = signals.next() => end_at_once(),
        }
        signals.next().await;
        end_at_once();
    });
    Ok(())
}

fn end_at_once() {
    tracing::warn!(event = "ended", "ended at once by a second signal; the next mount compares source and target");
    std::process::exit(Code::System.number().into());
}

impl SourceDaemon {
    /// Drains, and notes a clean end if everything got there.
    fn finish_cleanly(&self, plan: &SourcePlan) -> Result<(), crate::control::Left> {
        // Nothing was changed through the mount after this moment; what changes from now on has a later change time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let outcome = self.finish(plan.drain_timeout);
        match &outcome {
            // What the replica of another mount lacks nobody knows.
            Ok(()) if plan.target == TargetPlace::None => {}
            Ok(()) => {
                // What the next mount believes of the source is to be there after a power cut too.
                if let Err(error) = self.sync_source() {
                    tracing::error!(event = "source-disk", %error, "the source's disk lost writes; the next mount compares content");
                    return outcome;
                }
                let written = Memory::read(&plan.state_dir).and_then(|memory| {
                    Memory { clean_end_secs: i64::try_from(now).ok(), ..memory }.write(&plan.state_dir)
                });
                if let Err(error) = written {
                    tracing::warn!(event = "state", %error, "the clean end could not be noted; the next mount compares content");
                }
            }
            Err(left) => tracing::warn!(
                event = "backlog-left",
                operations = left.operations,
                bytes = left.bytes,
                mirror = left.mirror,
                "not everything is on the target; the next mount compares source and target"
            ),
        }
        outcome
    }
}

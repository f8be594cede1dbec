//! Lets the lanes' connections pull from the SRM.

use protocol::{Frame, LaneHello, PieceAnswer};
use scm::lane::{LaneFeed, Over};
use srm::Srm;
use srm::lanes::Seat;
use std::sync::Arc;

/// The SRM's pool of pieces as the connections see it.
pub struct SourceLanes(pub Arc<Srm>);

fn over(_: srm::lanes::Over) -> Over {
    Over
}

impl LaneFeed for SourceLanes {
    type Seat = Seat;

    fn next_lane(&self) -> Option<Seat> {
        self.0.lanes().next_lane()
    }

    fn hello(&self, seat: Seat) -> Result<LaneHello, Over> {
        self.0.lanes().hello(seat, self.0.name()).map_err(over)
    }

    fn opened(&self, seat: Seat) -> Result<(), Over> {
        self.0.lanes().opened(seat).map_err(over)
    }

    fn next_piece(&self, seat: Seat) -> Result<Option<Frame>, Over> {
        self.0.lanes().next_piece(seat).map_err(over)
    }

    fn is_idle(&self, seat: Seat) -> bool {
        self.0.lanes().is_idle(seat)
    }

    fn answered(&self, seat: Seat, n: u64, answer: PieceAnswer) -> Result<bool, Over> {
        self.0.lanes().answered(seat, n, answer).map_err(over)
    }

    fn lost(&self, seat: Seat, reason: &str) {
        self.0.lanes().lost(seat, reason);
    }

    fn ended(&self, seat: Seat) {
        self.0.lanes().ended(seat);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::feed::SourceFeed;
    use crate::source::local::LocalDialer;
    use bytes::Bytes;
    use platform::tree::Tree;
    use protocol::{Name, StageId};
    use scm::client::{Pinned, QuicDialer};
    use scm::keyring::{KeyPlace, Keyring, Keys};
    use scm::lane;
    use scm::peers::{PeerDoor, Store};
    use scm::session::{self, Dial, Feed};
    use srm::lanes::LaneError;
    use srm::status::CommitMode;
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::time::Duration;
    use target::{Limits, Target, TargetConfig};
    use tokio::runtime::Runtime;
    use tokio::sync::{Notify, watch};

    const PATIENCE: Duration = Duration::from_secs(20);
    const PASS: u64 = 1;
    const MIB: u64 = 1 << 20;

    fn source(dir: &Path) -> Arc<Srm> {
        let root = std::fs::File::open(dir).unwrap();
        let config = srm::Config {
            name: Name::new(b"tree").unwrap(),
            source: String::new(),
            mountpoint: String::new(),
            target: String::new(),
            commit: srm::Commit::new(CommitMode::Real),
            degrade_after: PATIENCE,
            retry_after: None,
            remote_timeout: PATIENCE,
            backlog_bytes: srm::MIN_BACKLOG_BYTES,
            journal: None,
            adopt: false,
            replica: None,
            clean_end_secs: None,
            submounts: Vec::new(),
            software: String::new(),
            sweep: None,
            bypassed: false,
            compare: srm::Compare::default(),
            set: srm::set::Set::everything(),
        };
        Srm::start(Arc::new(Tree::new(root.as_fd()).unwrap()), config).unwrap()
    }

    /// Connects, waits for the first pass, and copies a file's content over lanes that close when that is done.
    fn copies(runtime: &Runtime, session: Arc<dyn Dial>, lanes: Arc<dyn Dial>, target: &Target) {
        let dir = tempfile::tempdir().unwrap();
        let srm = source(dir.path());
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        srm.on_wake(move || waker.notify_one());
        let feed = SourceFeed::new(Arc::clone(&srm), |_| {});
        runtime.spawn(session::run(feed as Arc<dyn Feed>, session, wake));
        let (wake, woken) = watch::channel(0);
        let mut changes = woken.clone();
        srm.lanes().on_wake(move || wake.send_modify(|n| *n += 1));
        let idle = Duration::from_millis(200);
        runtime.spawn(lane::run(Arc::new(SourceLanes(Arc::clone(&srm))), lanes, woken, idle));
        srm.sync(PATIENCE).unwrap();

        let stage = StageId::new(9, 4);
        srm.lanes().begin_generation(PASS, srm.hello().0.incarnation);
        assert_eq!(srm.lanes().open(PASS, stage, 40 * MIB), Ok(0));
        let chunk = |n: u64| Bytes::from(vec![u8::try_from(n).unwrap(); 1 << 20]);
        for n in (0..40).rev() {
            srm.lanes().data(PASS, stage, n * MIB, chunk(n)).unwrap();
        }
        srm.lanes().settle(PASS, stage).unwrap();
        assert!(target.status().sources[0].lanes >= 1 && srm.status().targets[0].lanes >= 1);
        let file = target.root().join(".replfs/tree/stage").join(stage.to_string());
        let content = std::fs::read(file).unwrap();
        assert_eq!(content.len() as u64, 40 * MIB);
        assert!(content.chunks(1 << 20).enumerate().all(|(n, piece)| piece == chunk(n as u64)));
        assert_eq!(srm.lanes().open(PASS, stage, 40 * MIB), Ok(40 * MIB), "it is taken up again");
        assert_eq!(srm.lanes().compare(PASS, stage, 0, MIB, 1 << 19, vec![0; 32]), Ok(vec![0, 1]));
        runtime.block_on(async {
            let closed = async {
                while srm.lanes().open_lanes() > 0 {
                    changes.changed().await.unwrap();
                }
            };
            tokio::time::timeout(PATIENCE, closed).await.expect("lanes close when nothing is copied");
        });
        assert_eq!(target.status().sources[0].last_error, None);
        srm.lanes().end_generation();
        assert_eq!(srm.lanes().settle(PASS, stage), Err(LaneError::Over));
        srm.stop();
    }

    fn open(root: &Path) -> Arc<Target> {
        Target::open(TargetConfig { root: root.join("root"), software: String::new(), limits: Limits::default() })
            .unwrap()
    }

    #[test]
    fn content_reaches_a_target_in_this_process() {
        let (runtime, dir) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let target = open(dir.path());
        let dialer: Arc<dyn Dial> = Arc::new(LocalDialer::new(Arc::clone(&target), "SHA256:x".into()));
        copies(&runtime, Arc::clone(&dialer), dialer, &target);
        runtime.block_on(target.shutdown());
    }

    #[test]
    fn content_reaches_a_target_over_quic() {
        let (runtime, dir) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let target = open(dir.path());
        let place = |name: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            KeyPlace::new(&dir.path().join(name))
        };
        let (ours, place) = (Arc::new(Keyring::load(&place("ours")).unwrap()), place("theirs"));
        let theirs = Keyring::load(&place).unwrap();
        let known = Pinned::new(theirs.fingerprint(), Arc::clone(&ours));
        let within = runtime.enter();
        let store = Arc::new(Store::new(&dir.path().join("theirs")));
        let door = PeerDoor::new(String::new(), store, vec![ours.fingerprint()], Keys::new(place, theirs));
        let mut listener = scm::server::listen((Ipv4Addr::LOCALHOST, 0).into(), door).unwrap();
        let port = listener.local_addr().port();
        let serving = Arc::clone(&target);
        runtime.spawn(async move {
            while let Some(incoming) = listener.accept().await {
                let (target, peer) = (Arc::clone(&serving), incoming.peer.to_string());
                tokio::spawn(async move { target.serve(peer, incoming.reader, incoming.writer).await });
            }
        });
        let dialer = QuicDialer::new("127.0.0.1".to_owned(), port, known, PATIENCE);
        drop(within);
        copies(&runtime, Arc::new(dialer.clone()), Arc::new(dialer.for_lanes()), &target);
        runtime.block_on(target.shutdown());
    }
}

//! Lanes over real QUIC on loopback: opened on demand, resumed after a cut, closed when there is nothing to copy.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use platform::wire::{read_message, write_message};
use protocol::{Frame, Incarnation, LaneAck, LaneHello, Message, Name, PieceAnswer, PieceOp, StageId, VERSION};
use replfs_scm::client::{Pinned, QuicDialer};
use replfs_scm::keyring::{KeyPlace, Keyring, Keys};
use replfs_scm::lane::{self, LaneFeed, Over};
use replfs_scm::peers::{PeerDoor, Store};
use replfs_scm::server::{Incoming, Listener, listen};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_millis(300);

/// A feed that remembers what happened.
struct Script {
    state: Mutex<State>,
    wake: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Lanes that may be open at once.
    limit: usize,
    queue: VecDeque<u64>,
    /// By lane; what an ended one left is in the queue again.
    seats: BTreeMap<u8, Vec<u64>>,
    opened: usize,
    ended: usize,
    answered: Vec<u64>,
    lost: Vec<String>,
}

impl Script {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn tell(&self) {
        self.wake.send_modify(|n| *n += 1);
    }

    fn push(&self, pieces: std::ops::Range<u64>) {
        self.state().queue.extend(pieces);
        self.tell();
    }

    async fn until(&self, enough: impl Fn(&State) -> bool) {
        let mut changes = self.wake.subscribe();
        let wait = async {
            while !enough(&self.state()) {
                changes.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, wait).await.expect("it happens in time");
    }
}

impl LaneFeed for Script {
    type Seat = u8;

    fn next_lane(&self) -> Option<u8> {
        let mut state = self.state();
        let free = (0..u8::try_from(state.limit).unwrap()).find(|lane| !state.seats.contains_key(lane))?;
        (state.queue.len() > state.seats.len()).then(|| {
            state.seats.insert(free, Vec::new());
            free
        })
    }

    fn hello(&self, lane: u8) -> Result<LaneHello, Over> {
        let incarnation = Incarnation::from_bytes([1; 16]);
        Ok(LaneHello { version: VERSION, name: Name::new(b"n").unwrap(), incarnation, lane })
    }

    fn opened(&self, _: u8) -> Result<(), Over> {
        self.state().opened += 1;
        self.tell();
        Ok(())
    }

    fn next_piece(&self, lane: u8) -> Result<Option<Frame>, Over> {
        let mut state = self.state();
        if state.seats[&lane].len() >= 2 {
            return Ok(None);
        }
        let Some(n) = state.queue.pop_front() else { return Ok(None) };
        state.seats.get_mut(&lane).unwrap().push(n);
        let op = PieceOp::Data { stage: StageId::new(1, 1), offset: n << 20 };
        Ok(Some(Frame::piece(n, &op, Bytes::from(vec![7; 1 << 20]))))
    }

    fn is_idle(&self, lane: u8) -> bool {
        self.state().seats[&lane].is_empty()
    }

    fn answered(&self, lane: u8, n: u64, answer: PieceAnswer) -> Result<bool, Over> {
        assert_eq!(answer, PieceAnswer::Done);
        let mut state = self.state();
        let under_way = state.seats.get_mut(&lane).unwrap();
        let known = under_way.contains(&n);
        under_way.retain(|m| *m != n);
        state.answered.push(n);
        drop(state);
        self.tell();
        Ok(known)
    }

    fn lost(&self, _: u8, reason: &str) {
        self.state().lost.push(reason.to_owned());
    }

    fn ended(&self, lane: u8) {
        let mut state = self.state();
        let left = state.seats.remove(&lane).unwrap();
        for n in left.into_iter().rev() {
            state.queue.push_front(n);
        }
        state.ended += 1;
        drop(state);
        self.tell();
    }
}

/// The source's side, running; a listener for the target's.
struct Rig {
    feed: Arc<Script>,
    listener: Listener,
    running: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn rig(limit: usize) -> Rig {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = KeyPlace::new(theirs.path());
    let (source, target) =
        (Arc::new(Keyring::load(&KeyPlace::new(ours.path())).unwrap()), Keyring::load(&place).unwrap());
    let shown = target.fingerprint();
    let store = Arc::new(Store::new(theirs.path()));
    let door = PeerDoor::new(String::new(), store, vec![source.fingerprint()], Keys::new(place, target));
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), door).unwrap();
    let port = listener.local_addr().port();
    let dialer = QuicDialer::new("127.0.0.1".into(), port, Pinned::new(shown, source), PATIENCE).for_lanes();
    let (wake, woken) = watch::channel(0);
    let feed = Arc::new(Script { state: Mutex::new(State { limit, ..State::default() }), wake });
    let running = tokio::spawn(lane::run(Arc::clone(&feed), Arc::new(dialer), woken, IDLE));
    Rig { feed, listener, running }
}

impl Rig {
    /// A lane that has greeted and was let in.
    async fn accept(&mut self) -> (LaneHello, Incoming) {
        let mut incoming = timeout(PATIENCE, self.listener.accept()).await.expect("a lane comes").unwrap();
        let Some(Message::Lane(hello)) = next(&mut incoming).await else { panic!("no lane's hello") };
        write_message(&mut incoming.writer, &Message::LaneAck(LaneAck { version: VERSION })).await.unwrap();
        (hello, incoming)
    }
}

async fn next(lane: &mut Incoming) -> Option<Message> {
    timeout(PATIENCE, read_message(&mut lane.reader)).await.expect("something comes").unwrap()
}

/// The number of the next piece; `None` when the lane ends.
async fn piece(lane: &mut Incoming) -> Option<u64> {
    loop {
        match next(lane).await {
            Some(Message::Piece(n, PieceOp::Data { offset, .. }, data)) => {
                assert_eq!((offset, data.len()), (n << 20, 1 << 20));
                return Some(n);
            }
            Some(Message::Heartbeat) => {}
            None => return None,
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Answers every piece until the lane ends; how many there were.
async fn serve(mut lane: Incoming) -> u64 {
    let mut count = 0;
    while let Some(n) = piece(&mut lane).await {
        write_message(&mut lane.writer, &Message::PieceDone(n, PieceAnswer::Done)).await.unwrap();
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_open_when_there_is_something_to_copy_and_close_when_there_is_not() {
    let mut rig = rig(3);
    let silent = timeout(IDLE, rig.listener.accept()).await;
    assert!(silent.is_err(), "nothing to copy, no connection");
    rig.feed.push(1..40);
    let mut numbers = Vec::new();
    let mut served = Vec::new();
    for _ in 0..3 {
        let (hello, lane) = rig.accept().await;
        numbers.push(hello.lane);
        served.push(tokio::spawn(serve(lane)));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
    rig.feed.until(|state| state.answered.len() == 39).await;
    let since = Instant::now();
    rig.feed.until(|state| state.ended == 3).await;
    assert!(since.elapsed() >= IDLE / 2, "not at once: more may come");
    let mut count = 0;
    for lane in served {
        count += lane.await.unwrap();
    }
    assert_eq!(count, 39);
    assert!(rig.feed.state().lost.is_empty());
    // And again, on demand.
    rig.feed.push(40..41);
    let (_, lane) = rig.accept().await;
    assert_eq!(serve(lane).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_took_goes_out_again() {
    let mut rig = rig(1);
    rig.feed.push(1..6);
    let (_, mut first) = rig.accept().await;
    assert_eq!(piece(&mut first).await, Some(1));
    assert_eq!(piece(&mut first).await, Some(2));
    write_message(&mut first.writer, &Message::PieceDone(1, PieceAnswer::Done)).await.unwrap();
    rig.feed.until(|state| state.answered == [1]).await;
    drop(first);
    let (_, second) = rig.accept().await;
    assert_eq!(serve(second).await, 4, "the second of them again, and the rest");
    assert_eq!(rig.feed.state().answered, [1, 2, 3, 4, 5]);
    assert_eq!(rig.feed.state().lost.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_lane_is_tried_again_and_a_silent_one_given_up() {
    let mut rig = rig(1);
    rig.feed.push(1..2);
    let mut refused = timeout(PATIENCE, rig.listener.accept()).await.unwrap().unwrap();
    assert!(matches!(next(&mut refused).await, Some(Message::Lane(_))));
    let no = protocol::Refused { code: protocol::RefusalCode::Busy, text: "no session".to_owned() };
    write_message(&mut refused.writer, &Message::Refused(no)).await.unwrap();
    let (_, mut silent) = rig.accept().await;
    assert_eq!(rig.feed.state().lost, ["no session"]);
    assert_eq!(piece(&mut silent).await, Some(1));
    let since = Instant::now();
    let mut heartbeats = 0;
    // The source goes on speaking, and hears nothing.
    while let Ok(Ok(Some(Message::Heartbeat))) = timeout(PATIENCE, read_message(&mut silent.reader)).await {
        heartbeats += 1;
    }
    let (_, last) = rig.accept().await;
    assert!(since.elapsed() < Duration::from_secs(7) && heartbeats >= 2, "{:?} {heartbeats}", since.elapsed());
    assert_eq!(serve(last).await, 1);
    assert!(rig.feed.state().lost[1].contains("silent"), "{:?}", rig.feed.state().lost);
}

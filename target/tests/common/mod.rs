//! A scripted source for tests: speaks the protocol over a pipe in memory, one expectation at a time.

#![allow(dead_code, unused_imports)] // every test file uses a part of it
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)] // a test that fails says where

mod lane;
mod ops;
mod snapshot;

pub use lane::*;
pub use ops::*;
pub use snapshot::*;

use bytes::Bytes;
use platform::wire::{read_message, write_message};
use protocol::{
    Ack, Answer, At, Attrs, Hello, HelloAck, Incarnation, Mark, Message, Name, NodeId, NodeKind, Op, Owner, Page,
    Phase, Place, Record, RefusalCode, Refused, RelPath, RenameKind, Replaced, ReplicaId, SeqNo, Time, Trouble,
    TroubleKind, VERSION,
};
use replfs_target::{Limits, Target, TargetConfig, TargetError};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

pub const PEER: &str = "SHA256:source";
pub const NAME: &str = "tree";
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// ROOT in a directory of its own, and a target on it.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub target: Arc<Target>,
}

impl Rig {
    pub fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    /// In memory, where syncing takes no time whatever else the machine's disk is doing.
    pub fn in_memory() -> Self {
        Self::on(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn on(dir: tempfile::TempDir) -> Self {
        let target = open(dir.path()).unwrap();
        Self { dir, target }
    }

    /// ROOT/NAME.
    pub fn tree(&self) -> PathBuf {
        self.dir.path().join("root").join(NAME)
    }

    /// A path in ROOT/NAME.
    pub fn at(&self, text: &str) -> PathBuf {
        self.tree().join(text)
    }

    /// ROOT/.replfs/NAME.
    pub fn meta(&self) -> PathBuf {
        self.dir.path().join("root/.replfs").join(NAME)
    }

    /// What was set aside: the original paths in the index, in order.
    pub fn aside(&self) -> Vec<(String, PathBuf)> {
        let Ok(index) = std::fs::read_to_string(self.meta().join("aside/index")) else { return Vec::new() };
        index
            .lines()
            .map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                (words[2].to_owned(), self.meta().join("aside").join(words[3]))
            })
            .collect()
    }

    /// Connects a source that begins its run of numbers now.
    pub async fn connect(&self) -> Source {
        Source::let_in(&self.target, hello(1)).await
    }

    /// The target daemon is started anew.
    pub async fn restart(self) -> Self {
        self.target.shutdown().await;
        let Self { dir, target } = self;
        // Sessions that were told to end hold it for a moment.
        while Arc::strong_count(&target) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(target);
        let target = open(dir.path()).unwrap();
        Self { dir, target }
    }
}

/// Held while a program is started.
static STARTING: RwLock<()> = RwLock::new(());

/// Starts a program. Until it is another program it has all descriptors of this one, and with them the locks of the ROOTs that other tests have open.
pub fn start(command: &mut Command) -> std::process::Child {
    let _nobody_opens = STARTING.write();
    command.spawn().unwrap()
}

pub fn open(dir: &Path) -> Result<Arc<Target>, TargetError> {
    let _nobody_starts = STARTING.read();
    Target::open(TargetConfig { root: dir.join("root"), software: "test".to_owned(), limits: Limits::default() })
}

pub fn hello(run: u8) -> Hello {
    Hello {
        version: VERSION,
        software: "test".to_owned(),
        name: name(NAME),
        incarnation: incarnation(run),
        oldest: SeqNo::new(1),
        newest: SeqNo::new(1_000_000),
        replica: None,
        adopt: false,
        retry_ms: None,
        // It sends frames as they are.
        features: protocol::Features::BUSY,
        set: None,
    }
}

pub fn hello_with(run: u8, replica: ReplicaId) -> Hello {
    Hello { replica: Some(replica), ..hello(run) }
}

/// One connection.
pub struct Source {
    pub reader: ReadHalf<DuplexStream>,
    pub writer: WriteHalf<DuplexStream>,
    pub welcome: HelloAck,
    /// The last number sent.
    pub seq: u64,
    pub troubles: Vec<Trouble>,
    pub answers: BTreeMap<u64, Answer>,
    pub ack: Ack,
    pub served: JoinHandle<Result<(), TargetError>>,
}

/// Connects as `peer`, says `hello`, and returns what came back.
pub async fn greet(
    target: &Arc<Target>,
    peer: &str,
    hello: Hello,
) -> (Message, ReadHalf<DuplexStream>, WriteHalf<DuplexStream>, JoinHandle<Result<(), TargetError>>) {
    let (mut reader, mut writer, served) = pipe(target, peer);
    write_message(&mut writer, &Message::Hello(hello)).await.unwrap();
    let answer = receive(&mut reader).await.expect("an answer to hello");
    (answer, reader, writer, served)
}

pub fn pipe(
    target: &Arc<Target>,
    peer: &str,
) -> (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>, JoinHandle<Result<(), TargetError>>) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(theirs);
    let (target, peer) = (target.clone(), peer.to_owned());
    let served = tokio::spawn(async move { target.serve(peer, reader, writer).await });
    let (reader, writer) = tokio::io::split(ours);
    (reader, writer, served)
}

pub async fn receive(reader: &mut ReadHalf<DuplexStream>) -> Option<Message> {
    tokio::time::timeout(TIMEOUT, read_message(reader)).await.expect("an answer in time").unwrap()
}

pub async fn refusal(target: &Arc<Target>, peer: &str, hello: Hello) -> Refused {
    match greet(target, peer, hello).await.0 {
        Message::Refused(refused) => refused,
        other => panic!("let in: {other:?}"),
    }
}

pub async fn refusal_code(target: &Arc<Target>, peer: &str, hello: Hello) -> RefusalCode {
    refusal(target, peer, hello).await.code
}

impl Source {
    pub async fn let_in(target: &Arc<Target>, hello: Hello) -> Self {
        match greet(target, PEER, hello).await {
            (Message::HelloAck(welcome), reader, writer, served) => {
                let seq = welcome.position.filter(|p| p.incarnation == incarnation(1)).map_or(0, |p| p.applied.get());
                let ack = Ack { applied: SeqNo::ZERO, durable: SeqNo::ZERO };
                let (troubles, answers) = (Vec::new(), BTreeMap::new());
                Self { reader, writer, welcome, seq, troubles, answers, ack, served }
            }
            (other, ..) => panic!("not let in: {other:?}"),
        }
    }

    pub async fn send_as(&mut self, seq: u64, tolerant: bool, op: Op, payload: &[u8]) {
        let record = Record { seq: SeqNo::new(seq), stamp: 0, tolerant, phase: Phase::Plain, beside: 0, op };
        let message = Message::Record(record, Bytes::copy_from_slice(payload));
        write_message(&mut self.writer, &message).await.unwrap();
    }

    pub async fn send(&mut self, op: Op, payload: &[u8]) -> u64 {
        self.seq += 1;
        self.send_as(self.seq, false, op, payload).await;
        self.seq
    }

    /// Reads until `enough`; `None` at the end of the stream.
    pub async fn until(&mut self, mut enough: impl FnMut(&Self) -> bool) -> Option<()> {
        let deadline = std::time::Instant::now() + TIMEOUT;
        while !enough(self) {
            // Heartbeats go on whatever is missing.
            assert!(std::time::Instant::now() < deadline, "not in time; so far: {:?} {:?}", self.ack, self.troubles);
            match receive(&mut self.reader).await? {
                Message::Ack(ack) => {
                    assert!(ack.durable <= ack.applied, "what is durable is applied: {ack:?}");
                    self.ack = ack;
                }
                Message::Busy(_) => {}
                Message::Trouble(trouble) => self.troubles.push(trouble),
                Message::Answer(seq, answer) => {
                    assert!(self.ack.applied < seq, "an answer comes before the acknowledgement of its question");
                    self.answers.insert(seq.get(), answer);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        Some(())
    }

    pub async fn applied(&mut self, seq: u64) {
        self.until(|s| s.ack.applied.get() >= seq).await.expect("acknowledged before the stream ends");
    }

    /// Sends one operation and waits until it is applied; it must do without trouble.
    pub async fn ok(&mut self, op: Op) {
        self.ok_with(op, b"").await;
    }

    pub async fn ok_with(&mut self, op: Op, payload: &[u8]) {
        let seq = self.send(op, payload).await;
        self.applied(seq).await;
        assert_eq!(self.troubles, [], "no trouble");
    }

    /// The same, as part of a repair.
    pub async fn tolerant(&mut self, op: Op, payload: &[u8]) {
        self.seq += 1;
        self.send_as(self.seq, true, op, payload).await;
        self.applied(self.seq).await;
        assert_eq!(self.troubles, [], "no trouble");
    }

    /// Sends one operation that must be reported as damage; answers the report.
    pub async fn damaged(&mut self, tolerant: bool, op: Op, payload: &[u8]) -> Trouble {
        self.seq += 1;
        self.send_as(self.seq, tolerant, op, payload).await;
        self.applied(self.seq).await;
        let trouble = self.troubles.pop().expect("damage is reported before the acknowledgement");
        assert_eq!((trouble.kind, trouble.seq.get()), (TroubleKind::Damaged, self.seq), "{trouble:?}");
        assert_eq!(self.troubles, []);
        trouble
    }

    pub async fn ask(&mut self, op: Op) -> Answer {
        let seq = self.send(op, b"").await;
        self.applied(seq).await;
        self.answers.remove(&seq).expect("an answer before the acknowledgement")
    }

    pub async fn list(&mut self, text: &str, after: Option<&str>, last: Option<&str>, hash: bool) -> Page {
        let op = Op::List { path: path(text), after: after.map(name), last: last.map(name), hash };
        match self.ask(op).await {
            Answer::Page(page) => page,
            other @ (Answer::Differs(_) | Answer::Verdict(_)) => panic!("{other:?}"),
        }
    }

    /// Marks the replica coherent, says goodbye and waits for the answer.
    pub async fn bye(mut self) -> Ack {
        self.ok(Op::Mark(Mark::Coherent)).await;
        write_message(&mut self.writer, &Message::Bye).await.unwrap();
        let ack = loop {
            match receive(&mut self.reader).await.expect("an answer to goodbye") {
                Message::ByeAck(ack) => break ack,
                Message::Ack(_) | Message::Busy(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        };
        self.hang_up().await;
        ack
    }

    /// Ends the connection without a word, and waits until the target has noticed.
    pub async fn hang_up(self) {
        let Self { reader, writer, served, .. } = self;
        drop((reader, writer));
        tokio::time::timeout(TIMEOUT, served).await.expect("the session ends").unwrap().unwrap();
    }

    /// The refusal that ends this connection.
    pub async fn refused(mut self) -> Refused {
        let deadline = std::time::Instant::now() + TIMEOUT;
        loop {
            assert!(std::time::Instant::now() < deadline, "not refused in time");
            match receive(&mut self.reader).await.expect("a reason before the stream ends") {
                Message::Refused(refused) => {
                    drop((self.reader, self.writer));
                    let outcome = tokio::time::timeout(TIMEOUT, self.served).await.expect("the session ends").unwrap();
                    assert!(matches!(outcome, Err(TargetError::Refused { .. })), "{outcome:?}");
                    return refused;
                }
                Message::Ack(_) | Message::Busy(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

//! The target process is killed at arbitrary moments; what it acknowledged is there, and going on from its position gives
//! the same replica as if nothing had happened.

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use platform::wire::{read_message, write_message};
use protocol::{Frame, Message, NodeId, Op, Phase, Record, ReplicaId, SeqNo};
use replfs_target::{Limits, Target, TargetConfig};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

/// Set for the process that is killed: ROOT, and the socket to serve it on.
const SERVE: &str = "REPLFS_TEST_SERVE";
const SERVE_AT: &str = "REPLFS_TEST_SERVE_AT";

async fn serve(root: PathBuf) -> ! {
    let target = Target::open(TargetConfig { root, software: "test".to_owned(), limits: Limits::default() }).unwrap();
    let listener = UnixListener::bind(std::env::var_os(SERVE_AT).unwrap()).unwrap();
    loop {
        let (reader, writer) = listener.accept().await.unwrap().0.into_split();
        let target = target.clone();
        tokio::spawn(async move { target.serve(PEER, reader, writer).await });
    }
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// What the source has: directories by name, files by directory, name and node.
#[derive(Default)]
struct Model {
    dirs: Vec<String>,
    files: Vec<(usize, String, u64)>,
    orphans: Vec<u64>,
    made: u64,
}

impl Model {
    fn path(&self, file: usize) -> String {
        let (dir, name, _) = &self.files[file];
        format!("{}/{name}", self.dirs[*dir])
    }

    fn new_name(&mut self) -> u64 {
        self.made += 1;
        100 + self.made
    }

    /// The next operation that is possible, with its data.
    fn step(&mut self, dice: &mut Dice) -> (Op, Vec<u8>) {
        let fresh = self.new_name();
        if self.dirs.len() < 3 {
            self.dirs.push(format!("d{fresh}"));
            return (mkdir(fresh, &format!("d{fresh}")), Vec::new());
        }
        let none = Vec::new();
        if self.files.len() < 4 || dice.below(5) == 0 {
            self.files.push((dice.below(self.dirs.len()), format!("f{fresh}"), fresh));
            return (create(fresh, &self.path(self.files.len() - 1)), none);
        }
        let pick = dice.below(self.files.len());
        let (path, id) = (self.path(pick), self.files[pick].2);
        match dice.below(9) {
            0 => {
                let to = dice.below(self.dirs.len());
                self.files[pick] = (to, format!("f{fresh}"), id);
                (rename(id, &path, &self.path(pick), None), none)
            }
            1 => {
                // Over another file; which may still be open.
                let other = (pick + 1 + dice.below(self.files.len() - 1)) % self.files.len();
                let (to, gone_node) = (self.path(other), self.files[other].2);
                let orphan = dice.below(2) == 0 && !self.has_other_name(other);
                if orphan {
                    self.orphans.push(gone_node);
                }
                if gone_node == id {
                    // Two names of one file: rename(2) does nothing then.
                    return (write(at(id, &path), 3), b"same".to_vec());
                }
                self.files[pick] = (self.files[other].0, self.files[other].1.clone(), id);
                self.files.remove(other);
                (rename(id, &path, &to, Some(gone(gone_node, orphan))), none)
            }
            2 => {
                let other = (pick + 1) % self.files.len();
                let to = self.path(other);
                let other_node = self.files[other].2;
                self.files[pick].2 = other_node;
                self.files[other].2 = id;
                (exchange(id, &path, &to), none)
            }
            3 => {
                let orphan = dice.below(2) == 0 && !self.has_other_name(pick);
                if orphan {
                    self.orphans.push(id);
                }
                self.files.remove(pick);
                (
                    Op::Unlink { path: common::path(&path), gone: gone(id, orphan), directory: false, parent_mtime: D },
                    none,
                )
            }
            4 => {
                self.files.push((dice.below(self.dirs.len()), format!("l{fresh}"), id));
                (link(at(id, &path), &self.path(self.files.len() - 1)), none)
            }
            5 => {
                let dir = dice.below(self.dirs.len());
                let from = std::mem::replace(&mut self.dirs[dir], format!("d{fresh}"));
                (rename(1, &from, &self.dirs[dir], None), none)
            }
            6 if !self.orphans.is_empty() => {
                let at = dice.below(self.orphans.len());
                if dice.below(2) == 0 {
                    return (write(orphan(self.orphans[at]), fresh), b"orphan".to_vec());
                }
                (Op::Reap { node: NodeId::new(self.orphans.remove(at)) }, none)
            }
            _ => (write(at(id, &path), fresh % 50), fresh.to_string().into_bytes()),
        }
    }

    fn has_other_name(&self, file: usize) -> bool {
        self.files.iter().enumerate().any(|(n, (_, _, node))| n != file && *node == self.files[file].2)
    }
}

struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(dir: &Path, round: usize) -> Self {
        let socket = dir.join(format!("socket{round}"));
        // This very test, which serves when it finds the variable.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_target_goes_on_where_it_was"])
            .env(SERVE, dir.join("root"))
            .env(SERVE_AT, &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, socket }
    }

    async fn connect(&self) -> UnixStream {
        for _ in 0..2000 {
            if let Ok(stream) = UnixStream::connect(&self.socket).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the daemon does not listen");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already dead, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn frame(seq: u64, op: &Op, payload: &[u8]) -> Frame {
    let record =
        Record { seq: SeqNo::new(seq), stamp: 0, tolerant: false, phase: Phase::Plain, beside: 0, op: op.clone() };
    Frame::record(&record, Bytes::copy_from_slice(payload))
}

/// Sends everything from where the target stands; returns the last acknowledged number when `enough` is acknowledged or
/// the connection ends.
async fn play(
    daemon: &Daemon,
    operations: &[(Op, Vec<u8>)],
    replica: &mut Option<ReplicaId>,
    enough: u64,
) -> (u64, u64) {
    let (mut reader, mut writer) = daemon.connect().await.into_split();
    let hello = protocol::Hello { replica: *replica, ..hello(1) };
    write_message(&mut writer, &Message::Hello(hello)).await.unwrap();
    let Ok(Some(Message::HelloAck(welcome))) = read_message(&mut reader).await else { panic!("not let in") };
    *replica = Some(welcome.replica);
    let stands = welcome.position.map_or(0, |p| p.applied.get());
    let frames: Vec<_> = (1..).zip(operations).skip(usize::try_from(stands).unwrap()).collect();
    let frames: Vec<_> = frames.into_iter().map(|(seq, (op, payload))| frame(seq, op, payload)).collect();
    let sending = tokio::spawn(async move {
        for frame in frames {
            if writer.write_all(&frame.front).await.is_err() || writer.write_all(&frame.payload).await.is_err() {
                break;
            }
        }
        writer
    });
    let mut acknowledged = stands;
    while acknowledged < enough {
        match tokio::time::timeout(TIMEOUT, read_message(&mut reader)).await.expect("progress") {
            Ok(Some(Message::Ack(ack))) => acknowledged = ack.applied.get().max(acknowledged),
            Ok(Some(other)) => panic!("after {acknowledged}: {other:?}"),
            Ok(None) | Err(_) => break,
        }
    }
    drop(reader);
    sending.abort();
    (stands, acknowledged)
}

fn shape(dir: &Path) -> Vec<String> {
    let mut all = snapshot(&dir.join("root").join(NAME));
    all.extend(snapshot(&dir.join("root/.replfs").join(NAME).join("orphan")).into_iter().skip(1));
    // Inode numbers are the target's own.
    all.iter()
        .map(|line| {
            let (front, back) = line.split_once(" inode ").unwrap();
            format!("{front} {}", back.split_once(' ').unwrap().1)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_target_goes_on_where_it_was() {
    if let Some(root) = std::env::var_os(SERVE) {
        serve(root.into()).await;
    }
    let seed = platform::sys::now_ns() | 1;
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let mut model = Model::default();
    let operations: Vec<_> = (0..6000).map(|_| model.step(&mut dice)).collect();
    let last = operations.len() as u64;

    let quiet = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(quiet.path(), 0);
    assert_eq!(play(&daemon, &operations, &mut None, last).await.1, last);
    let expected = shape(quiet.path());

    let dir = tempfile::tempdir().unwrap();
    let (mut replica, mut acknowledged, mut kills) = (None, 0, 0);
    for round in 1.. {
        let mut daemon = Daemon::start(dir.path(), round);
        let enough = last.min(acknowledged + 1 + dice.below(400) as u64);
        let (stands, now) = play(&daemon, &operations, &mut replica, enough).await;
        assert!(stands >= acknowledged, "round {round}: {acknowledged} was acknowledged, {stands} is there");
        acknowledged = now;
        if acknowledged == last {
            break;
        }
        daemon.kill();
        kills += 1;
    }
    assert!(kills > 5, "{kills} kills");
    assert_eq!(shape(dir.path()), expected, "seed {seed}");
}

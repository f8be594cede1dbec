//! Somebody who exchanges a directory of the replica for a link that leads out, all the time, while records come.

use crate::common::*;
use crate::scene::{Scene, VICTIMS, ensure, every_operation, fill, whatever};
use protocol::{Ask, Content, Fetch, Message, NodeKind, Op, PieceOp, SeqNo, VERSION};
use rustix::fs::{CWD, RenameFlags};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Exchanges two names until dropped; what is missing of them is put there again.
pub struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    pub fn start(one: PathBuf, other: PathBuf, mend: impl Fn() + Send + 'static) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (stop.clone(), swaps.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE) {
                    Ok(()) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    Err(_) => mend(),
                }
            }
        });
        Self { stop, swaps, thread: Some(thread) }
    }

    pub fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// How long it is tried, and no shorter than once for each operation.
const FOR: Duration = Duration::from_secs(4);

fn swap(scene: &Scene) -> Swapper {
    let (dir, lure, outside) = (scene.rig.at("d"), scene.rig.at("lure"), scene.outside().to_owned());
    let (again, lure_again) = (dir.clone(), lure.clone());
    Swapper::start(dir, lure, move || {
        // An operation took one of them away, or replaced it.
        if !lure_again.is_symlink() && !again.is_symlink() {
            let _exists = symlink(&outside, &lure_again);
        }
        if fs::symlink_metadata(&again).is_err() && fs::create_dir(&again).is_ok() {
            fill_again(&again);
        }
    })
}

fn fill_again(dir: &std::path::Path) {
    let _raced = fs::create_dir_all(dir.join("dir"))
        .and_then(|()| fs::write(dir.join("victim"), "mine"))
        .and_then(|()| fs::write(dir.join("dir/victim"), "mine"));
}

// claim: A209
#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_kind_stay_inside_whatever_is_exchanged_meanwhile() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    fill(&scene.rig.at("d"));
    let swapper = swap(&scene);
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || begun.elapsed() < FOR {
        for victim in VICTIMS.iter().chain(&["new"]) {
            for (op, payload) in every_operation(&format!("d/{victim}"), "other") {
                // So that there is something to be read, changed or taken away, as often as not.
                whatever(&mut source, true, ensure(41, "other", NodeKind::File, Content::Whole, 5), b"plain").await;
                whatever(&mut source, true, ensure(42, "d/victim", NodeKind::File, Content::Whole, 4), b"mine").await;
                whatever(&mut source, rounds % 2 == 0, op, &payload).await;
            }
        }
        rounds += 1;
    }
    assert!(swapper.swaps() > 1000, "{} swaps in {rounds} rounds", swapper.swaps());
    drop(swapper);
    scene.holds("exchanges").await;
    source.hang_up().await;
}

// claim: A209
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_is_read_whatever_is_exchanged_meanwhile() {
    const SECRET: &[u8] = b"precious";
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    fill_again_dir(&scene);
    let swapper = swap(&scene);
    let mut lane = Lane::open(&scene.rig.target, 0).await;
    lane.make(STAGE).await;
    let (mut reader, mut writer, served) = pipe(&scene.rig.target, PEER);
    let fetch = Fetch { version: VERSION, software: String::new(), name: name(NAME) };
    platform::wire::write_message(&mut writer, &Message::Fetch(fetch)).await.unwrap();
    assert!(matches!(receive(&mut reader).await, Some(Message::FetchAck(_))));
    let secret = platform::sys::content::hash(SECRET);
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < FOR {
        number += 1;
        let ask = Ask::Read { path: path("d/victim"), offset: 0, len: 64 };
        platform::wire::write_message(&mut writer, &Message::Ask(SeqNo::new(number), ask)).await.unwrap();
        let Some(Message::Told(_, told, data)) = receive(&mut reader).await else { panic!("no answer") };
        assert!(data != SECRET, "read: {told:?}");
        let copy = PieceOp::CopyFrom {
            stage: STAGE,
            offset: 0,
            len: SECRET.len() as u64,
            path: path("d/victim"),
            from: 0,
            hash: secret,
        };
        let answer = lane.ask(copy, b"").await;
        assert!(answer != protocol::PieceAnswer::Done, "copied: {answer:?}");
        source.seq += 1;
        let list = Op::List { path: path("d"), after: None, last: None, hash: true };
        source.send_as(source.seq, false, list, b"").await;
        source.applied(source.seq).await;
        if let Some(protocol::Answer::Page(page)) = source.answers.remove(&source.seq) {
            assert!(page.entries.iter().all(|entry| entry.content != Some(secret)), "listed: {page:?}");
        }
    }
    assert!(swapper.swaps() > 1000, "{} swaps", swapper.swaps());
    drop(swapper);
    drop((reader, writer));
    tokio::time::timeout(TIMEOUT, served).await.expect("it ends").unwrap().unwrap();
    scene.holds("exchanges while it is read").await;
    source.hang_up().await;
}

fn fill_again_dir(scene: &Scene) {
    fs::create_dir(scene.rig.at("d")).unwrap();
    fill_again(&scene.rig.at("d"));
}

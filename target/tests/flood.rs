//! A million records that say next to nothing: the memory of a target does not grow with them. Alone in its program, whose memory
//! it measures.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use protocol::{NodeId, Op};
use std::time::Duration;

const RECORDS: u64 = 1_000_000;
/// Sent before the answer is waited for.
const AT_ONCE: u64 = 5_000;
/// What memory may grow by, in KiB.
const BOUND_KIB: u64 = 64 << 10;

/// The most memory that this program ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// claim: A211
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_tiny_records_take_no_memory() {
    let rig = Rig::in_memory();
    let hello = protocol::Hello { newest: protocol::SeqNo::new(protocol::MAX_NUMBER), ..hello(1) };
    let mut source = Source::let_in(&rig.target, hello).await;
    source.ok(create(1, "file")).await;
    let before = peak_kib();
    let begun = std::time::Instant::now();
    while source.seq < RECORDS {
        for _ in 0..AT_ONCE {
            source.send(Op::Reap { node: NodeId::new(u64::MAX - source.seq) }, b"").await;
        }
        source.applied(source.seq).await;
    }
    let applied = peak_kib();
    println!("{RECORDS} records in {:?}: {} KiB more", begun.elapsed(), applied - before);
    assert!(applied - before < BOUND_KIB, "{before} KiB, then {applied} KiB");
    // The same while the first of them stands in the way: they wait, and no more than a bound of them.
    source.send(Op::SetXattr { place: at(1, "file"), name: b"bogus.x".to_vec(), mode: None }, b"x").await;
    let mut waiting = 0;
    while waiting < RECORDS {
        let more = source.send(Op::Reap { node: NodeId::new(waiting) }, b"");
        if tokio::time::timeout(Duration::from_secs(2), more).await.is_err() {
            break;
        }
        waiting += 1;
    }
    let blocked = peak_kib();
    println!("{waiting} wait: {} KiB more", blocked - applied);
    assert!(waiting < 100_000, "{waiting} wait");
    assert!(blocked - applied < BOUND_KIB, "{applied} KiB, then {blocked} KiB");
}

//! Peers that speak another version, or nonsense: over real QUIC, with the key of the other side of a rig, against the real daemons.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use protocol::frame::HEAD_BYTES;
use protocol::short::Begins;
use protocol::{
    Features, Head, Hello, HelloAck, Mark, Message, Op, Phase, Record, RefusalCode, Refused, ReplicaId, SeqNo, VERSION,
};
use replfs_tests::command::Outcome;
use replfs_tests::peer::{ALPN, FakeTarget, Peer, bytes_in_version, hello};
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use std::fs;

fn names_both(text: &str, theirs: u8) -> bool {
    text.contains(&theirs.to_string()) && text.contains(&format!(" {VERSION}")) && text.contains("same release")
}

/// A rig whose target has a replica and no session, and whose source is known to it.
fn left_behind() -> Rig {
    let mut rig = Rig::start(Commit::Real);
    fs::write(rig.mnt().join("file"), "content").unwrap();
    rig.assert_equal();
    rig.unmount();
    rig
}

fn as_source(rig: &Rig) -> Peer {
    Peer::dial(rig.target_address(), &rig.source_state(), ALPN).unwrap()
}

fn refusal(peer: &mut Peer) -> Refused {
    match peer.hear().unwrap() {
        Some(Message::Refused(refused)) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

// claim: A221
#[test]
fn a_source_of_another_version_is_told_both_versions_and_what_to_do() {
    let rig = left_behind();
    for version in [0, 2] {
        let mut peer = as_source(&rig);
        peer.say(&Message::Hello(Hello { version, ..hello() }));
        let refused = refusal(&mut peer);
        assert!(refused.code == RefusalCode::Version && names_both(&refused.text, version), "{refused:?}");
        let mut peer = as_source(&rig);
        peer.send(&bytes_in_version(&Message::Hello(hello()), version));
        let refused = refusal(&mut peer);
        assert!(refused.code == RefusalCode::Version && names_both(&refused.text, version), "{refused:?}");
    }
    // TLS says no, and the target says in its log what it speaks.
    let error = Peer::dial(rig.target_address(), &rig.source_state(), b"replfs/9").err().unwrap();
    assert!(error.to_string().contains("no known protocol") || error.to_string().contains("120"), "{error}");
    until("the target's word on it", PATIENCE, || {
        let log = fs::read_to_string(rig.target_state().with_extension("log")).unwrap();
        (log.contains("does not speak replfs/1") && log.contains("same release")).then_some(())
    });
    assert_nothing_happened(rig);
}

/// What `replfs mount` says of a target that the test plays.
fn mount_on(rig: &Rig, target: &FakeTarget, key: &str) -> Outcome {
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let (src, mnt, to) = (text(rig.src()), text(rig.mnt()), target.address.to_string());
    rig.replfs("mount", &[&src, &mnt, "--target", &to, "--target-key", key, "--name", NAME, "--commit", "real"])
}

// claim: A221
#[test]
fn a_source_says_of_a_target_of_another_version_what_both_are_and_what_to_do() {
    let rig = Rig::bare(Commit::Real, Setup::default());
    let key = rig.key(&rig.target_state());
    let ack = HelloAck {
        version: 2,
        software: "9.9.9".to_owned(),
        replica: ReplicaId::from_bytes([7; 16]),
        position: None,
        clean: false,
        empty: true,
        damaged: false,
        power_lost: false,
        features: Features::default(),
    };
    let refused =
        Refused { code: RefusalCode::Version, text: "the source speaks protocol 1, this target 2".to_owned() };
    for (what, answer, names) in [
        ("a greeting", bytes_in_version(&Message::HelloAck(ack.clone()), 1), "protocol 2, this source 1"),
        ("a frame", bytes_in_version(&Message::HelloAck(ack.clone()), 2), "protocol 2, this source 1"),
        ("a refusal of its version", bytes_in_version(&Message::Refused(refused), 2), "protocol 1, this target 2"),
        (
            "a demand",
            bytes_in_version(
                &Message::HelloAck(HelloAck { version: 1, features: Features::from_bits(1 << 33), ..ack }),
                1,
            ),
            "feature 33",
        ),
    ] {
        let target = FakeTarget::listen(&rig.target_state(), ALPN);
        target.answer(answer);
        let outcome = mount_on(&rig, &target, &key);
        assert!(outcome.code != 0 && outcome.stderr.contains(names), "{what}: {outcome:?}");
    }
    let target = FakeTarget::listen(&rig.target_state(), b"replfs/9");
    target.answer(Vec::new());
    let outcome = mount_on(&rig, &target, &key);
    assert!(outcome.code != 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("does not speak replfs/1") && outcome.stderr.contains("same release"),
        "{outcome:?}"
    );
}

/// What the records on a stream say that they may be applied beside, as far as whole heads of them were heard.
fn beside(mut heard: &[u8]) -> Vec<u16> {
    let mut all = Vec::new();
    while let Some(bytes) = heard.first_chunk::<HEAD_BYTES>() {
        let found = Head::parse(bytes).unwrap();
        all.push(u16::from_le_bytes([bytes[6], bytes[7]]));
        heard = heard.get(HEAD_BYTES + found.header_len() + found.payload_len()..).unwrap_or_default();
    }
    all
}

// claim: A222, A279
#[test]
fn a_target_from_before_is_not_told_what_records_may_be_applied_beside() {
    for (features, knows) in [(Features::default(), false), (Features::BUSY, false), (Features::BESIDE, true)] {
        let mut rig = Rig::prepare(Commit::Real, Setup::default());
        for number in 0..20 {
            fs::write(rig.src().join(format!("file{number}")), "content").unwrap();
        }
        let said = beside(&FakeTarget::first_bytes(&mut rig, features, 1000));
        assert!(said.len() > 2, "{features:?}: {said:?}");
        let told = said.iter().any(|beside| *beside > 0);
        assert_eq!(told, knows, "{features:?}: {said:?}");
        rig.kill_source();
    }
}

// claim: A222, A283
#[test]
fn a_target_that_knows_no_short_fronts_gets_frames_as_they_are() {
    let busy = Features::BUSY;
    for (features, keeps) in [(Features::default(), false), (busy, false), (busy.and(Features::SHORT), true)] {
        let mut rig = Rig::prepare(Commit::Real, Setup::default());
        fs::write(rig.src().join("file"), "content").unwrap();
        let begins = FakeTarget::first_bytes(&mut rig, features, 2);
        let begun = (Begins::of(begins[0]) == Begins::Keep(0), begins.starts_with(b"RF"));
        assert_eq!(begun, (keeps, !keeps), "{features:?}: {begins:?}");
        rig.kill_source();
    }
}

// claim: A223
#[test]
fn a_short_front_that_says_what_is_not_so_ends_its_connection_and_changes_nothing() {
    let rig = left_behind();
    let record = Record {
        seq: SeqNo::new(1),
        stamp: 1,
        tolerant: false,
        phase: Phase::Plain,
        beside: 0,
        op: Op::Mark(Mark::Barrier),
    };
    let whole = bytes_in_version(&Message::Record(record, Bytes::new()), VERSION);
    let heartbeat = bytes_in_version(&Message::Heartbeat, VERSION);
    let kept = [&[0xc5], &whole[..]].concat();
    for (what, forged) in [
        ("an empty slot", vec![0x86, 7, 0, 2, 0, 9, 9, 9, 9]),
        ("a mask with more than there is", vec![0x85, 7, 0xff, 2, 0, 9, 9, 9, 9]),
        ("nothing at all", vec![0x85, 0]),
        ("values that there are none of", vec![0x85, 7, 0, 2, 1, 9, 9, 9, 9]),
        ("another checksum", vec![0x85, 7, 0, 2, 0, 9, 9, 9, 9]),
        ("a front that cannot be kept", [&[0xc5], &heartbeat[..]].concat()),
    ] {
        let mut peer = as_source(&rig);
        peer.say(&Message::Hello(Hello { features: Features::BUSY.and(Features::SHORT), ..hello() }));
        match peer.hear().unwrap() {
            Some(Message::HelloAck(ack)) => assert!(ack.features.has(Features::SHORT), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        // What comes in order is read.
        peer.send(&heartbeat);
        peer.send(&kept);
        peer.send(&forged);
        let heard = peer.hear_all();
        let refused = heard.iter().find_map(|m| if let Message::Refused(r) = m { Some(r) } else { None });
        let refused = refused.unwrap_or_else(|| panic!("{what}: {heard:?}"));
        assert!(
            refused.code == RefusalCode::Protocol && refused.text.contains("front") != (what == "another checksum"),
            "{what}: {refused:?}"
        );
    }
    assert_nothing_happened(rig);
}

// claim: A222
#[test]
fn offers_that_are_not_known_are_passed_over_and_demands_are_named() {
    let rig = left_behind();
    let mut peer = as_source(&rig);
    peer.say(&Message::Hello(Hello { features: Features::from_bits(1 << 63 | 1), ..hello() }));
    let refused = refusal(&mut peer);
    assert!(refused.code == RefusalCode::Version && refused.text.contains("feature 63"), "{refused:?}");
    assert!(refused.text.contains("9.9.9") && refused.text.contains("same release"), "{refused:?}");
    for (features, answered) in
        [(0, 0), (1, 1), (0xffff_fff9, 9), (0xffff_fff5, 5), (0xffff_fff2, 3), (0xffff_ffff, 15)]
    {
        let mut peer = as_source(&rig);
        peer.say(&Message::Hello(Hello { features: Features::from_bits(features), set: Some([6; 16]), ..hello() }));
        match peer.hear().unwrap() {
            Some(Message::HelloAck(ack)) => assert_eq!(ack.features.bits(), answered),
            other => panic!("{other:?}"),
        }
        assert_eq!(rig.replica_status().unwrap()["set"], "06".repeat(16));
    }
    assert_nothing_happened(rig);
}

/// The replica is what it was, the daemon is well and serves its source.
#[track_caller]
fn assert_nothing_happened(mut rig: Rig) {
    let src = rig.src();
    rig.assert_replica_equals(&src);
    rig.mount();
    fs::write(rig.mnt().join("after"), "all of that").unwrap();
    rig.finish();
}

// claim: A223, A226
#[test]
fn nonsense_and_what_is_old_changes_nothing_and_keeps_nobody_out() {
    let rig = left_behind();
    let before = rig.replica_status().unwrap();
    let mut random = Random::new(8);
    let write = Op::SetAside {
        path: protocol::RelPath::new(b"file").unwrap(),
        parent_mtime: protocol::Time { secs: 1, nanos: 0 },
    };
    let record = protocol::Record {
        seq: SeqNo::new(1),
        stamp: 0,
        tolerant: true,
        phase: protocol::Phase::Plain,
        beside: 0,
        op: write,
    };
    let good = bytes_in_version(&Message::Record(record, protocol_bytes()), 1);
    for round in 0..60 {
        let mut bad = good.clone();
        let bit = random.below(bad.len() as u64 * 8);
        bad[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
        let mut peer = as_source(&rig);
        // Also of a run of numbers that is not the replica's, and of one that is older than what it has.
        peer.say(&Message::Hello(hello()));
        assert!(matches!(peer.hear().unwrap(), Some(Message::HelloAck(_))));
        peer.send(if round % 3 == 0 { &bad[..bad.len() / 2] } else { &bad });
        peer.finish();
        let heard = peer.hear_all();
        let applied = heard.iter().any(|message| matches!(message, Message::Ack(ack) if ack.applied != SeqNo::ZERO));
        assert!(!applied, "round {round}, bit {bit}: {heard:?}");
    }
    for _ in 0..20 {
        let mut peer = as_source(&rig);
        peer.send(&random.bytes(5000));
        peer.finish();
        peer.hear_all();
    }
    let after = rig.replica_status().unwrap();
    for field in ["incarnation", "applied", "durable"] {
        assert_eq!(before[field], after[field], "{field}: a greeting rolls nothing back");
    }
    assert_nothing_happened(rig);
}

fn protocol_bytes() -> bytes::Bytes {
    bytes::Bytes::new()
}

// claim: A227
#[test]
fn a_peer_that_announces_much_and_sends_little_takes_little_memory() {
    let rig = left_behind();
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", rig.target_pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
    };
    let before = resident();
    let mut head = bytes_in_version(&Message::Hello(hello()), 1);
    head.truncate(48);
    head[8..12].copy_from_slice(&(4_u32 << 20).to_le_bytes());
    head[12..16].copy_from_slice(&0_u32.to_le_bytes());
    // As many as are let in at once, and some more.
    let peers: Vec<Peer> = (0..24)
        .filter_map(|_| Peer::dial(rig.target_address(), &rig.source_state(), ALPN).ok())
        .map(|mut peer| {
            peer.send(&head);
            peer
        })
        .collect();
    assert!(!peers.is_empty());
    let grown = resident().saturating_sub(before);
    // 4 MiB each were announced.
    assert!(grown < 32 << 20, "{} connections that send nothing took {} MiB", peers.len(), grown >> 20);
    println!("{} connections, each of which announced 4 MiB: {} KiB", peers.len(), grown >> 10);
    drop(peers);
    assert_nothing_happened(rig);
}

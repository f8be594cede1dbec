//! What is sent is packed where that pays (C3): fewer bytes on the line, and everything else is as it was.
#![allow(clippy::unwrap_used)]

use protocol::{BLOCK_HEAD_BYTES, BlockHead, Features, Hello, Message, RefusalCode, VERSION};
use replfs_tests::peer::{self, ALPN, FakeTarget, Peer, bytes_in_version};
use replfs_tests::rig::status::Source;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const MIB: usize = 1 << 20;

fn setup(compress: &str) -> Setup {
    Setup::default().linked().option(&["--compress", compress])
}

/// A log: no line is like another one, and all are alike.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut text = String::with_capacity(len + 100);
    while text.len() < len {
        let (at, user, size) = (text.len(), random.below(5000), random.below(1 << 20));
        writeln!(text, "{at:010} GET /images/thumbnails/{user}.jpeg HTTP/1.1 status=200 bytes={size}").unwrap();
    }
    text.truncate(len);
    text.into_bytes()
}

/// A tree of small files and two that lanes bring: how many bytes.
fn fill(src: &Path, content: impl Fn(u64, usize) -> Vec<u8>) -> u64 {
    fs::create_dir(src.join("small")).unwrap();
    for n in 0..200 {
        fs::write(src.join(format!("small/{n}")), content(n, 10_000)).unwrap();
    }
    for n in [1, 2] {
        fs::write(src.join(format!("big{n}")), content(1000 + n, 5 * MIB)).unwrap();
    }
    200 * 10_000 + 10 * MIB as u64
}

// claim: A268
#[test]
fn text_takes_less_than_half_of_its_bytes_on_the_line() {
    for how in ["zstd:3", "lz4"] {
        let mut rig = Rig::prepare(Commit::Real, setup(how));
        let total = fill(&rig.src(), text);
        rig.mount();
        rig.wait_status("lanes, packed", |source| {
            source.is_settled() || source.target().packing.get("lane 0").is_some_and(|by| by == how)
        });
        rig.settle();
        let mirrored = rig.link().bytes_there();
        assert!(mirrored < total / 2, "{how}: {mirrored} bytes for {total}");
        // Live operations, large and small.
        fs::write(rig.mnt().join("live"), text(7, 4 * MIB)).unwrap();
        for n in 0..100 {
            fs::write(rig.mnt().join(format!("live{n}")), text(n, 5000)).unwrap();
        }
        rig.settle();
        let live = rig.link().bytes_there() - mirrored;
        let written = 4 * MIB as u64 + 100 * 5000;
        assert!(live < written / 2, "{how}: {live} bytes for {written}");
        println!("{how}: {mirrored} of {total} mirrored, {live} of {written} live");
        let status = rig.status();
        let target = status.target();
        assert_eq!(target.packing["session"], how);
        assert!(target.packed_from_bytes > total + written, "{target:?}");
        assert!(target.packed_bytes < target.packed_from_bytes / 2, "{target:?}");
        let shown = rig.replfs("status", &[]);
        assert!(
            shown.ok().contains("  packed   ") && shown.stdout.contains(&format!("session {how}")),
            "{}",
            shown.stdout
        );
        rig.finish();
    }
}

// claim: A268
#[test]
fn by_itself_it_packs_for_a_slow_line_what_shrinks() {
    let mut rig = Rig::prepare(Commit::Real, setup("auto").option(&["--limit", "4MiB"]));
    let total = fill(&rig.src(), text);
    rig.mount();
    fs::write(rig.mnt().join("live"), text(7, 8 * MIB)).unwrap();
    rig.settle();
    let sent = rig.link().bytes_there();
    let all = total + 8 * MIB as u64;
    println!("{sent} of {all} at 4 MiB/s");
    // What goes before it is known how slow the line is goes as it is.
    assert!(sent < all / 2, "{sent} bytes for {all}");
    assert_ne!(rig.status().target().packing["session"], "plain");
    rig.finish();
}

// claim: A268
#[test]
fn by_itself_it_leaves_alone_what_does_not_shrink() {
    let mut rig = Rig::prepare(Commit::Real, setup("auto").option(&["--limit", "8MiB"]));
    let random = |seed, len| Random::new(seed).bytes(len);
    let total = fill(&rig.src(), random);
    rig.mount();
    fs::write(rig.mnt().join("live"), random(7, 4 * MIB)).unwrap();
    rig.settle();
    let all = total + 4 * MIB as u64;
    let sent = rig.link().bytes_there();
    println!("{sent} for {all}");
    // Packets, frames and names around it.
    assert!(sent < all + all / 20 + all / 16, "{sent} bytes for {all}");
    let status = rig.status();
    let target = status.target();
    assert_eq!(target.packing["session"], "plain");
    assert!(target.packed_bytes < target.packed_from_bytes + target.packed_from_bytes / 1000, "{target:?}");
    rig.finish();
}

// claim: A268
#[test]
fn with_off_no_block_is_offered_and_nothing_is_packed() {
    let mut rig = Rig::prepare(Commit::Real, setup("off"));
    let total = fill(&rig.src(), text);
    rig.mount();
    rig.settle();
    assert!(rig.link().bytes_there() > total);
    let status = rig.status();
    assert!(status.target().packing.is_empty() && status.target().packed_from_bytes == 0, "{status:?}");
    rig.finish();
    let rig = Rig::bare(Commit::Real, Setup::default());
    let refused = rig.replfs("mount", &["/a", "/b", "--target", "/c/", "--compress", "gzip"]);
    assert!(refused.code != 0 && refused.stderr.contains("unknown compression 'gzip'"), "{}", refused.stderr);
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Link,
    Target,
    Source,
}

// claim: A268
#[test]
fn packed_it_goes_on_where_it_was_cut() {
    for (cut, how) in [(Cut::Link, "zstd"), (Cut::Target, "lz4"), (Cut::Source, "auto")] {
        let more = ["--limit", "2MiB", "--degrade-after", "2s", "--connect-timeout", "3s"];
        let mut rig = Rig::prepare(Commit::Real, setup(how).option(&more));
        fill(&rig.src(), |seed, len| [text(seed, len / 2), Random::new(seed).bytes(len / 2)].concat());
        rig.mount();
        fs::write(rig.mnt().join("live"), text(9, 4 * MIB)).unwrap();
        until("some of it to be on its way", PATIENCE, || (rig.link().bytes_there() > MIB as u64).then_some(()));
        assert!(!rig.status().is_settled(), "{cut:?}: in the middle");
        match cut {
            Cut::Link => {
                rig.link().cut();
                rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
                fs::write(rig.mnt().join("meanwhile"), text(10, MIB)).unwrap();
                rig.link().mend();
            }
            Cut::Target => {
                rig.kill_target();
                rig.start_target();
            }
            Cut::Source => {
                rig.kill_source();
                rig.mount();
            }
        }
        fs::write(rig.mnt().join("after"), text(11, MIB)).unwrap();
        until("the rest to be there", PATIENCE * 4, || rig.try_status().filter(Source::is_settled));
        assert!(rig.status().target().packed_bytes > 0);
        rig.finish();
    }
}

fn hello(features: Features) -> Hello {
    Hello { features, ..peer::hello() }
}

// claim: A268, A222
#[test]
fn a_target_that_takes_no_blocks_gets_frames_as_they_are() {
    let busy = Features::BUSY;
    for (features, blocks) in [(Features::default(), false), (busy, false), (busy.and(Features::PACKED), true)] {
        let mut rig = Rig::prepare(Commit::Real, Setup::default().option(&["--compress", "auto"]));
        let begins = FakeTarget::first_bytes(&mut rig, features, BLOCK_HEAD_BYTES);
        let head = BlockHead::parse(begins.first_chunk().unwrap());
        assert_eq!((head.is_ok(), begins.starts_with(b"RF")), (blocks, !blocks), "{features:?}: {begins:?}");
        rig.kill_source();
    }
}

// claim: A223
#[test]
fn a_block_that_says_what_is_not_so_ends_its_connection_and_changes_nothing() {
    let mut rig = Rig::start(Commit::Real);
    fs::write(rig.mnt().join("file"), "content").unwrap();
    rig.assert_equal();
    rig.unmount();
    let bomb = zstd::bulk::compress(&vec![0; 64 * MIB], 1).unwrap();
    let block = |kind: u8, raw: usize, bytes: &[u8]| {
        let lens = [raw, bytes.len()].map(|len| u32::try_from(len).unwrap().to_le_bytes());
        [&[kind], &lens[0][..], &lens[1], bytes].concat()
    };
    let mut forged = vec![
        ("a bomb", block(2, 256 << 10, &bomb)),
        ("a block of 4 GiB", [&[2][..], &[0xff; 8], &bomb[..100]].concat()),
        ("an unknown kind", block(9, 100, &[0; 100])),
        ("an empty one", block(0, 0, &[])),
        ("a frame that is in none", bytes_in_version(&Message::Heartbeat, VERSION)),
    ];
    forged.push(("noise", Random::new(3).bytes(5000)));
    for (what, bytes) in forged {
        let mut peer = Peer::dial(rig.target_address(), &rig.source_state(), ALPN).unwrap();
        peer.say(&Message::Hello(hello(Features::BUSY.and(Features::PACKED))));
        match peer.hear().unwrap() {
            Some(Message::HelloAck(ack)) => assert!(ack.features.has(Features::PACKED), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        // What comes in order is read.
        let heartbeat = bytes_in_version(&Message::Heartbeat, VERSION);
        peer.send(&block(0, heartbeat.len(), &heartbeat));
        peer.send(&bytes);
        let heard = peer.hear_all();
        let refused = heard.iter().find_map(|m| if let Message::Refused(r) = m { Some(r) } else { None });
        let refused = refused.unwrap_or_else(|| panic!("{what}: {heard:?}"));
        assert!(refused.code == RefusalCode::Protocol && refused.text.contains("block"), "{what}: {refused:?}");
    }
    let src = rig.src();
    rig.assert_replica_equals(&src);
    rig.mount();
    fs::write(rig.mnt().join("after"), "all of that").unwrap();
    rig.finish();
}

//! Files that grew or shrank at their beginning or in their middle (S7): what the target has of them at other places does not
//! travel again, and whatever happens meanwhile, they come out exact.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::seed::{Random, seed};
use replfs_tests::tree;
use replfs_tests::wait::{PATIENCE, until};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const BIG: usize = 64 << 20;

/// A rig whose replica has what SRC has, not mounted.
fn mirrored(setup: Setup, fill: impl FnOnce(&Path)) -> Rig {
    let mut rig = Rig::prepare(Commit::Real, setup);
    fill(&rig.src());
    rig.mount();
    rig.assert_equal();
    rig.unmount();
    rig
}

/// Mounts and waits; bytes that went to the target meanwhile.
fn catch_up(rig: &mut Rig) -> u64 {
    let before = rig.link().bytes_there();
    rig.mount();
    rig.settle();
    rig.link().bytes_there() - before
}

/// The inode of the file that the replica has.
fn inode(rig: &Rig, name: &str) -> u64 {
    fs::metadata(rig.replica().join(name)).unwrap().ino()
}

// claim: A140
#[test]
fn of_a_file_that_was_shifted_little_travels() {
    let mut random = Random::new(31);
    let content = random.bytes(BIG);
    let mut rig = mirrored(Setup::default().linked(), |src| fs::write(src.join("big"), &content).unwrap());
    let big = rig.src().join("big");
    let grown = [&random.bytes(10_000), &content[..]].concat();
    let shrunk = [&grown[..20 << 20], &grown[(20 << 20) + 777_777..]].concat();
    let several =
        [&shrunk[..5 << 20], &random.bytes(3), &shrunk[5 << 20..50 << 20], b"x", &shrunk[50 << 20..]].concat();
    for (what, next) in [("inserted", &grown), ("removed", &shrunk), ("several", &several)] {
        let before = inode(&rig, "big");
        fs::write(&big, next).unwrap();
        let bytes = catch_up(&mut rig);
        println!("{what}: {bytes} bytes of {}", next.len());
        assert!(bytes < BIG as u64 / 50, "{what}: {bytes} bytes travelled");
        assert_ne!(inode(&rig, "big"), before, "it was made from the old one beside it");
        let pass = rig.status().target().pass;
        assert_eq!(pass.done_bytes, pass.total_bytes, "{pass:?}");
        rig.assert_equal();
        assert_eq!(fs::read_dir(rig.root().join(".replfs/tree/aside")).unwrap().count(), 0, "the old one is not kept");
        rig.unmount();
    }
    rig.mount();
    rig.finish();
}

// claim: A140
#[test]
fn a_file_that_grew_at_its_end_or_became_another_is_mended_where_it_is() {
    let mut random = Random::new(32);
    let (log, other) = (random.bytes(8 << 20), random.bytes(8 << 20));
    let mut rig = mirrored(Setup::default().linked(), |src| {
        fs::write(src.join("log"), &log).unwrap();
        fs::write(src.join("other"), &other).unwrap();
    });
    let before = (inode(&rig, "log"), inode(&rig, "other"));
    let end = random.bytes(100_000);
    OpenOptions::new().write(true).open(rig.src().join("log")).unwrap().write_all_at(&end, 8 * MIB).unwrap();
    fs::write(rig.src().join("other"), random.bytes(9 << 20)).unwrap();
    catch_up(&mut rig);
    let sent = rig.status().target().pass.sent_bytes;
    assert!(sent < 9 * MIB + MIB / 4, "{sent} bytes of content travelled");
    assert_eq!((inode(&rig, "log"), inode(&rig, "other")), before, "no copy was made");
    rig.finish();
}

// claim: A140
#[test]
fn a_file_with_two_names_and_one_with_holes_come_out_exact() {
    let mut random = Random::new(33);
    let content = random.bytes(16 << 20);
    let hole = |path: &Path, at: u64, len: u64| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
            at,
            len,
        )
        .unwrap();
    };
    let mut rig = mirrored(Setup::default().linked(), |src| {
        for name in ["twice", "sparse", "filled"] {
            fs::write(src.join(name), &content).unwrap();
        }
        fs::hard_link(src.join("twice"), src.join("again")).unwrap();
        for name in ["sparse", "filled"] {
            hole(&src.join(name), 3 * MIB, MIB);
            hole(&src.join(name), 10 * MIB + 8192, 2 * MIB);
        }
    });
    let old = fs::read(rig.src().join("sparse")).unwrap();
    let grown = |old: &[u8], with: &[u8]| [&old[..1 << 20], with, &old[1 << 20..]].concat();
    let (odd, even) = (random.bytes(5000), random.bytes(8192));
    fs::write(rig.src().join("twice"), grown(&content, &odd)).unwrap();
    // Holes move along, one is new; and zeros take the place of holes.
    fs::write(rig.src().join("sparse"), grown(&old, &even)).unwrap();
    for (at, len) in [(3 * MIB + 8192, MIB), (10 * MIB + 16384, 2 * MIB), (7 * MIB, MIB / 2)] {
        hole(&rig.src().join("sparse"), at, len);
    }
    fs::write(rig.src().join("filled"), grown(&old, &odd)).unwrap();
    let before = inode(&rig, "twice");
    catch_up(&mut rig);
    assert_eq!(inode(&rig, "twice"), before, "a file with several names stays the same file");
    let sent = rig.status().target().pass.sent_bytes;
    assert!(sent < 16 * MIB + 2 * MIB, "only the one with two names travels: {sent} bytes of content");
    rig.finish();
}

// claim: A140, A134
#[test]
fn a_shifted_file_that_is_touched_while_it_is_made_anew_is_exact() {
    let seed = seed();
    let mut random = Random::new(seed);
    let content = random.bytes(24 << 20);
    let names = ["written", "shorter", "longer", "renamed", "replaced", "linked", "deleted", "emptied", "spoilt"];
    let setup = Setup::default().linked().option(&["--lanes", "2"]);
    let mut rig = mirrored(setup, |src| {
        for name in names {
            fs::write(src.join(name), &content).unwrap();
        }
    });
    // Enough that is new for a copy to take its time.
    for name in names {
        let new = random.bytes(4 << 20);
        fs::write(rig.src().join(name), [&new, &content[..]].concat()).unwrap();
    }
    let before = rig.link().bytes_there();
    // What the target has of this one changes after it was told, behind replfs's back.
    let spoilt = OpenOptions::new().write(true).open(rig.replica().join("spoilt")).unwrap();
    rig.link().delay(Duration::from_millis(4));
    rig.mount();
    let mnt = rig.mnt();
    let open = |name: &str| OpenOptions::new().write(true).open(mnt.join(name)).unwrap();
    let (written, shorter, longer): (File, File, File) = (open("written"), open("shorter"), open("longer"));
    for round in 1..=6 {
        let enough = before + round * 3 * MIB + random.below(2 * MIB);
        until("bytes to go over the link", PATIENCE, || (rig.link().bytes_there() >= enough).then_some(()));
        for _ in 0..20 {
            written.write_all_at(&random.bytes(5000), random.below(28 * MIB)).unwrap();
        }
        for at in 0..24 {
            spoilt.write_all_at(b"spoilt", at * MIB + round).unwrap();
        }
        shorter.set_len(28 * MIB - round * 3 * MIB + 77).unwrap();
        longer.write_all_at(&random.bytes(300_000), 28 * MIB + round * MIB).unwrap();
        tree::change_name(&mnt, round, &mut random);
    }
    assert!(!rig.status().target().coherent, "all of that was while they were compared");
    rig.link().delay(Duration::ZERO);
    drop((written, shorter, longer));
    rig.finish();
}

// claim: A133, A140
#[test]
fn what_was_new_in_a_shifted_file_does_not_travel_again_after_a_kill() {
    let mut random = Random::new(34);
    let content = random.bytes(32 << 20);
    let mut rig = mirrored(Setup::default().linked(), |src| fs::write(src.join("big"), &content).unwrap());
    let new = random.bytes(24 << 20);
    fs::write(rig.src().join("big"), [&new, &content[..]].concat()).unwrap();
    let before = rig.link().bytes_there();
    rig.link().delay(Duration::from_millis(4));
    rig.mount();
    until("half to go over the link", PATIENCE, || (rig.link().bytes_there() >= before + 16 * MIB).then_some(()));
    rig.kill_source();
    rig.link().delay(Duration::ZERO);
    let again = catch_up(&mut rig);
    assert!(again < 18 * MIB, "{again} bytes travelled after some 16 of 24 MiB had");
    rig.finish();
}

// claim: A140
#[test]
fn a_file_that_was_written_anew_under_its_name_is_found_too() {
    let mut random = Random::new(35);
    let content = random.bytes(16 << 20);
    let mut rig = mirrored(Setup::default().linked(), |src| fs::write(src.join("big"), &content).unwrap());
    let grown = [b"a line in front\n", &content[..]].concat();
    // As most programs write: beside it, then over it. Once while nothing is mounted, once while nothing is sent.
    let write = |dir: &Path, bytes: &[u8]| {
        fs::write(dir.join("big.new"), bytes).unwrap();
        fs::rename(dir.join("big.new"), dir.join("big")).unwrap();
    };
    write(&rig.src(), &grown);
    let bytes = catch_up(&mut rig);
    assert!(bytes < MIB, "{bytes} bytes travelled");
    rig.assert_equal();
    rig.replfs("bypass", &[NAME, "on"]).ok();
    write(&rig.mnt(), &content);
    let before = rig.link().bytes_there();
    rig.replfs("bypass", &[NAME, "off"]).ok();
    rig.settle();
    let bytes = rig.link().bytes_there() - before;
    assert!(bytes < MIB, "{bytes} bytes travelled");
    rig.finish();
}

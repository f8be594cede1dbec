//! `replfs restore` from a liar: more than was asked for, what cannot be, what never ends.

use super::restore::{INCOMPLETE, LOST, SYSTEM, Victim, failed, greeting, page, seen, told};
use super::{dir, entry, file};
use bytes::Bytes;
use protocol::{Ask, Entry, Hole, Message, NodeKind, Page, SeqNo, Told};
use replfs_tests::liar::Say;
use serde_bytes::ByteBuf;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

fn data(entry: &Entry, len: u64, holes: Vec<Hole>, hole_after: u64) -> Told {
    Told::Data { seen: seen(entry), len, holes, hole_after }
}

// claim: A244
#[test]
fn content_that_cannot_be_is_refused() {
    let victim = Victim::new();
    let hole = |offset, len| Hole { offset, len };
    let entry = file("f", 8);
    for (lie, payload, code) in [
        (data(&entry, 8, vec![], 0), &b"too much for it"[..], SYSTEM),
        (data(&entry, 15, vec![], 0), b"too much for it", SYSTEM),
        (data(&entry, 8, vec![], 0), b"", SYSTEM),
        (data(&entry, 8, vec![hole(4, 2), hole(0, 2)], 0), b"four", SYSTEM),
        (data(&entry, 8, vec![hole(0, u64::MAX), hole(2, 2)], 0), b"", SYSTEM),
        (data(&entry, 8, vec![hole(u64::MAX, 2)], 0), b"sixsix", SYSTEM),
        (data(&entry, 8, vec![hole(0, 8); 4096], 0), b"", LOST),
        (data(&file("f", 9), 8, vec![], 0), b"eight ch", INCOMPLETE),
        (page(vec![]), b"", SYSTEM),
        (Told::Xattrs(vec![]), b"of no use", LOST),
        (Told::Reserved(vec![]), b"", SYSTEM),
    ] {
        let listed = entry.clone();
        let case = format!("{lie:?}");
        let outcome = victim.restores(&[], move |number, ask| match ask {
            Ask::List { .. } => told(number, page(vec![listed.clone()]), b""),
            Ask::Stat { .. } => told(number, Told::Entry(Box::new(listed.clone())), b""),
            _ => told(number, lie.clone(), payload),
        });
        assert_eq!(outcome.code, code, "{case}: {}", outcome.stderr);
        assert!(!victim.dir().join("f").exists(), "{case}");
    }
}

// claim: A244
#[test]
fn sizes_and_space_that_no_file_has_are_refused_and_the_rest_is_restored() {
    let victim = Victim::new();
    let sizes = [1 << 63, u64::MAX, i64::MAX as u64];
    let mut listed: Vec<Entry> = (1..).zip(sizes).map(|(n, size)| file(&format!("f{n}"), size)).collect();
    let reserved = Entry { blocks: u64::MAX, ..file("r1", 0) };
    listed.extend([reserved.clone(), Entry { blocks: 1 << 40, ..file("r2", 0) }, file("z", 0)]);
    let outcome = victim.restores(&[], move |number, ask| match ask {
        Ask::List { .. } => told(number, page(listed.clone()), b""),
        // It is all one hole.
        Ask::Read { path, offset, .. } => {
            let entry = listed.iter().find(|entry| entry.name.as_bytes() == path.as_bytes()).unwrap();
            let len = (entry.size - offset).min(1 << 20);
            let holes = vec![Hole { offset: *offset, len }];
            told(number, data(entry, len, holes, u64::MAX), b"")
        }
        Ask::Reserved { .. } => told(number, Told::Reserved(vec![Hole { offset: 0, len: 1 << 48 }]), b""),
        _ => told(number, failed(), b""),
    });
    outcome.expect(INCOMPLETE);
    for (name, there) in [("f1", false), ("f2", false), ("r1", false), ("r2", false), ("z", true)] {
        assert_eq!(victim.dir().join(name).exists(), there, "{name}: {}", outcome.stderr);
    }
    let out_of_order = victim.restores(&[], move |number, ask| match ask {
        Ask::List { .. } => told(number, page(vec![reserved.clone()]), b""),
        _ => told(number, Told::Reserved(vec![Hole { offset: 9, len: 1 }, Hole { offset: 0, len: 1 }]), b""),
    });
    out_of_order.expect(SYSTEM);
}

// claim: A244
#[test]
fn attributes_beyond_what_a_node_can_have_are_named_and_the_rest_is_restored() {
    let victim = Victim::new();
    for (pairs, code) in [
        (vec![(ByteBuf::from(b"user.a".to_vec()), ByteBuf::from(vec![1; 3 << 20]))], INCOMPLETE),
        (vec![(ByteBuf::from(b"user.a\0b".to_vec()), ByteBuf::new())], INCOMPLETE),
        (vec![(ByteBuf::from(b"nonsense".to_vec()), ByteBuf::new())], INCOMPLETE),
        (vec![(ByteBuf::new(), ByteBuf::new()); 40_000], LOST),
        (vec![(ByteBuf::from(b"trusted.a".to_vec()), ByteBuf::from(b"x".to_vec()))], 0),
    ] {
        let _none = fs::remove_dir_all(victim.dir());
        let listed = vec![Entry { xattrs: [9; 16], ..file("f", 0) }, file("g", 0)];
        let outcome = victim.restores(&[], move |number, ask| match ask {
            Ask::List { .. } => told(number, page(listed.clone()), b""),
            Ask::Xattrs { .. } => told(number, Told::Xattrs(pairs.clone()), b""),
            _ => told(number, failed(), b""),
        });
        assert_eq!(outcome.code, code, "{}", outcome.stderr);
        assert!(code == LOST || victim.dir().join("g").exists(), "{}", outcome.stderr);
    }
}

// claim: A247
#[test]
fn what_never_ends_takes_bounded_memory() {
    const PAGES: u64 = 100;
    let victim = Victim::new();
    // Always more names of files that have further names, none of which ever come.
    let asked = AtomicU64::new(0);
    let endless = move |number: SeqNo, _: &Ask| {
        let page_number = asked.fetch_add(1, Ordering::Relaxed);
        if page_number >= PAGES {
            return vec![Say::Close];
        }
        let entries = (0..1000_u64).map(|n| Entry {
            links: u64::MAX,
            inode: page_number * 1000 + n,
            ..entry(&format!("{page_number:08}-{n:04}"), NodeKind::Fifo, 0o600)
        });
        told(number, Told::Page(Page { exists: true, entries: entries.collect(), complete: false, own: None }), b"")
    };
    victim.restores(&["--dry-run"], endless).expect(LOST);
    // Directories within directories.
    let depth = AtomicU64::new(0);
    let deep = move |number: SeqNo, _: &Ask| {
        if depth.fetch_add(1, Ordering::Relaxed) >= 1500 {
            return vec![Say::Close];
        }
        told(number, page(vec![dir("d")]), b"")
    };
    victim.restores(&["--dry-run"], deep).expect(LOST);
    // A page that says that there is more and never has it.
    for entries in [vec![], vec![file("a", 0)]] {
        let outcome = victim.restores(&["--dry-run"], move |number, _| {
            let more = Page { exists: true, entries: entries.clone(), complete: false, own: None };
            told(number, Told::Page(more), b"")
        });
        outcome.expect(SYSTEM);
    }
}

// claim: A244
#[test]
fn what_changes_between_two_answers_is_tried_a_few_times_and_named() {
    let victim = Victim::new();
    let asked = AtomicU64::new(0);
    let outcome = victim.restores(&[], move |number, ask| {
        let size = asked.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(size < 100, "it is asked without end");
        match ask {
            Ask::List { path, .. } if path.is_root() => told(number, page(vec![dir("d"), file("f", size)]), b""),
            Ask::List { .. } => told(number, page(vec![]), b""),
            Ask::Stat { .. } => told(number, Told::Entry(Box::new(file("f", size))), b""),
            _ => told(number, data(&file("f", size), size, vec![], 0), b""),
        }
    });
    assert!([INCOMPLETE, SYSTEM].contains(&outcome.code), "{}", outcome.stderr);
    assert!(!victim.dir().join("f").exists());
    let outcome = victim.restores(&[], |number, ask| match ask {
        Ask::List { path, .. } if path.is_root() => told(number, page(vec![file("f", 3)]), b""),
        Ask::Stat { .. } => told(number, Told::Entry(Box::new(dir("f"))), b""),
        _ => told(number, failed(), b""),
    });
    outcome.expect(INCOMPLETE);
    assert!(outcome.stderr.contains("gone from the target"), "{}", outcome.stderr);
}

// claim: A244
#[test]
fn frames_out_of_turn_and_halves_of_frames_end_it() {
    let victim = Victim::new();
    let ask = |message: &Message| matches!(message, Message::Ask(..));
    for lie in [
        vec![Message::Heartbeat.into()],
        vec![Message::Told(SeqNo::new(999), failed(), Bytes::new()).into()],
        vec![Message::Told(SeqNo::new(1), failed(), Bytes::from(vec![0; 4 << 20])).into()],
        vec![Say::Bytes(b"RF\x01\x0e\0\0".to_vec()), Say::Close],
        vec![Say::Bytes(vec![0xff; 4096])],
        vec![Say::Close],
    ] {
        let outcome = victim.hears(&[], move |message| if ask(message) { lie.clone() } else { greeting() });
        outcome.expect(LOST);
        assert!(outcome.stderr.contains("run the same command again"), "{}", outcome.stderr);
    }
}

//! Of the queue, with and without a journal.

use super::*;
use bytes::Bytes;
use protocol::{Mark, Op};

const WIDE: Window = Window { bytes: 1 << 30, operations: 1 << 20 };

fn draft(len: usize) -> Draft {
    Draft::new(&Op::Mark(Mark::Barrier), Bytes::from(vec![0; len]))
}

#[test]
fn numbers_are_contiguous_and_sent_once_each() {
    let mut backlog = Backlog::new(1 << 20);
    for n in 1..=3 {
        assert_eq!(backlog.push(draft(10), n, false).unwrap(), SeqNo::new(n));
    }
    assert_eq!((0..5).filter_map(|_| backlog.take(WIDE).unwrap()).count(), 3);
    assert_eq!(backlog.sent(), SeqNo::new(3));
    backlog.acknowledge(SeqNo::new(2)).unwrap();
    assert_eq!((backlog.oldest(), backlog.operations()), (SeqNo::new(3), 1));
    assert_eq!(backlog.push(draft(10), 4, false).unwrap(), SeqNo::new(4));
    assert_eq!(backlog.sent(), SeqNo::new(3), "what is queued only is not sent");
    assert!(backlog.take(WIDE).unwrap().is_some());
    backlog.acknowledge(SeqNo::new(2)).unwrap();
    backlog.rewind(SeqNo::new(2)).unwrap();
    assert!(backlog.take(WIDE).unwrap().is_some() && backlog.take(WIDE).unwrap().is_some());
    assert!(backlog.take(WIDE).unwrap().is_none() && backlog.sent() == SeqNo::new(4));
    backlog.acknowledge(SeqNo::new(4)).unwrap();
    assert_eq!((backlog.bytes(), backlog.oldest_stamp()), (0, None));
}

#[test]
fn the_bound_holds_and_refusing_changes_nothing() {
    let mut backlog = Backlog::new(2000);
    assert!(backlog.push(draft(1000), 1, false).is_ok());
    let before = backlog.bytes();
    assert!(matches!(backlog.push(draft(1000), 2, false), Err(Full::Bound)));
    assert_eq!((backlog.bytes(), backlog.newest()), (before, SeqNo::new(1)));
}

#[test]
fn the_window_bounds_what_is_in_flight_but_lets_one_pass() {
    let mut backlog = Backlog::new(1 << 30);
    for n in 1..=3 {
        backlog.push(draft(1000), n, false).unwrap();
    }
    let narrow = Window { bytes: 100, operations: 10 };
    assert!(backlog.take(narrow).unwrap().is_some());
    assert!(backlog.take(narrow).unwrap().is_none());
    backlog.acknowledge(SeqNo::new(1)).unwrap();
    assert!(backlog.take(narrow).unwrap().is_some());
}

#[test]
fn clearing_keeps_the_numbers_going() {
    let mut backlog = Backlog::new(1 << 20);
    backlog.push(draft(1), 1, false).unwrap();
    backlog.clear();
    assert_eq!(backlog.oldest(), SeqNo::new(2));
    assert_eq!(backlog.push(draft(1), 2, false).unwrap(), SeqNo::new(2));
    assert!(backlog.take(WIDE).unwrap().is_some());
}

fn journal(dir: &std::path::Path, bytes: u64) -> (Journal, journal::Recovered) {
    let area = journal::AreaConfig { dir: dir.to_owned(), bytes, kind: journal::AreaKind::Memory };
    let config = journal::Config { boot: [1; 16], areas: vec![area] };
    Journal::open(std::sync::Arc::new(journal::RealDisk), config).unwrap()
}

#[test]
fn more_than_memory_keeps_is_read_back_in_order_also_by_the_next_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = journal(dir.path(), 4 * KEPT_BYTES);
    let mut backlog = Backlog::journaled(store, false, 0).unwrap();
    backlog.begin(Incarnation::from_bytes([7; 16])).unwrap();
    let payload = 100_000;
    let n = 2 * KEPT_BYTES / payload as u64;
    let window = Window { bytes: 1 << 20, operations: 100 };
    let mut sent = 0;
    for seq in 1..=n / 4 {
        backlog.push(draft(payload), seq, false).unwrap();
    }
    assert!(backlog.kept_bytes <= KEPT_IDLE_BYTES && backlog.bytes() > KEPT_IDLE_BYTES, "nothing takes it");
    while backlog.cursor < backlog.next {
        while backlog.take(window).unwrap().is_some() {
            sent += 1;
        }
        backlog.acknowledge(SeqNo::new(sent)).unwrap();
    }
    for seq in n / 4 + 1..=n {
        backlog.push(draft(payload), seq, false).unwrap();
    }
    assert!(backlog.kept_bytes <= KEPT_BYTES && backlog.kept_bytes > KEPT_BYTES / 2 && backlog.bytes() > KEPT_BYTES);
    while sent < n / 2 {
        while let Some(frame) = backlog.take(window).unwrap() {
            sent += 1;
            assert_eq!(frame.front[16..24], sent.to_le_bytes(), "in order");
        }
        backlog.acknowledge(SeqNo::new(sent)).unwrap();
    }
    assert_eq!(backlog.operations(), n - sent);
    let bytes = backlog.bytes();
    drop(backlog);
    // As after a kill.
    let (store, found) = journal(dir.path(), 4 * KEPT_BYTES);
    assert_eq!((found.next, found.damage), (SeqNo::new(n + 1), vec![]));
    let mut backlog = Backlog::journaled(store, true, 0).unwrap();
    assert!(backlog.oldest() <= SeqNo::new(sent + 1));
    backlog.rewind(SeqNo::new(sent)).unwrap();
    assert_eq!((backlog.operations(), backlog.bytes()), (n - sent, bytes));
    while backlog.operations() > 0 {
        while let Some(frame) = backlog.take(window).unwrap() {
            sent += 1;
            assert_eq!(frame.front[16..24], sent.to_le_bytes(), "in order");
        }
        backlog.acknowledge(SeqNo::new(sent)).unwrap();
    }
    assert_eq!((sent, backlog.bytes(), backlog.kept_bytes), (n, 0, 0));
    backlog.lost();
    for seq in 0..n / 4 {
        backlog.push(draft(payload), seq, false).unwrap();
    }
    assert!(backlog.kept_bytes <= KEPT_IDLE_BYTES && backlog.bytes() > KEPT_IDLE_BYTES, "nothing takes it any more");
    backlog.clear();
    let n = n + n / 4;
    assert_eq!(backlog.push(draft(1), 1, false).unwrap(), SeqNo::new(n + 1));
    assert!(backlog.take(window).unwrap().is_some());
}

#[test]
fn what_was_queued_behind_a_place_is_given_up_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = journal(dir.path(), 8 << 20);
    for mut backlog in [Backlog::journaled(store, false, 0).unwrap(), Backlog::new(8 << 20)] {
        backlog.begin(Incarnation::from_bytes([7; 16])).unwrap();
        for seq in 1..=4 {
            backlog.push(draft(100_000), seq, false).unwrap();
        }
        while backlog.take(Window { bytes: 1 << 20, operations: 2 }).unwrap().is_some() {}
        let (place, bytes) = (backlog.place(), backlog.bytes());
        assert_eq!(place.newest(), SeqNo::new(4));
        for _ in 0..2 {
            while backlog.push(draft(500_000), 1, false).is_ok() {}
            assert!(backlog.cut(&place).unwrap());
            assert_eq!((backlog.operations(), backlog.bytes(), backlog.newest()), (4, bytes, SeqNo::new(4)));
        }
        assert!(!backlog.cut(&place).unwrap(), "nothing is behind it");
        backlog.acknowledge(SeqNo::new(2)).unwrap();
        assert_eq!(backlog.push(draft(10), 5, false).unwrap(), SeqNo::new(5));
        let sent: Vec<u64> = std::iter::from_fn(|| backlog.take(WIDE).unwrap())
            .map(|frame| u64::from_le_bytes(frame.front[16..24].try_into().unwrap()))
            .collect();
        assert_eq!(sent, [3, 4, 5]);
        assert!(!backlog.cut(&place).unwrap(), "what is behind it was sent");
        backlog.acknowledge(SeqNo::new(5)).unwrap();
        assert_eq!((backlog.bytes(), backlog.kept_bytes, backlog.in_flight_bytes), (0, 0, 0));
    }
}

#[test]
fn a_full_journal_refuses_and_what_it_has_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = journal(dir.path(), 8 << 20);
    let mut backlog = Backlog::journaled(store, false, 0).unwrap();
    backlog.begin(Incarnation::from_bytes([7; 16])).unwrap();
    let mut queued = 0;
    while backlog.push(draft(500_000), 1, false).is_ok() {
        queued += 1;
    }
    assert!((8..=16).contains(&queued), "{queued}");
    assert!(backlog.used_bytes() <= backlog.limit_bytes());
    assert_eq!((backlog.operations(), backlog.newest()), (queued, SeqNo::new(queued)));
    backlog.acknowledge(SeqNo::new(queued)).unwrap();
    assert!(backlog.push(draft(500_000), 1, false).is_ok());
    backlog.clear();
    assert_eq!((backlog.operations(), backlog.bytes()), (0, 0));
    backlog.begin(Incarnation::from_bytes([8; 16])).unwrap();
    assert_eq!(backlog.push(draft(5), 1, false).unwrap(), SeqNo::new(queued + 2));
}

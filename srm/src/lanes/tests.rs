//! The pool against a scripted connection.
#![allow(clippy::unwrap_used)]

use super::state::{GIVE_UP, MAX_TRIES};
use super::*;
use bytes::Bytes;
use protocol::{Head, Message, Name, frame::HEAD_BYTES};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const STAGE: StageId = StageId::new(5, 1);
const OTHER: StageId = StageId::new(6, 1);
const PASS: u64 = 7;

fn run(n: u8) -> Incarnation {
    Incarnation::from_bytes([n; 16])
}

fn pool(limit: usize) -> Arc<Lanes> {
    let lanes = Lanes::default();
    lanes.set_limit(limit);
    lanes.link(true);
    lanes.begin_generation(PASS, run(1));
    Arc::new(lanes)
}

fn chunk(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 1 << 20])
}

/// Opens the lane that is wanted.
fn lane(pool: &Lanes) -> Seat {
    let seat = pool.next_lane().expect("a lane is wanted");
    assert_eq!(pool.hello(seat, &Name::new(b"n").unwrap()).unwrap().lane, seat.lane);
    pool.opened(seat).unwrap();
    seat
}

/// The next piece of a lane, if any: number, operation, data.
fn take(pool: &Lanes, seat: Seat) -> Option<(u64, PieceOp, Bytes)> {
    let frame = pool.next_piece(seat).unwrap()?;
    let (head, header) = frame.front.split_at(HEAD_BYTES);
    let head = Head::parse(head.try_into().unwrap()).unwrap();
    match head.message(header, frame.payload).unwrap() {
        Message::Piece(n, op, data) => Some((n, op, data)),
        other => panic!("{other:?}"),
    }
}

fn answer(pool: &Lanes, seat: Seat, n: u64, answer: PieceAnswer) {
    assert!(pool.answered(seat, n, answer).unwrap());
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time");
        thread::yield_now();
    }
}

fn start<T: Send + 'static>(pool: &Arc<Lanes>, work: impl FnOnce(&Lanes) -> T + Send + 'static) -> JoinHandle<T> {
    let pool = pool.clone();
    thread::spawn(move || work(&pool))
}

fn data(n: u64, op: &PieceOp) -> (u64, u64) {
    match op {
        PieceOp::Data { offset, .. } => (n, *offset),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_is_opened_compared_filled_and_settled() {
    let pool = pool(4);
    assert_eq!(pool.next_lane(), None, "nothing to copy, no lane");
    let copy = start(&pool, |lanes| {
        let there = lanes.open(PASS, STAGE, 3 << 20).unwrap();
        let differs = lanes.compare(PASS, STAGE, 0, there, 4, vec![0; 32]).unwrap();
        lanes.data(PASS, STAGE, 4, Bytes::from_static(b"data")).unwrap();
        lanes.hole(PASS, STAGE, 8, 1 << 30).unwrap();
        lanes.settle(PASS, STAGE).unwrap();
        (there, differs)
    });
    let seat = lane(eventually(|| pool.state.lock().outstanding(STAGE).checked_sub(1).map(|_| &pool)));
    let next = || eventually(|| take(&pool, seat));
    let (n, op, _) = next();
    assert_eq!(op, PieceOp::Open { stage: STAGE, size: 3 << 20 });
    answer(&pool, seat, n, PieceAnswer::There { len: 8 });
    let (n, op, _) = next();
    assert!(matches!(op, PieceOp::Compare { len: 8, .. }));
    answer(&pool, seat, n, PieceAnswer::Differs(vec![1]));
    let ((first, op, bytes), (second, hole, _)) = (next(), next());
    assert_eq!((data(first, &op).1, &bytes[..]), (4, &b"data"[..]));
    assert_eq!(hole, PieceOp::Hole { stage: STAGE, offset: 8, len: 1 << 30 });
    answer(&pool, seat, second, PieceAnswer::Done);
    assert!(!copy.is_finished(), "one is still under way");
    answer(&pool, seat, first, PieceAnswer::Done);
    assert_eq!(copy.join().unwrap(), (8, vec![1]));
    assert!(pool.is_idle(seat));
}

#[test]
fn chunks_are_told_and_copies_of_them_are_made_or_not() {
    let pool = pool(1);
    let path = protocol::RelPath::new(b"d/f").unwrap();
    let asked = start(&pool, {
        let path = path.clone();
        move |lanes| {
            let chunks = lanes.chunks(PASS, STAGE, &path, 5).unwrap();
            let copy = |from| CopyFrom { path: &path, from, offset: 1, len: 3, hash: [2; 16] };
            let (one, two) = (lanes.copy_from(PASS, STAGE, copy(7)), lanes.copy_from(PASS, STAGE, copy(8)));
            let done = (lanes.copied(one.unwrap()), lanes.copied(two.unwrap()));
            (chunks, done, lanes.settle(PASS, STAGE), lanes.chunks(PASS, STAGE, &path, 8))
        }
    });
    let seat = lane(eventually(|| pool.state.lock().outstanding(STAGE).checked_sub(1).map(|_| &pool)));
    let next = || eventually(|| take(&pool, seat));
    let (n, op, _) = next();
    assert_eq!(op, PieceOp::Chunks { stage: STAGE, path: path.clone(), offset: 5 });
    answer(&pool, seat, n, PieceAnswer::Chunks { lens: vec![3, 4], hashes: [[1; 16], [2; 16]].concat() });
    let (first, op, _) = next();
    assert_eq!(op, PieceOp::CopyFrom { stage: STAGE, offset: 1, len: 3, path, from: 7, hash: [2; 16] });
    answer(&pool, seat, first, PieceAnswer::Done);
    answer(&pool, seat, next().0, PieceAnswer::Unlike);
    // More hashes than chunks: not an answer to this question.
    answer(&pool, seat, next().0, PieceAnswer::Chunks { lens: vec![3], hashes: vec![1; 32] });
    let (chunks, done, settled, last) = asked.join().unwrap();
    assert_eq!(chunks, [Chunk { len: 3, hash: [1; 16] }, Chunk { len: 4, hash: [2; 16] }]);
    assert_eq!((done, settled), ((Ok(true), Ok(false)), Ok(())));
    assert!(matches!(last, Err(LaneError::Failed(_))), "{last:?}");
}

#[test]
fn what_a_broken_lane_had_goes_out_again_only_when_that_lane_is_let_in_anew() {
    let pool = pool(4);
    for n in 0..3 {
        pool.data(PASS, STAGE, n, Bytes::from_static(b"x")).unwrap();
    }
    let first = lane(&pool);
    let sent: Vec<_> = (0..3).map(|_| take(&pool, first).unwrap().0).collect();
    answer(&pool, first, sent[1], PieceAnswer::Done);
    pool.lost(first, "cut");
    pool.ended(first);
    assert_eq!(pool.next_piece(first).unwrap_err(), Over);
    assert_eq!(pool.answered(first, sent[0], PieceAnswer::Done), Err(Over));
    let again = pool.next_lane().unwrap();
    assert_eq!(again.lane, first.lane, "the same lane: the target ends the old one");
    assert_eq!(pool.next_lane(), None, "nothing is known to be lost yet");
    pool.opened(again).unwrap();
    let resent: Vec<_> = (0..2).map(|_| take(&pool, again).unwrap().0).collect();
    assert_eq!(resent, [sent[0], sent[2]], "in order, without what was answered");
    assert!(take(&pool, again).is_none());
    for n in resent {
        answer(&pool, again, n, PieceAnswer::Done);
    }
    pool.settle(PASS, STAGE).unwrap();
}

#[test]
fn a_piece_that_breaks_every_lane_fails() {
    let pool = pool(1);
    pool.data(PASS, STAGE, 0, Bytes::from_static(b"x")).unwrap();
    for _ in 0..MAX_TRIES {
        let seat = lane(&pool);
        take(&pool, seat).unwrap();
        pool.lost(seat, "refused");
    }
    lane(&pool);
    let Err(LaneError::Failed(text)) = pool.settle(PASS, STAGE) else { panic!("settled") };
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn what_waits_is_bounded_and_room_comes_with_answers() {
    let pool = pool(1);
    let filled = start(&pool, |lanes| {
        for n in 0..64u64 {
            lanes.data(PASS, STAGE, n << 20, chunk(1)).unwrap();
        }
        lanes.settle(PASS, STAGE).unwrap();
    });
    let seat = eventually(|| pool.next_lane());
    pool.opened(seat).unwrap();
    let mut seen = Vec::new();
    let mut under_way = Vec::new();
    while seen.len() < 64 {
        let (n, op, _) = eventually(|| take(&pool, seat));
        seen.push(data(n, &op).1 >> 20);
        under_way.push(n);
        assert!(under_way.len() <= 16, "sixteen MiB at most");
        if under_way.len() == 15 {
            assert!(!filled.is_finished());
            for n in under_way.drain(..) {
                answer(&pool, seat, n, PieceAnswer::Done);
            }
        }
    }
    for n in under_way {
        answer(&pool, seat, n, PieceAnswer::Done);
    }
    filled.join().unwrap();
    assert_eq!(seen, (0..64).collect::<Vec<_>>());
}

#[test]
fn another_lane_is_opened_when_those_that_are_open_have_enough() {
    let pool = pool(3);
    for n in 0..14u64 {
        pool.data(PASS, STAGE, n << 20, chunk(2)).unwrap();
    }
    let first = lane(&pool);
    assert_eq!(pool.next_lane(), None, "it has not taken anything yet");
    while take(&pool, first).is_some() {}
    let second = pool.next_lane().expect("the first has as much as it may");
    assert_eq!(pool.next_lane(), None, "one at a time");
    pool.opened(second).unwrap();
    while take(&pool, second).is_some() {}
    let third = lane(&pool);
    while take(&pool, third).is_some() {}
    assert_eq!((pool.next_lane(), pool.open_lanes()), (None, 3), "not more than asked for");
    pool.set_limit(1);
    pool.ended(third);
    assert_eq!(pool.open_lanes(), 2);
    assert_eq!(pool.next_lane().map(|seat| seat.lane), Some(third.lane), "what it left is fetched all the same");
}

#[test]
fn who_waits_is_told_when_the_pass_is_over() {
    let pool = pool(1);
    let opening = start(&pool, |lanes| lanes.open(PASS, STAGE, 0));
    let seat = eventually(|| pool.next_lane());
    pool.opened(seat).unwrap();
    let (n, ..) = eventually(|| take(&pool, seat));
    let settling = start(&pool, |lanes| {
        lanes.data(PASS, OTHER, 0, Bytes::from_static(b"x")).unwrap();
        lanes.settle(PASS, OTHER)
    });
    eventually(|| (pool.state.lock().outstanding(OTHER) == 1).then_some(()));
    pool.end_generation();
    assert_eq!(opening.join().unwrap(), Err(LaneError::Over));
    assert_eq!(settling.join().unwrap(), Err(LaneError::Over));
    assert!(take(&pool, seat).is_none(), "what was queued goes nowhere");
    pool.begin_generation(PASS + 1, run(1));
    assert_eq!(pool.data(PASS, STAGE, 0, Bytes::from_static(b"late")), Err(LaneError::Over));
    // The same staging file is begun anew only when nothing of the old copy can follow.
    let opening = start(&pool, |lanes| lanes.open(PASS + 1, STAGE, 0));
    for _ in 0..1000 {
        assert!(take(&pool, seat).is_none() && !opening.is_finished());
        thread::yield_now();
    }
    answer(&pool, seat, n, PieceAnswer::There { len: 1 });
    let (n, ..) = eventually(|| take(&pool, seat));
    answer(&pool, seat, n, PieceAnswer::There { len: 2 });
    assert_eq!(opening.join().unwrap(), Ok(2));
}

#[test]
fn another_run_of_numbers_needs_other_connections() {
    let pool = pool(1);
    pool.data(PASS, STAGE, 0, Bytes::from_static(b"x")).unwrap();
    let seat = lane(&pool);
    take(&pool, seat).unwrap();
    pool.begin_generation(PASS + 1, run(2));
    assert_eq!(pool.next_piece(seat).unwrap_err(), Over);
    assert_eq!(pool.next_lane(), None);
    pool.data(PASS + 1, STAGE, 0, Bytes::from_static(b"y")).unwrap();
    let next = pool.next_lane().unwrap();
    pool.ended(seat);
    assert_eq!(pool.hello(next, &Name::new(b"n").unwrap()).unwrap().incarnation, run(2));
    pool.opened(next).unwrap();
    assert_eq!(&take(&pool, next).unwrap().2[..], b"y");
    pool.link(false);
    pool.ended(next);
    assert_eq!(pool.next_lane(), None, "not without a session");
    pool.link(true);
    assert!(pool.next_lane().is_some());
}

#[test]
fn a_failure_is_told_once_per_copy_and_nonsense_is_a_failure() {
    let pool = pool(1);
    pool.data(PASS, STAGE, 0, Bytes::from_static(b"x")).unwrap();
    pool.data(PASS, OTHER, 0, Bytes::from_static(b"x")).unwrap();
    let seat = lane(&pool);
    let ((first, ..), (second, ..)) = (take(&pool, seat).unwrap(), take(&pool, seat).unwrap());
    answer(&pool, seat, first, PieceAnswer::Failed { text: "no space".to_owned(), retry: true });
    answer(&pool, seat, second, PieceAnswer::There { len: 3 });
    assert_eq!(pool.answered(seat, 999, PieceAnswer::Done), Ok(false));
    let failed = Err(LaneError::Failed("no space".to_owned()));
    assert_eq!(pool.settle(PASS, STAGE), failed);
    assert_eq!(pool.data(PASS, STAGE, 9, Bytes::from_static(b"x")), failed);
    assert!(matches!(pool.settle(PASS, OTHER), Err(LaneError::Failed(_))));
    let opening = start(&pool, |lanes| lanes.open(PASS, STAGE, 0));
    let (n, ..) = eventually(|| take(&pool, seat));
    answer(&pool, seat, n, PieceAnswer::There { len: 0 });
    assert_eq!(opening.join().unwrap(), Ok(0));
    assert_eq!(pool.settle(PASS, STAGE), Ok(()), "begun anew");
    let asked = pool.ask(PASS, STAGE, 0, 8, 4, vec![0; 32]).unwrap();
    let (n, ..) = take(&pool, seat).unwrap();
    answer(&pool, seat, n, PieceAnswer::Differs(vec![2]));
    assert!(matches!(pool.answer(asked), Err(LaneError::Failed(_))), "a block that was not asked about");
}

#[test]
fn without_any_lane_who_waits_is_told_so() {
    let pool = pool(2);
    let copy = start(&pool, |lanes| {
        lanes.data(PASS, STAGE, 0, Bytes::from_static(b"x"))?;
        lanes.settle(PASS, STAGE)
    });
    for _ in 0..GIVE_UP {
        let seat = eventually(|| pool.next_lane());
        pool.lost(seat, "no answer");
        pool.ended(seat);
    }
    let Err(LaneError::Failed(text)) = copy.join().unwrap() else { panic!("settled") };
    assert!(text.contains("no answer"), "{text}");
    assert_eq!(pool.next_lane(), None, "nothing is left to send");
}

#[test]
fn what_is_held_waits_and_what_is_under_way_is_answered() {
    let pool = pool(2);
    let copy = start(&pool, |lanes| {
        lanes.data(PASS, STAGE, 0, chunk(1)).unwrap();
        lanes.data(PASS, STAGE, 1 << 20, chunk(2)).unwrap();
        lanes.settle(PASS, STAGE)
    });
    let seat = lane(eventually(|| (pool.state.lock().outstanding(STAGE) == 2).then_some(&pool)));
    let (n, ..) = take(&pool, seat).unwrap();
    pool.hold(true);
    assert_eq!(take(&pool, seat), None);
    answer(&pool, seat, n, PieceAnswer::Done);
    // It closes because nothing is copied over it.
    pool.ended(seat);
    assert_eq!(pool.next_lane(), None);
    assert!(!copy.is_finished());
    pool.hold(false);
    let seat = lane(&pool);
    let (n, ..) = take(&pool, seat).unwrap();
    answer(&pool, seat, n, PieceAnswer::Done);
    assert_eq!(copy.join().unwrap(), Ok(()));
}

//! Which path a connection should be on, as paths live and die.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn addr(n: usize) -> SocketAddr {
    ([127, 0, 0, 1], 7000 + u16::try_from(n).unwrap()).into()
}

/// Two paths that live.
fn two() -> (Table, Instant) {
    let now = Instant::now();
    let mut table = Table::new(2, now, 0);
    for n in 0..2 {
        assert!(table.proved(n, addr(n), now, 0));
        assert!(!table.heard(n, now, 0));
    }
    (table, now)
}

#[test]
fn the_session_likes_the_first_and_lanes_are_spread() {
    let (mut table, now) = two();
    assert_eq!(table.order(false, now), [0, 1]);
    table.enters(0, false);
    assert_eq!(table.order(true, now), [1, 0], "the session is on the first");
    table.enters(1, true);
    assert_eq!(table.order(true, now), [0, 1]);
    table.enters(0, true);
    assert_eq!(table.order(true, now), [1, 0]);
    table.died(1, "cut", now, 0);
    assert_eq!(table.order(true, now), [0, 1], "a dead one is the last");
}

#[test]
fn one_goes_only_where_the_target_was_heard_of_since() {
    let (mut table, now) = two();
    table.enters(0, false);
    let since = now + SECOND;
    assert_eq!(table.away(0, false, since), None);
    assert!(table.want(1, since) && !table.want(1, since));
    assert_eq!(table.due_in(1, since), Duration::ZERO);
    table.tries(1, since);
    assert!(table.due_in(1, since) > Duration::ZERO);
    table.proved(1, addr(1), since + SECOND, 0);
    assert_eq!(table.away(0, false, since), Some((1, addr(1))));
    assert_eq!((table.stand(0).sessions, table.stand(1).sessions), (0, 1));
}

#[test]
fn what_left_a_path_comes_back_when_that_has_lived_for_a_while() {
    let (mut table, now) = two();
    table.enters(1, false);
    table.died(0, "cut", now, 0);
    assert_eq!(table.better(1, false, now), None);
    let back = now + 10 * SECOND;
    assert!(table.heard(0, back, 0));
    assert_eq!(table.better(1, false, back + SECOND), None);
    let later = back + PATIENCE;
    assert_eq!(table.better(1, false, later), Some(0));
    assert_eq!(table.goes(1, 0, false, later, later), None, "not heard of since");
    table.heard(0, later, 0);
    assert_eq!(table.goes(1, 0, false, later, later), Some(addr(0)));
    assert_eq!((table.stand(0).sessions, table.stand(1).sessions), (1, 0));
}

#[test]
fn a_path_that_dies_again_and_again_has_to_live_longer_each_time() {
    let (mut table, mut now) = two();
    table.enters(1, false);
    for patience in [2, 4, 8, 16, 32, 64, 64] {
        table.died(0, "cut", now, 0);
        now += SECOND;
        table.heard(0, now, 0);
        assert_eq!(table.better(1, false, now + patience * SECOND.mul_f32(0.95)), None, "{patience} s");
        assert_eq!(table.better(1, false, now + patience * SECOND), Some(0), "{patience} s");
        now += SECOND;
    }
    now += 2 * SOON;
    table.died(0, "cut", now, 0);
    table.heard(0, now, 0);
    assert_eq!(table.better(1, false, now + PATIENCE), Some(0), "that was long ago");
}

#[test]
fn lanes_move_where_there_are_two_fewer() {
    let (mut table, now) = two();
    for _ in 0..4 {
        table.enters(0, true);
    }
    assert_eq!(table.goes(0, 1, true, now, now), Some(addr(1)));
    assert_eq!(table.goes(0, 1, true, now, now), Some(addr(1)));
    assert_eq!(table.better(0, true, now), None);
    assert_eq!(table.better(1, true, now), None);
}

#[test]
fn a_dead_path_is_tried_with_pauses_and_a_living_one_now_and_then() {
    let (mut table, now) = two();
    assert_eq!(table.due_in(0, now), QUIET_TRY);
    for millis in [100, 200, 400, 800, 1600, 2000, 2000] {
        table.died(0, "cut", now, 0);
        assert_eq!(table.due_in(0, now), Duration::from_millis(millis));
    }
    table.heard(0, now, 0);
    assert_eq!(table.due_in(0, now), PROBATION_TRY);
}

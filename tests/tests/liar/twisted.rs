//! A real target whose every answer may be another one on its way back, by chance and repeatably: what is repaired on the target may be repaired again, or set aside there;
//! nothing of SRC changes, and when the lies end the replica becomes what SRC is.

use super::session::Between;
use super::{EVIL, facts, path};
use protocol::{Ack, Answer, Message, Page, PieceAnswer, SeqNo, Trouble, TroubleKind, Verdict};
use replfs_tests::liar::Say;
use replfs_tests::rig::Commit;
use replfs_tests::seed::Random;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 8;
/// How long the lies of a round last.
const LIES: Duration = Duration::from_millis(1500);

fn number(random: &mut Random, near: u64) -> u64 {
    match random.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => near.wrapping_add(1),
        3 => near.wrapping_sub(1),
        4 => random.below(1 << 20),
        _ => random.bits(),
    }
}

fn page(random: &mut Random, mut page: Page) -> Page {
    for entry in &mut page.entries {
        match random.below(8) {
            0 => entry.inode = number(random, entry.inode),
            1 => entry.links = number(random, entry.links),
            2 => entry.size = number(random, entry.size),
            3 => entry.blocks = number(random, entry.blocks),
            4 => entry.attrs.mode ^= 0o7777,
            5 => (entry.xattrs, entry.content) = ([7; 16], Some([7; 16])),
            6 => entry.suspect = !entry.suspect,
            _ => {}
        }
    }
    match random.below(10) {
        0 => page.entries.reverse(),
        1 => page.entries = page.entries.iter().flat_map(|entry| [entry.clone(), entry.clone()]).collect(),
        2 => page.complete = !page.complete,
        3 => page.exists = !page.exists,
        4 => page.own = None,
        5 => drop(page.entries.pop()),
        6 => {
            for entry in &mut page.entries {
                entry.name = protocol::Name::new(format!("m{}", random.below(1000)).as_bytes()).unwrap();
            }
            page.entries.sort_by(|a, b| a.name.cmp(&b.name));
            page.entries.dedup_by(|a, b| a.name == b.name);
        }
        _ => {}
    }
    page
}

fn answer(random: &mut Random, told: Answer) -> Answer {
    match (random.below(8), told) {
        (0, _) => Answer::Verdict(Verdict { errno: u32::MAX, unchanged: true }),
        (1, Answer::Page(_)) => Answer::Differs(vec![0]),
        (1, _) => Answer::Page(Page::default()),
        (_, Answer::Page(told)) => Answer::Page(page(random, told)),
        (2, Answer::Differs(_)) => Answer::Differs(vec![3; 1 << 16]),
        (3, Answer::Differs(_)) => Answer::Differs(vec![u32::MAX]),
        (_, Answer::Differs(_)) => Answer::Differs((0..4).filter(|_| random.once_in(2)).collect()),
        (_, other) => other,
    }
}

fn piece(random: &mut Random, told: PieceAnswer) -> PieceAnswer {
    match random.below(8) {
        0 => PieceAnswer::There { len: number(random, 1 << 20) },
        1 => PieceAnswer::Differs(vec![u32::MAX, 0, 0]),
        2 => PieceAnswer::Failed { text: EVIL.repeat(1000), retry: random.once_in(2) },
        3 => PieceAnswer::Chunks { lens: vec![u32::MAX; 3], hashes: vec![1; 48] },
        4 => PieceAnswer::Chunks { lens: vec![9; 3], hashes: vec![1; 47] },
        5 => PieceAnswer::Unlike,
        6 => PieceAnswer::Done,
        _ => told,
    }
}

fn twisted(random: &mut Random, message: Message) -> Vec<Say> {
    let paths = ["", "d1", "d1/f3", "nowhere/at/all", "big"];
    let kinds =
        [TroubleKind::Blocked, TroubleKind::Damaged, TroubleKind::Over, TroubleKind::Skipped, TroubleKind::Halted];
    if random.once_in(2) {
        return vec![message.into()];
    }
    match message {
        Message::Answer(seq, told) if random.once_in(8) => {
            vec![Message::Answer(SeqNo::new(number(random, seq.get())), told).into()]
        }
        // None at all.
        Message::Answer(..) if random.once_in(8) => vec![],
        Message::Answer(seq, told) => vec![Message::Answer(seq, answer(random, told)).into()],
        Message::PieceDone(n, told) if random.once_in(10) => {
            vec![Message::PieceDone(number(random, n), told).into()]
        }
        Message::PieceDone(n, told) => vec![Message::PieceDone(n, piece(random, told)).into()],
        Message::Ack(ack) if random.once_in(12) => {
            let mut twist = |seq: SeqNo| SeqNo::new(number(random, seq.get()));
            vec![Message::Ack(Ack { applied: twist(ack.applied), durable: twist(ack.durable) }).into()]
        }
        Message::Ack(ack) => {
            let seq = SeqNo::new(number(random, ack.applied.get()));
            let (kind, at) = (*random.pick(&kinds), *random.pick(&paths));
            let at = if random.once_in(4) { None } else { Some(path(at)) };
            let trouble = Message::Trouble(Trouble { seq, kind, path: at, text: EVIL.to_owned() });
            if random.once_in(3) {
                vec![trouble.into(), Message::Ack(ack).into()]
            } else {
                vec![Message::Ack(ack).into()]
            }
        }
        Message::HelloAck(mut ack) => {
            if random.once_in(2) {
                (ack.clean, ack.empty, ack.damaged) = (random.once_in(2), random.once_in(2), random.once_in(2));
                ack.power_lost = random.once_in(2);
            }
            if let Some(position) = ack.position.as_mut().filter(|_| random.once_in(3)) {
                position.applied = SeqNo::new(number(random, position.applied.get()));
            }
            vec![Message::HelloAck(ack).into()]
        }
        other => vec![other.into()],
    }
}

/// Something of everything that a catch-up has to do.
fn change(mnt: &Path, round: u64) {
    for dir in 0..4 {
        let at = mnt.join(format!("d{dir}"));
        fs::create_dir_all(&at).unwrap();
        for file in 0..12 {
            fs::write(at.join(format!("f{file}")), format!("{round} {dir} {file}").repeat(200)).unwrap();
        }
        let _none = fs::remove_file(at.join("link"));
        fs::hard_link(at.join("f3"), at.join("link")).unwrap();
    }
    let mut big: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    big.splice(0..0, format!("round {round}").into_bytes());
    fs::write(mnt.join("big"), &big).unwrap();
    fs::write(mnt.join(format!("new{round}")), &big[..2 << 20]).unwrap();
    fs::rename(mnt.join("d0/f1"), mnt.join(format!("d1/moved{round}"))).unwrap();
}

// claim: A248
#[test]
fn no_lie_about_what_the_target_has_changes_the_source() {
    let between = Between::new(Commit::Real, &["--lanes", "3"]);
    let (rig, mnt) = (&between.rig, between.rig.mnt());
    let at = mnt.to_str().unwrap().to_owned();
    let pid = rig.source_pid();
    let twists = Arc::new(AtomicU64::new(0));
    for seed in 0..ROUNDS {
        rig.replfs("bypass", &[&at, "on"]).ok();
        change(&mnt, seed);
        let before = facts(&rig.src());
        let (mut random, count, until) = (Random::new(seed), Arc::clone(&twists), Instant::now() + LIES);
        *between.twist.lock().unwrap() = Some(Box::new(move |message| {
            if Instant::now() > until {
                return vec![message.into()];
            }
            count.fetch_add(1, Ordering::Relaxed);
            twisted(&mut random, message)
        }));
        rig.replfs("bypass", &[&at, "off"]).ok();
        let told = || (Instant::now() > until).then_some(());
        replfs_tests::wait::until("the end of the lies", LIES * 4, told);
        *between.twist.lock().unwrap() = None;
        // What was never answered is asked again on another connection.
        between.hang_up();
        rig.settle();
        assert_eq!(facts(&rig.src()), before, "round {seed}");
        assert_eq!(rig.status().pid, pid, "round {seed}");
        assert!(!rig.source_log().contains("panicked"), "round {seed}: {}", rig.source_log());
    }
    assert!(twists.load(Ordering::Relaxed) > 200, "{twists:?} answers could be lies");
    let Between { rig, liar, .. } = between;
    rig.finish();
    drop(liar);
}

//! A mount whose target lies in the session: it goes on, SRC is what applications made of it, and when the lies end so does the trouble.

use super::{EVIL, assert_tame, facts, path};
use protocol::{Ack, Answer, Incarnation, Message, Page, Position, RefusalCode, Refused, SeqNo, Trouble, TroubleKind};
use replfs_tests::liar::{Face, Liar, Say};
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Says something in place of a message; `None`: that one stays as it is.
pub(crate) type Lie = Box<dyn FnMut(&Message) -> Option<Vec<Say>> + Send>;

/// A mount and a real target, with a liar between.
pub(crate) struct Between {
    pub rig: Rig,
    pub liar: Liar,
    lie: Arc<Mutex<Option<Lie>>>,
    hangs_up: Arc<AtomicBool>,
    /// What becomes of each message of the target, on whatever connection.
    pub twist: Arc<Mutex<Option<Twister>>>,
}

/// What becomes of a message.
pub(crate) type Twister = Box<dyn FnMut(Message) -> Vec<Say> + Send>;

impl Between {
    pub fn new(commit: Commit, more: &[&str]) -> Self {
        let mut rig = Rig::bare(commit, Setup::default());
        let face = Face::new(rig.home());
        rig.start_target_allowing(Some(&face.key()), "127.0.0.1:0");
        let lie: Arc<Mutex<Option<Lie>>> = Arc::default();
        let said = Arc::clone(&lie);
        let hangs_up: Arc<AtomicBool> = Arc::default();
        let closes = Arc::clone(&hangs_up);
        let twisted: Arc<Mutex<Option<Twister>>> = Arc::default();
        let bent = Arc::clone(&twisted);
        let twist = move |first: &Message, message: Message| {
            if let Some(twist) = &mut *bent.lock().unwrap() {
                return twist(message);
            }
            let session = matches!(first, Message::Hello(_));
            if session && matches!(message, Message::Ack(_)) && closes.swap(false, Ordering::Relaxed) {
                return vec![Say::Close];
            }
            let mut lie = said.lock().unwrap();
            // A lie is told once, in the session.
            let told = match &mut *lie {
                Some(tell) if session => tell(&message),
                _ => None,
            };
            if told.is_some() {
                *lie = None;
            }
            told.unwrap_or_else(|| vec![message.into()])
        };
        let liar = Liar::before(&face, rig.target_address(), rig.target_key(), Arc::new(twist));
        let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        let (src, mnt, state) = (text(rig.src()), text(rig.mnt()), text(rig.source_state()));
        let at = liar.address().to_string();
        let mut command = rig.program();
        command.args(["mount", &src, &mnt, "--target", &at, "--target-key", liar.key(), "--name", NAME]);
        command.args(["--state", &state, "--commit", commit.as_str()]).args(more);
        rig.mounted(&mut command).ok();
        rig.settle();
        Self { rig, liar, lie, hangs_up, twist: twisted }
    }

    /// Has the next message for which it has something replaced.
    pub fn tell(&self, lie: Lie) {
        *self.lie.lock().unwrap() = Some(lie);
    }

    /// Hangs up once, soon.
    pub fn hang_up(&self) {
        self.hangs_up.store(true, Ordering::Relaxed);
    }

    pub fn is_told(&self) -> bool {
        self.lie.lock().unwrap().is_none()
    }
}

/// The acknowledgement of something, in place of which something is said.
fn at_ack(mut lie: impl FnMut(Ack) -> Vec<Say> + Send + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::Ack(ack) => Some(lie(*ack)),
        _ => None,
    })
}

/// The next greeting is this.
fn at_greeting(change: impl Fn(&mut protocol::HelloAck) + Send + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::HelloAck(ack) => {
            let mut ack = ack.clone();
            change(&mut ack);
            Some(vec![Message::HelloAck(ack).into()])
        }
        _ => None,
    })
}

fn ack(applied: u64, durable: u64) -> Say {
    Message::Ack(Ack { applied: SeqNo::new(applied), durable: SeqNo::new(durable) }).into()
}

fn trouble(seq: SeqNo, kind: TroubleKind, at: Option<&str>, text: &str) -> Say {
    Message::Trouble(Trouble { seq, kind, path: at.map(path), text: text.to_owned() }).into()
}

fn lies() -> Vec<(&'static str, Lie)> {
    let kinds =
        [TroubleKind::Blocked, TroubleKind::Damaged, TroubleKind::Over, TroubleKind::Skipped, TroubleKind::Halted];
    let flood = move |ack: Ack| {
        let seqs = [SeqNo::ZERO, ack.applied, ack.applied.next(), SeqNo::new(u64::MAX)];
        let mut all: Vec<Say> = vec![ack.into_say()];
        for n in 0..600_usize {
            let at = ["a", "gone/far/away", "", "d/f"][n % 4];
            all.push(trouble(seqs[n / 5 % 4], kinds[n % 5], Some(at), &format!("{n} {EVIL}")));
        }
        all.push(Say::Close);
        all
    };
    let position = |n: u64, durable: u64| {
        move |ack: &mut protocol::HelloAck| {
            if let Some(position) = &mut ack.position {
                let applied = SeqNo::new(position.applied.get().saturating_add(n));
                *position = Position { applied, durable: SeqNo::new(durable), ..*position };
            }
        }
    };
    vec![
        ("an acknowledgement of everything", at_ack(|_| vec![ack(u64::MAX, u64::MAX), Say::Close])),
        ("one that goes back", at_ack(|_| vec![ack(0, u64::MAX), ack(1, 0), Say::Close])),
        ("troubles", at_ack(flood)),
        ("a goodbye", at_ack(|ack| vec![Message::ByeAck(ack).into()])),
        ("silence", at_ack(|_| vec![Say::Bytes(b"RF\x01\x05\0\0".to_vec())])),
        ("noise", at_ack(|_| vec![Say::Bytes(vec![0; 1 << 16])])),
        ("frames out of turn", at_ack(|_| vec![Message::Heartbeat.into()])),
        (
            "answers that nobody asked for",
            at_ack(|ack| {
                let page = Page { exists: true, complete: false, ..Page::default() };
                let mut all: Vec<Say> =
                    (0..2000).map(|n| Message::Answer(SeqNo::new(n), Answer::Page(page.clone())).into()).collect();
                all.extend([Message::Answer(ack.applied.next(), Answer::Differs(vec![9; 1 << 20])).into(), Say::Close]);
                all
            }),
        ),
        (
            "a refusal without end",
            at_ack(|_| {
                let text = EVIL.repeat(40_000);
                vec![Message::Refused(Refused { code: RefusalCode::Other, text }).into(), Say::Close]
            }),
        ),
        ("a position beyond", at_greeting(position(1 << 40, 0))),
        ("durable beyond applied", at_greeting(position(0, u64::MAX))),
        (
            "another run",
            at_greeting(|ack| {
                ack.position = Some(Position {
                    incarnation: Incarnation::from_bytes([9; 16]),
                    applied: SeqNo::new(9),
                    durable: SeqNo::new(9),
                });
                (ack.empty, ack.clean, ack.damaged, ack.power_lost) = (true, true, true, true);
            }),
        ),
        ("another replica", at_greeting(|ack| ack.replica = protocol::ReplicaId::from_bytes([8; 16]))),
        ("another version", at_greeting(|ack| ack.version = 200)),
        ("a release without end", at_greeting(|ack| ack.software = EVIL.repeat(40_000))),
    ]
}

trait IntoSay {
    fn into_say(self) -> Say;
}

impl IntoSay for Ack {
    fn into_say(self) -> Say {
        Message::Ack(self).into()
    }
}

// claim: A248
#[test]
fn a_mount_goes_on_whatever_its_target_says() {
    let between = Between::new(Commit::Sync, &["--degrade-after", "2s"]);
    let (rig, mnt) = (&between.rig, between.rig.mnt());
    let pid = rig.source_pid();
    fs::create_dir(mnt.join("d")).unwrap();
    let mut made = Vec::new();
    for (number, (what, lie)) in lies().into_iter().enumerate() {
        between.tell(lie);
        // Some lies are for the next greeting.
        between.hang_up();
        let content = what.repeat(100);
        let file = mnt.join("d").join(format!("f{number}"));
        // Answers, whatever the target says.
        fs::write(&file, &content).unwrap();
        made.push((file.clone(), content));
        until(what, PATIENCE, || between.is_told().then_some(()));
        let shown = rig.replfs("status", &[]);
        assert_tame(&shown.stdout);
        assert!(shown.stdout.len() < 32 << 10, "{}", shown.stdout.len());
        for (file, content) in &made {
            assert_eq!(&fs::read_to_string(file).unwrap(), content, "after {what}");
        }
        fs::remove_file(&file).unwrap();
        fs::write(&file, &made.last().unwrap().1).unwrap();
        rig.settle();
        assert_eq!(rig.status().pid, pid, "after {what}");
    }
    let before = facts(&rig.src());
    rig.assert_equal();
    assert_eq!(facts(&rig.src()), before);
    rig.assert_memory();
    assert_tame(&rig.source_log().replace('\u{fffd}', ""));
    assert!(!rig.source_log().contains("panicked"), "{}", rig.source_log());
    let Between { rig, liar, .. } = between;
    rig.finish();
    drop(liar);
}

//! What a record that is numbered says of those before it (R11), and when what is queued is gathered (decision 31).
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Commit;
use crate::status::NearBounds;
use platform::tree::{Node, Tree};
use protocol::{Name, Op, Time};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A source to which everything is clean, with one file.
struct Rig {
    _dir: tempfile::TempDir,
    srm: Arc<Srm>,
    file: Arc<Node>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let tree = Tree::new(File::open(dir.path()).unwrap().as_fd()).unwrap();
        let srm = Srm::detached(Arc::new(tree));
        let name = Name::new(b"file").unwrap();
        let file = srm.tree.lookup(&srm.tree.names().read(), srm.tree.root(), &name, 0).unwrap().0;
        srm.core.lock().gate = Gate::Clean;
        Self { _dir: dir, srm, file }
    }

    fn write(&self, bytes: usize, durable: bool) -> crate::Ticket {
        let names = self.srm.tree.names().read();
        let mtime = Time { secs: 1, nanos: 0 };
        let payload = vec![0; bytes];
        self.srm.on_node(&names, &self.file, &payload, |place| Op::Write {
            place,
            offset: 0,
            mtime,
            mode: None,
            durable,
        })
    }

    fn fsync(&self) -> crate::Ticket {
        let names = self.srm.tree.names().read();
        self.srm.on_node(&names, &self.file, &[], |place| Op::Fsync { place, data_only: false })
    }

    /// Takes the next frame to send: what it says that it may be applied beside.
    fn send(&self) -> u16 {
        let generation = self.srm.core.lock().generation;
        let frame = self.srm.next_frame(generation).unwrap().unwrap();
        u16::from_le_bytes([frame.front[6], frame.front[7]])
    }
}

#[test]
fn a_record_may_be_applied_beside_syncs_of_which_nobody_was_told() {
    let rig = Rig::new();
    let one = rig.fsync();
    let durable = rig.write(1, true);
    let _none_waits = rig.write(1, false);
    assert_eq!([rig.send(), rig.send(), rig.send()], [0, 1, 2]);
    // The second is told first: the first is to be finished too.
    rig.srm.commit(durable, || ());
    let _none_waits = rig.write(1, false);
    assert_eq!(rig.send(), 1, "the write after it alone");
    rig.srm.commit(one, || ());
    let _none_waits = rig.write(1, false);
    assert_eq!(rig.send(), 2, "an older one changes nothing");
    // What asked for nothing holds nobody up.
    let plain = rig.write(1, false);
    rig.srm.commit(plain, || ());
    let last = rig.fsync();
    assert_eq!([rig.send(), rig.send()], [3, 4]);
    let told = Arc::clone(&rig.srm.core.lock().synced);
    let before = told.load(std::sync::atomic::Ordering::SeqCst);
    rig.srm.commit(last, move || {
        let now = told.load(std::sync::atomic::Ordering::SeqCst);
        assert!(now > before, "noted before the application hears of it");
    });
}

#[test]
fn who_begins_to_wait_in_near_has_what_is_held_back_sent() {
    let rig = Rig::new();
    let woken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&woken);
    rig.srm.on_wake(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let near = NearBounds { operations: 2, ..NearBounds::default() };
    rig.srm.core.lock().commit = Commit { near, ..Commit::new(CommitMode::Near) };
    rig.srm.core.lock().coherent_at = Some(SeqNo::ZERO);
    let mut answered = Vec::new();
    for _ in 0..3 {
        let ticket = rig.write(10, false);
        rig.send();
        let before = woken.load(Ordering::Relaxed);
        rig.srm.commit(ticket, || ());
        let waits = !rig.srm.core.lock().replies.is_empty();
        answered.push((waits, woken.load(Ordering::Relaxed) - before));
    }
    assert_eq!(answered, [(false, 0), (false, 0), (true, 1)]);
}

#[test]
fn very_little_is_gathered_on_a_line_that_was_just_used_too() {
    let rig = Rig::new();
    let _none_waits = rig.write(10, false);
    rig.send();
    rig.srm.acknowledged(Ack { applied: SeqNo::new(1), durable: SeqNo::ZERO });
    let _none_waits = rig.write(10, false);
    let sent_at = |at: Instant| rig.srm.core.lock().sent_at = Some(at);
    let now = machine::now();
    sent_at(now + Duration::from_secs(60));
    assert!(rig.srm.gathers(), "sent a moment ago");
    let _none_waits = rig.write(usize::try_from(LITTLE_BYTES).unwrap(), false);
    assert!(!rig.srm.gathers(), "it is enough");
    let _both = [rig.send(), rig.send()];
    rig.srm.acknowledged(Ack { applied: SeqNo::new(3), durable: SeqNo::ZERO });
    let _none_waits = rig.write(10, false);
    sent_at(now.checked_sub(IDLE_AFTER).unwrap());
    assert!(!rig.srm.gathers(), "the line is idle");
}

#[test]
fn little_that_nobody_waits_for_is_gathered_while_something_is_on_its_way() {
    let rig = Rig::new();
    let _none_waits = rig.write(10, false);
    assert!(!rig.srm.gathers(), "the line is idle");
    rig.send();
    let _none_waits = rig.write(10, false);
    assert!(rig.srm.gathers());
    let mode = |mode| rig.srm.core.lock().commit = Commit::new(mode);
    for (asked, gathers) in [
        (CommitMode::Sync, false),
        (CommitMode::Near, true),
        (CommitMode::Remote, false),
        (CommitMode::Local, true),
        (CommitMode::Real, true),
    ] {
        mode(asked);
        assert_eq!(rig.srm.gathers(), gathers, "{asked}");
    }
    mode(CommitMode::Near);
    rig.srm.core.lock().replies.wait(SeqNo::new(2), Instant::now(), Box::new(|| ()));
    assert!(!rig.srm.gathers(), "somebody waits");
    let _waited = rig.srm.core.lock().replies.release_all();
    mode(CommitMode::Real);
    let _none_waits = rig.write(usize::try_from(GATHERED_BYTES).unwrap(), false);
    assert!(!rig.srm.gathers(), "it is enough");
    rig.send();
    rig.send();
    let _none_waits = rig.write(10, false);
    assert!(rig.srm.gathers());
    rig.srm.core.lock().closing = true;
    assert!(!rig.srm.gathers(), "somebody waits for the end");
}

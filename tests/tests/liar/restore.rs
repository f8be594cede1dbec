//! `replfs restore` from a liar: what is written where.

use super::{EVIL, Outside, assert_tame, dir, entry, facts, file, name};
use bytes::Bytes;
use protocol::{
    Ask, Entry, FailedKind, FetchAck, Message, NodeKind, Page, RefusalCode, Refused, ReplicaId, Seen, SeqNo, Told,
    VERSION,
};
use replfs_tests::command::{self, Outcome};
use replfs_tests::liar::{Face, Liar, Say, forged};
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

pub(crate) const SYSTEM: i32 = 2;
pub(crate) const LOST: i32 = 36;
pub(crate) const INCOMPLETE: i32 = 50;

/// Somebody who restores from a liar.
pub(crate) struct Victim {
    pub rig: Rig,
    pub outside: Outside,
}

pub(crate) fn page(entries: Vec<Entry>) -> Told {
    Told::Page(Page { exists: true, entries, complete: true, own: None })
}

pub(crate) fn seen(entry: &Entry) -> Seen {
    Seen { size: entry.size, mtime: entry.attrs.mtime, inode: entry.inode }
}

pub(crate) fn failed() -> Told {
    Told::Failed { kind: FailedKind::Missing, text: String::new() }
}

pub(crate) fn told(number: SeqNo, told: Told, data: &'static [u8]) -> Vec<Say> {
    vec![Message::Told(number, told, Bytes::from_static(data)).into()]
}

pub(crate) fn greeting() -> Vec<Say> {
    let (software, replica) = (EVIL.to_owned(), ReplicaId::from_bytes([3; 16]));
    vec![Message::FetchAck(FetchAck { version: VERSION, software, replica, coherent: true, position: None }).into()]
}

impl Victim {
    pub fn new() -> Self {
        let rig = Rig::bare(Commit::Real, Setup::default());
        let outside = Outside::new(&rig);
        Self { rig, outside }
    }

    /// DIR.
    pub fn dir(&self) -> PathBuf {
        self.rig.home().join("dir")
    }

    /// Restores all of what a liar says that it has. Whatever it says, nothing outside changes.
    #[track_caller]
    pub fn restores(&self, more: &[&str], answer: impl Fn(SeqNo, &Ask) -> Vec<Say> + Send + Sync + 'static) -> Outcome {
        self.hears(more, move |message| match message {
            Message::Fetch(_) => greeting(),
            Message::Ask(number, Ask::Stat { path }) if path.is_root() => {
                told(*number, Told::Entry(Box::new(dir(NAME))), b"")
            }
            Message::Ask(number, ask) => answer(*number, ask),
            _ => vec![Say::Close],
        })
    }

    #[track_caller]
    pub fn hears(&self, more: &[&str], script: impl Fn(&Message) -> Vec<Say> + Send + Sync + 'static) -> Outcome {
        let liar = Liar::alone(&Face::new(self.rig.home()), Arc::new(script));
        let (at, to) = (liar.address().to_string(), self.dir());
        let mut words = vec!["--from", &at, "--target-key", liar.key(), "--name", NAME, "--to", to.to_str().unwrap()];
        words.extend(more);
        let mut program = Command::new("sh");
        // More memory than that, in KiB, it does not get.
        program.args(["-c", "ulimit -d 786432 && exec \"$@\"", "sh"]).arg(self.rig.program().get_program());
        program.args(["restore", "--state"]).arg(self.rig.source_state()).args(words);
        let outcome = command::run(&mut program);
        self.outside.assert_untouched();
        assert_tame(&outcome.stdout);
        assert_tame(&outcome.stderr);
        assert!(outcome.stderr.len() < 64 << 10 && !outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        outcome
    }
}

// claim: A243
#[test]
fn names_that_lead_elsewhere_do_not_parse() {
    let victim = Victim::new();
    fs::create_dir(victim.dir()).unwrap();
    for (harmless, evil) in [("a_b", "a/b"), ("xx", ".."), ("x", "."), ("a_b", "a\0b"), ("aaa_outsid", "../\0outsid")] {
        let outcome = victim.restores(&[], move |number, _| {
            let listed = Message::Told(number, page(vec![file(harmless, 0)]), Bytes::new());
            vec![Say::Bytes(forged(&listed, harmless.as_bytes(), evil.as_bytes()))]
        });
        outcome.expect(LOST);
        assert!(outcome.stderr.contains("unreadable answer"), "{evil:?}: {}", outcome.stderr);
        assert_eq!(facts(&victim.dir()).len(), 1, "nothing is in DIR: {evil:?}");
    }
}

// claim: A243
#[test]
fn a_symbolic_link_that_the_liar_planted_is_not_followed() {
    let victim = Victim::new();
    let to = victim.outside.place.as_os_str().as_encoded_bytes().to_vec();
    let link = entry("sub", NodeKind::Symlink(to), 0o777);
    let first = link.clone();
    victim.restores(&[], move |number, _| told(number, page(vec![first.clone()]), b"")).ok();
    assert!(fs::symlink_metadata(victim.dir().join("sub")).unwrap().is_symlink());
    // The same name twice, as a link and as a directory below which something is.
    let twice = vec![link, dir("sub")];
    let outcome = victim.restores(&[], move |number, _| told(number, page(twice.clone()), b""));
    outcome.expect(SYSTEM);
    assert!(outcome.stderr.contains("names out of order"), "{}", outcome.stderr);
    // And now it says that it was a directory all the time.
    let inside = |number: SeqNo, ask: &Ask| match ask {
        Ask::List { path, .. } if path.is_root() => told(number, page(vec![dir("sub")]), b""),
        Ask::List { .. } => told(number, page(vec![file("canary", 0)]), b""),
        _ => told(number, failed(), b""),
    };
    let outcome = victim.restores(&[], inside);
    outcome.ok();
    assert!(outcome.stdout.contains("aside sub -> "), "{}", outcome.stdout);
    assert!(fs::symlink_metadata(victim.dir().join("sub")).unwrap().is_dir());
    // DIR's own ways out are not taken either.
    fs::remove_dir_all(victim.dir().join("sub")).unwrap();
    symlink(&victim.outside.place, victim.dir().join("sub")).unwrap();
    victim.restores(&[], inside).ok();
    victim.restores(&["sub/canary"], |number, ask| match ask {
        Ask::Stat { path } if path.as_bytes() == b"sub" => told(number, Told::Entry(Box::new(dir("sub"))), b""),
        Ask::Stat { .. } => told(number, Told::Entry(Box::new(file("canary", 0))), b""),
        _ => told(number, failed(), b""),
    });
}

// claim: A244
#[test]
fn a_name_elsewhere_of_a_file_in_dir_keeps_content_owner_permissions_and_time() {
    let victim = Victim::new();
    fs::create_dir(victim.dir()).unwrap();
    let elsewhere = victim.rig.home().join("elsewhere");
    let wanted = file("x", 5);
    for (content, mode) in [("other content", 0o600), ("liars", 0o600)] {
        let _none = fs::remove_file(&elsewhere);
        let _none = fs::remove_file(victim.dir().join("x"));
        fs::write(&elsewhere, content).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(mode)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
        fs::File::options().write(true).open(&elsewhere).unwrap().set_modified(time).unwrap();
        fs::hard_link(&elsewhere, victim.dir().join("x")).unwrap();
        let before = fs::metadata(&elsewhere).unwrap();
        for links in [1, 2, u64::MAX] {
            let mut entry = Entry { links, ..wanted.clone() };
            entry.attrs.mode = 0o4777;
            entry.attrs.owner.uid = 1234;
            victim
                .restores(&["--checksum"], move |number, ask| match ask {
                    Ask::List { .. } => told(number, page(vec![entry.clone()]), b""),
                    Ask::Hashes { .. } => {
                        let hashes = blake3::hash(b"liars").as_bytes()[..16].to_vec().into();
                        told(number, Told::Hashes { seen: seen(&entry), hashes, hole_after: 0 }, b"")
                    }
                    Ask::Read { .. } => {
                        let data = Told::Data { seen: seen(&entry), len: 5, holes: Vec::new(), hole_after: 0 };
                        told(number, data, b"liars")
                    }
                    _ => told(number, failed(), b""),
                })
                .ok();
            let after = fs::metadata(&elsewhere).unwrap();
            assert_eq!(fs::read_to_string(&elsewhere).unwrap(), content);
            let kept = |m: &fs::Metadata| (m.ino(), m.mode(), m.uid(), m.mtime(), m.mtime_nsec());
            assert_eq!(kept(&after), kept(&before), "{content}, {links} names");
            let restored = fs::metadata(victim.dir().join("x")).unwrap();
            assert_eq!((restored.mode() & 0o7777, restored.uid(), restored.len()), (0o4777, 1234, 5));
        }
    }
}

// claim: A245
#[test]
fn root_restores_devices_and_setuid_exactly_and_nothing_else_is_made_of_them() {
    let victim = Victim::new();
    let null = rustix::fs::makedev(1, 3);
    let listed = vec![entry("null", NodeKind::CharDevice(null), 0o666), entry("su", NodeKind::File, 0o4755)];
    victim.restores(&[], move |number, ask| match ask {
        Ask::List { .. } => told(number, page(listed.clone()), b""),
        _ => told(number, failed(), b""),
    });
    let device = fs::symlink_metadata(victim.dir().join("null")).unwrap();
    assert!(device.file_type().is_char_device() && device.rdev() == null);
    assert_eq!(fs::metadata(victim.dir().join("su")).unwrap().mode() & 0o7777, 0o4755);
}

// claim: A246
#[test]
fn what_a_liar_says_is_no_command_to_a_terminal_and_has_an_end() {
    let victim = Victim::new();
    for code in [RefusalCode::Other, RefusalCode::Missing, RefusalCode::Owned, RefusalCode::Busy] {
        let text = EVIL.repeat(40_000);
        let outcome =
            victim.hears(&[], move |_| vec![Message::Refused(Refused { code, text: text.clone() }).into(), Say::Close]);
        assert!(outcome.code > 1 && outcome.stderr.len() < 4096, "{}", outcome.stderr.len());
    }
    let outcome = victim.restores(&[], |number, ask| match ask {
        Ask::List { .. } => told(number, page(vec![file("f", 9), file("g", 0)]), b""),
        _ => told(number, Told::Failed { kind: FailedKind::Unreadable, text: EVIL.repeat(1000) }, b""),
    });
    outcome.expect(INCOMPLETE);
    assert!(outcome.stderr.contains("f: the target cannot read it: \\u{1b}[2J"), "{}", outcome.stderr);
    assert!(victim.dir().join("g").exists(), "the rest is there");
    // Names of the replica, where what was there is listed.
    let wild = format!("x{}", &EVIL[..20]);
    fs::write(victim.dir().join(&wild), "kept").unwrap();
    let called = wild.clone();
    let outcome = victim.restores(&[], move |number, ask| {
        let root = matches!(ask, Ask::List { path, .. } if path.is_root());
        told(number, page(if root { vec![dir(&called)] } else { Vec::new() }), b"")
    });
    assert!(outcome.stdout.contains("aside x\\u{1b}[2J") && outcome.stdout.contains(" -> "), "{}", outcome.stdout);
    let _named = name(&wild);
}

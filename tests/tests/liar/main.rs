//! A target that was stolen lies in every answer (issue 6, I6, T8): the worst that comes of it is a refusal, a lost connection, a comparison. Nothing of the source
//! changes, nothing is written beside what was asked for, and no terminal obeys it. Here: what the cases share.
#![allow(clippy::unwrap_used)]

mod remote;
mod restore;
mod restore_bounds;
mod session;
mod twisted;

use protocol::{Attrs, Entry, Name, NodeKind, Owner, RelPath, Time};
use replfs_tests::rig::Rig;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Escape sequences, a bell, an end of line, a change of the direction of writing.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;gone\u{7}\r\nreplfs: all is well\u{202e}\u{9b}31m";

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn entry(called: &str, kind: NodeKind, mode: u32) -> Entry {
    let owner = Owner { uid: 0, gid: 0 };
    Entry {
        name: name(called),
        kind,
        attrs: Attrs { owner, mode, mtime: Time { secs: 1_000_000_000, nanos: 5 } },
        size: 0,
        blocks: 0,
        links: 1,
        inode: 77,
        xattrs: [0; 16],
        suspect: false,
        content: None,
    }
}

fn file(called: &str, size: u64) -> Entry {
    Entry { size, blocks: size / 512, ..entry(called, NodeKind::File, 0o644) }
}

fn dir(called: &str) -> Entry {
    entry(called, NodeKind::Directory, 0o755)
}

/// What somebody's terminal would obey, or take for another line.
#[track_caller]
fn assert_tame(text: &str) {
    let wild = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!text.contains(wild), "control characters reach the terminal: {text:?}");
    assert!(!text.lines().any(|line| line == "replfs: all is well\\u{202e}\\u{9b}31m"), "a line of its own: {text}");
}

/// Everything of a tree that shows a change: content, inode, change time.
fn facts(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(at) = waiting.pop() {
        let meta = fs::symlink_metadata(&at).unwrap();
        let content = if meta.is_file() { fs::read(&at).unwrap() } else { Vec::new() };
        let ids = (meta.ino(), meta.mode(), meta.uid(), meta.gid(), meta.nlink(), meta.size());
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        if meta.is_dir() {
            waiting.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        }
        out.insert(at, format!("{ids:?} {times:?} {content:?}"));
    }
    out
}

/// Files beside everything that a liar may touch.
struct Outside {
    place: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Outside {
    fn new(rig: &Rig) -> Self {
        let place = rig.home().join("outside");
        fs::create_dir_all(place.join("sub")).unwrap();
        fs::write(place.join("canary"), "sings").unwrap();
        fs::write(place.join("sub/canary"), "sings too").unwrap();
        let before = facts(&place);
        Self { place, before }
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(facts(&self.place), self.before);
    }
}

//! What a target says, before it goes any further (T8: a target that was stolen lies in every answer): words for people within bounds and without anything that a terminal would obey,
//! answers that can be answers to their question, and how often what it says is worth a line of the log. Pure.

use protocol::{Name, Page};
use std::time::{Duration, Instant};

/// Bytes of a target's words that are kept.
const MOST_BYTES: usize = 1024;
/// Lines of the log that are about what a target said, within [`WITHIN`].
const MOST_LINES: u32 = 200;
const WITHIN: Duration = Duration::from_secs(10);

/// A target's words as they may be shown and kept: at most some 1024 bytes, control characters and whatever else changes how a text looks escaped.
pub fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MOST_BYTES));
    for c in text.chars() {
        if out.len() >= MOST_BYTES {
            out.push_str("...");
            break;
        }
        match c {
            // As they are: they are no danger, and escaped they would be hard to read.
            '\'' | '"' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

/// Whether the names of a page are in order, each once, and come after this one; and whether what follows it can be asked for.
pub(crate) fn is_in_order(page: &Page, after: Option<&Name>) -> bool {
    let mut before = after;
    for entry in &page.entries {
        if before.is_some_and(|before| *before >= entry.name) {
            return false;
        }
        before = Some(&entry.name);
    }
    page.complete || page.exists && !page.entries.is_empty()
}

/// Whether these are numbers of blocks, of so many, ascending.
pub(crate) fn are_blocks(list: &[u32], blocks: u64) -> bool {
    list.is_sorted_by(|a, b| a < b) && list.last().is_none_or(|last| u64::from(*last) < blocks)
}

/// Bounds how much a target can have written to the log.
#[derive(Debug, Default)]
pub(crate) struct Loudness {
    since: Option<Instant>,
    lines: u32,
}

impl Loudness {
    /// Whether one more line may be written.
    pub fn admits(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WITHIN) {
            (self.since, self.lines) = (Some(now), 0);
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= MOST_LINES
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::{Attrs, Entry, NodeKind, Owner, Time};

    #[test]
    fn no_terminal_obeys_a_targets_words_and_they_have_an_end() {
        let evil = "no \u{1b}[2J\u{1b}]0;root#\u{7}\r\n\u{202e}it's \"x\"\\\u{9b}31m";
        let shown = words(evil);
        assert!(shown.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{shown}");
        assert!(shown.starts_with("no \\u{1b}[2J") && shown.contains("it's \"x\"\\"), "{shown}");
        assert_eq!(words("no space left on device: ä"), "no space left on device: ä");
        for text in ["x".repeat(1 << 22), "\u{1b}".repeat(1 << 20), "ä".repeat(1 << 20)] {
            assert!(words(&text).len() <= MOST_BYTES + 16);
        }
    }

    fn page(names: &[&str], exists: bool, complete: bool) -> Page {
        let (attrs, kind) =
            (Attrs { owner: Owner { uid: 0, gid: 0 }, mode: 0, mtime: Time { secs: 0, nanos: 0 } }, NodeKind::File);
        let entry = |name: &&str| Entry {
            name: Name::new(name.as_bytes()).unwrap(),
            kind: kind.clone(),
            attrs,
            size: 0,
            blocks: 0,
            links: 1,
            inode: 1,
            xattrs: [0; 16],
            suspect: false,
            content: None,
        };
        Page { exists, entries: names.iter().map(entry).collect(), complete, own: None }
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let after = Name::new(b"k").unwrap();
        for (names, exists, complete, fits) in [
            (&["l", "m"][..], true, true, true),
            (&["l", "m"], true, false, true),
            (&[], true, true, true),
            (&[], false, true, true),
            // Asked on and on it would never end.
            (&[], true, false, false),
            (&["a", "b"], true, false, false),
            (&["k"], true, true, false),
            (&["m", "l"], true, true, false),
            (&["l", "l"], true, true, false),
            (&["l"], false, false, false),
        ] {
            assert_eq!(is_in_order(&page(names, exists, complete), Some(&after)), fits, "{names:?}");
        }
        assert!(is_in_order(&page(&["a"], true, false), None));
    }

    #[test]
    fn blocks_are_ascending_and_within_what_was_asked_about() {
        for (list, fits) in [
            (&[][..], true),
            (&[0, 3, 7], true),
            (&[8], false),
            (&[3, 3], false),
            (&[4, 3], false),
            (&[u32::MAX], false),
        ] {
            assert_eq!(are_blocks(list, 8), fits, "{list:?}");
        }
    }

    #[test]
    fn a_flood_does_not_push_everything_else_out_of_the_log() {
        let (mut loudness, now) = (Loudness::default(), Instant::now());
        assert_eq!((0..100_000).filter(|_| loudness.admits(now)).count(), MOST_LINES as usize);
        assert!(loudness.admits(now + WITHIN));
    }
}

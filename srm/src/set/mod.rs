//! The replication set (S1): which entries below SRC are replicated, by rules that people write. Pure: a verdict depends on
//! path, kind and size, and on nothing else; no file is read here, and what follows from a verdict is decided elsewhere.
//!
//! docs/set.md has the format and its meaning for users.

mod changes;
mod error;
mod matcher;
mod pattern;
mod read;
mod rule;
mod size;
#[cfg(test)]
mod tests;
mod verdict;

pub use changes::changes;
pub use error::SetError;
pub use rule::{Action, Rule};
pub use size::parse_size;
pub use verdict::{Explained, Verdict};

use matcher::Matcher;
use protocol::RelPath;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest text of a set in bytes.
pub const LONGEST: usize = 1 << 20;

/// Most rules of a set.
pub const MOST_RULES: usize = 4096;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a FIFO.
    Special,
}

impl Kind {
    /// Of a node.
    pub(crate) fn of(node: &protocol::NodeKind) -> Self {
        match node {
            protocol::NodeKind::File => Self::File,
            protocol::NodeKind::Directory => Self::Directory,
            protocol::NodeKind::Symlink(_) => Self::Symlink,
            _ => Self::Special,
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::File, Self::Directory, Self::Symlink, Self::Special];

    /// As it is written in a rule.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Special => "special",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("'{text}' is no kind; write file, directory, symlink or special");
        Self::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(known)
    }
}

/// What becomes of the replicas of what a change of the set takes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRemove {
    /// They stay as they are, and are not kept up to date.
    #[default]
    Keep,
    /// They are removed from the target.
    Delete,
}

impl FromStr for OnRemove {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "delete" => Ok(Self::Delete),
            _ => Err(format!("'{text}' is neither keep nor delete; write one of them")),
        }
    }
}

/// A replication set. Cheap to clone. Two are equal whose rules and default are the same, however they are written.
#[derive(Clone)]
pub struct Set(Arc<Inner>);

struct Inner {
    /// As it was written; empty for [`Set::everything`].
    text: Box<str>,
    default: Action,
    rules: Vec<Rule>,
    /// `None`: there are no rules.
    matcher: Option<Matcher>,
    everything: bool,
    sized: bool,
}

impl Set {
    /// No rules: everything is replicated.
    pub fn everything() -> Self {
        Self(Arc::new(Inner {
            text: Box::default(),
            default: Action::Include,
            rules: Vec::new(),
            matcher: None,
            everything: true,
            sized: false,
        }))
    }

    /// Reads a set as docs/set.md describes it: at most [`LONGEST`] bytes and [`MOST_RULES`] rules.
    pub fn parse(text: &str) -> Result<Self, SetError> {
        let (default, rules) = read::read(text)?;
        let matcher =
            if rules.is_empty() { None } else { Some(Matcher::build(&rules).ok_or_else(|| too_large(text))?) };
        Ok(Self(Arc::new(Inner {
            text: text.into(),
            default,
            everything: default == Action::Include && rules.iter().all(|rule| rule.action == Action::Include),
            sized: rules.iter().any(Rule::depends_on_size),
            rules,
            matcher,
        })))
    }

    /// The first 16 bytes of BLAKE3 of its text; `None` where everything is replicated.
    pub fn digest(&self) -> Option<[u8; 16]> {
        let hash = blake3::hash(self.text().as_bytes());
        (!self.is_everything()).then(|| *hash.as_bytes().first_chunk().unwrap_or(&[0; 16]))
    }

    /// The same for what was read from a file: it must be UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, SetError> {
        std::str::from_utf8(bytes)
            .map_err(|error| {
                let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let end = before.len();
                SetError::at(&before, Some(end..end), "this is not UTF-8; write names in other encodings with ? or *")
            })
            .and_then(Self::parse)
    }

    /// Whether nothing can be left out. Costs nothing.
    pub fn is_everything(&self) -> bool {
        self.0.everything
    }

    /// Whether a verdict may change when a file grows or shrinks.
    pub fn depends_on_size(&self) -> bool {
        self.0.sized
    }

    /// Whether an entry is replicated: taken, or a directory that is visible. All directories above an entry that is taken
    /// are taken. The root always is. `size` counts for regular files only.
    pub fn takes(&self, path: &RelPath, kind: Kind, size: u64) -> bool {
        self.is_everything() || self.verdict(path.as_bytes(), kind, size).0 != Verdict::LeftOut
    }

    /// Whether a regular file of some size would be replicated under this path.
    pub fn takes_some_size(&self, path: &RelPath) -> bool {
        // Verdicts change only where a rule's size is passed.
        let borders = self.0.rules.iter().flat_map(|rule| [rule.larger, rule.smaller]).flatten();
        let mut sizes = borders.flat_map(|size| [size, size.saturating_add(1), size.saturating_sub(1)]);
        self.takes(path, Kind::File, 0) || sizes.any(|size| self.takes(path, Kind::File, size))
    }

    /// Whether whatever lies below a directory is replicated, or not, under `one` as it is under `two`. `false` also where that is
    /// not known without looking.
    pub fn is_same_below(&self, one: &RelPath, two: &RelPath) -> bool {
        let Some(matcher) = &self.0.matcher else { return true };
        let decides = |path: &RelPath| self.deciding(path.as_bytes(), Kind::Directory, 0);
        decides(one) == decides(two) && [one, two].iter().all(|path| !matcher.knows_below(path.as_bytes()))
    }

    /// The rules in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.0.rules
    }

    /// What is said of an entry that no rule matches.
    pub fn default_action(&self) -> Action {
        self.0.default
    }

    /// The text that was parsed; empty for [`Set::everything`].
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The verdict, the index of the rule that decides, and of the one that makes a directory visible.
    fn verdict(&self, path: &[u8], kind: Kind, size: u64) -> (Verdict, Option<usize>, Option<usize>) {
        let decides = self.deciding(path, kind, size);
        let action = decides.map_or(self.0.default, |at| self.0.rules[at].action);
        if path.is_empty() || action == Action::Include {
            return (Verdict::Taken, decides, None);
        }
        let leads = match &self.0.matcher {
            Some(matcher) if kind == Kind::Directory => matcher.leading(path).filter(|at| Some(*at) > decides),
            _ => None,
        };
        (if leads.is_some() { Verdict::Visible } else { Verdict::LeftOut }, decides, leads)
    }

    /// The last rule that matches `path` or a directory above it.
    fn deciding(&self, path: &[u8], kind: Kind, size: u64) -> Option<usize> {
        let matcher = self.0.matcher.as_ref()?;
        let mut last = None;
        let mut start = 0;
        while start < path.len() {
            let end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| start + at);
            let (kind, size) = if end == path.len() { (kind, size) } else { (Kind::Directory, 0) };
            let name = &path[start..end];
            last = last.max(matcher.last(&path[..end], name, |at| self.0.rules[at].fits(name, kind, size)));
            start = end + 1;
        }
        last
    }
}

fn too_large(text: &str) -> SetError {
    SetError::at(text, None, "the patterns are too large together; use fewer or shorter ones")
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.0.default == other.0.default && self.0.rules == other.0.rules
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("default", &self.0.default).field("rules", &self.0.rules).finish_non_exhaustive()
    }
}

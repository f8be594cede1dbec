//! One rule: a pattern, what it says of what it matches, and its further clauses.

use super::Kind;
use super::pattern::Pattern;
use super::size::Size;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a rule says of what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is replicated.
    Include,
    /// It is not.
    Exclude,
}

impl Action {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
        }
    }
}

/// A rule of a set. Two are equal that say the same, wherever they stand.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    /// Its number in the set, from 1.
    pub number: usize,
    /// The line where it begins, from 1.
    pub line: usize,
    /// What it says.
    pub action: Action,
    /// The pattern as it was written.
    pub pattern: String,
    /// What it matches only; empty for everything.
    #[serde(rename = "kind")]
    pub kinds: Vec<Kind>,
    /// What the name ends with after a dot, any of them; empty for everything.
    #[serde(rename = "extension")]
    pub extensions: Vec<String>,
    /// Only regular files of more than this many bytes.
    pub larger: Option<u64>,
    /// Only regular files of fewer than this many bytes.
    pub smaller: Option<u64>,
    #[serde(skip)]
    pub(super) parsed: Pattern,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let said = |rule: &Self| (rule.action, rule.larger, rule.smaller);
        said(self) == said(other)
            && self.pattern == other.pattern
            && self.kinds == other.kinds
            && self.extensions == other.extensions
    }
}

impl Rule {
    /// Whether it looks at sizes.
    pub fn depends_on_size(&self) -> bool {
        self.larger.is_some() || self.smaller.is_some()
    }

    /// Whether its clauses, all but the pattern, hold for something of this name.
    pub(super) fn fits(&self, name: &[u8], kind: Kind, size: u64) -> bool {
        let sized = self.depends_on_size();
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (!self.parsed.directories_only || kind == Kind::Directory)
            && (!sized || kind == Kind::File)
            && self.larger.is_none_or(|bound| size > bound)
            && self.smaller.is_none_or(|bound| size < bound)
            && (self.extensions.is_empty() || self.extensions.iter().any(|extension| ends_with(name, extension)))
    }

    /// Why its clauses can never hold together.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let may_be = |kind| self.kinds.is_empty() || self.kinds.contains(&kind);
        if self.parsed.directories_only && !may_be(Kind::Directory) {
            return Some("a pattern that ends with '/' matches directories only; leave out the slash, or the kind");
        }
        if self.depends_on_size() && (self.parsed.directories_only || !may_be(Kind::File)) {
            return Some("larger and smaller match regular files only; leave them out, or the kind or slash");
        }
        match (self.larger, self.smaller) {
            (Some(larger), Some(smaller)) if larger.saturating_add(1) >= smaller => {
                Some("no size is larger than the one and smaller than the other; swap or change them")
            }
            (None, Some(0)) => Some("nothing is smaller than 0; write a size above it"),
            _ => None,
        }
    }
}

/// Whether a name has this extension, however its ASCII letters are written. The dot that a name begins with is none.
fn ends_with(name: &[u8], extension: &str) -> bool {
    let (dot, ending) = (name.len().checked_sub(extension.len() + 1), extension.as_bytes());
    dot.is_some_and(|dot| dot > 0 && name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(ending))
}

/// As it would be written in one line.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.action.word(), quoted(&self.pattern))?;
        list(f, "kind", self.kinds.iter().map(|kind| kind.word()))?;
        list(f, "extension", self.extensions.iter().map(String::as_str))?;
        if let Some(bound) = self.larger {
            write!(f, ", larger = \"{}\"", Size(bound))?;
        }
        if let Some(bound) = self.smaller {
            write!(f, ", smaller = \"{}\"", Size(bound))?;
        }
        Ok(())
    }
}

fn list<'a>(f: &mut fmt::Formatter<'_>, key: &str, words: impl Iterator<Item = &'a str>) -> fmt::Result {
    let words: Vec<String> = words.map(quoted).collect();
    match words.as_slice() {
        [] => Ok(()),
        [one] => write!(f, ", {key} = {one}"),
        many => write!(f, ", {key} = [{}]", many.join(", ")),
    }
}

/// As a TOML string, in one line.
fn quoted(text: &str) -> String {
    if !text.contains(char::is_control) {
        return toml_edit::Value::from(text).to_string();
    }
    let shown = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(shown).collect::<String>())
}

//! Verdicts with their reasons, for people.

use super::{Action, Kind, Rule, Set};
use protocol::RelPath;
use serde::Serialize;
use std::fmt;

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is replicated.
    Taken,
    /// A directory that is left out itself and replicated because something below it could be taken.
    Visible,
    /// It is not replicated, nor is anything below it.
    LeftOut,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "taken",
            Self::Visible => "visible",
            Self::LeftOut => "left out",
        })
    }
}

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// What becomes of the entry.
    pub verdict: Verdict,
    /// It is SRC itself, which is always taken.
    pub root: bool,
    /// The rule that decides; `None` for the default.
    pub rule: Option<Rule>,
    /// The directory above the entry that the rule matches; `None` where it matches the entry.
    pub directory: Option<RelPath>,
    /// The rule that makes a directory visible.
    pub leads: Option<Rule>,
    /// What is said where no rule matches.
    pub default: Action,
}

impl Set {
    /// The verdict on an entry, with its reason.
    pub fn explain(&self, path: &RelPath, kind: Kind, size: u64) -> Explained {
        let (verdict, rule, leads) = self.verdict(path.as_bytes(), kind, size);
        let rule_at = |at: usize| self.rules()[at].clone();
        Explained {
            verdict,
            root: path.is_root(),
            directory: rule.and_then(|at| self.matched_above(path, at)),
            rule: rule.map(rule_at),
            leads: leads.map(rule_at),
            default: self.default_action(),
        }
    }

    /// The first directory above `path` that rule `at`, the last that matches there, decides.
    fn matched_above(&self, path: &RelPath, at: usize) -> Option<RelPath> {
        let mut found = None;
        let mut above = path.split_last();
        while let Some((dir, _)) = above {
            if self.deciding(dir.as_bytes(), Kind::Directory, 0) == Some(at) {
                found = Some(dir.clone());
            }
            above = dir.split_last();
        }
        found
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.root {
            return write!(f, "{}: it is the source itself", self.verdict);
        }
        match &self.rule {
            None => write!(f, "{}: no rule matches, default = \"{}\"", self.verdict, self.default.word())?,
            Some(rule) => write!(f, "{}: rule {} (line {}): {rule}", self.verdict, rule.number, rule.line)?,
        }
        if let Some(directory) = &self.directory {
            write!(f, ", which matches '{directory}'")?;
        }
        if let Some(leads) = &self.leads {
            write!(f, "; leads to rule {} (line {}): {leads}", leads.number, leads.line)?;
        }
        Ok(())
    }
}

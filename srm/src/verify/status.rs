//! What is seen of a verification: numbers, and what it found.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Findings that are kept with their paths; all are counted.
pub(super) const MOST_FINDINGS: usize = 1000;

/// In what way the replica differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// Only the source has it.
    Lost,
    /// Only the target has it.
    Extra,
    /// Another kind, another content with another size or time, or other hard links.
    Edited,
    /// Another content, although size and modification time are the same.
    Rotten,
    /// Owner, permissions, extended attributes or modification time.
    Attributes,
    /// The source could not be read there, so nothing is known.
    Unreadable,
}

impl FindingKind {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Extra => "extra",
            Self::Edited => "edited",
            Self::Rotten => "rotten",
            Self::Attributes => "attributes",
            Self::Unreadable => "unreadable",
        }
    }
}

impl std::fmt::Display for FindingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Below SRC, as it was when it was found.
    pub path: String,
    /// How.
    pub kind: FindingKind,
    /// In words.
    pub detail: String,
    /// It was mended, and is the same now.
    pub mended: bool,
}

/// How far a verification is, or how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyState {
    /// It compares.
    #[default]
    Running,
    /// It waits: the target is away or behind, or is being mended.
    Waiting,
    /// Everything was compared.
    Done,
    /// It was stopped, or the mount ended.
    Stopped,
    /// It could not begin.
    Failed,
}

impl VerifyState {
    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Stopped | Self::Failed)
    }
}

/// A verification that runs, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyStatus {
    /// Counted from 1 since the mount.
    pub number: u64,
    /// Below SRC; `.` for all.
    pub path: String,
    /// What differs is mended.
    pub repair: bool,
    /// Percent of the files whose content is compared.
    pub sample: u8,
    /// Bytes of content in a second, where that is bounded.
    pub rate: Option<u64>,
    /// How far.
    pub state: VerifyState,
    /// Milliseconds since 1970.
    pub began_ms: u64,
    /// Milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// Directories compared.
    pub directories: u64,
    /// Names compared.
    pub entries: u64,
    /// Files whose content was compared.
    pub files: u64,
    /// Bytes of content compared.
    pub bytes: u64,
    /// Directories that are known and still wait.
    pub waiting: u64,
    /// Directories are still being listed: numbers may grow.
    pub scanning: bool,
    /// What was found, by kind.
    pub found: BTreeMap<FindingKind, u64>,
    /// Of those, mended.
    pub mended: u64,
    /// What was found, the first thousand.
    pub findings: Vec<Finding>,
    /// The one before.
    pub previous: Option<VerifySummary>,
}

impl VerifyStatus {
    /// Names that differ.
    pub fn differing(&self) -> u64 {
        self.found.iter().filter(|(kind, _)| **kind != FindingKind::Unreadable).map(|(_, count)| count).sum()
    }

    /// Names that could not be read on the source.
    pub fn unreadable(&self) -> u64 {
        self.found.get(&FindingKind::Unreadable).copied().unwrap_or(0)
    }

    /// Takes a finding; its index if it is kept.
    pub(super) fn add(&mut self, finding: Finding) -> Option<usize> {
        *self.found.entry(finding.kind).or_default() += 1;
        if self.findings.len() >= MOST_FINDINGS {
            return None;
        }
        self.findings.push(finding);
        Some(self.findings.len() - 1)
    }
}

/// How an earlier verification ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifySummary {
    /// Its number.
    pub number: u64,
    /// How.
    pub state: VerifyState,
    /// Milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// Names compared.
    pub entries: u64,
    /// What was found, by kind.
    pub found: BTreeMap<FindingKind, u64>,
    /// Of those, mended.
    pub mended: u64,
}

impl From<VerifyStatus> for VerifySummary {
    fn from(status: VerifyStatus) -> Self {
        let VerifyStatus { number, state, ended_ms, entries, found, mended, .. } = status;
        Self { number, state, ended_ms, entries, found, mended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_findings_are_counted_and_the_first_thousand_kept() {
        let mut status = VerifyStatus::default();
        for n in 0..1500 {
            let kind = if n % 3 == 0 { FindingKind::Unreadable } else { FindingKind::Lost };
            let kept = status.add(Finding { path: n.to_string(), kind, detail: String::new(), mended: false });
            assert_eq!(kept, (n < MOST_FINDINGS).then_some(n));
        }
        assert_eq!((status.differing(), status.unreadable(), status.findings.len()), (1000, 500, 1000));
    }
}

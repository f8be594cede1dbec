//! What a suite said of its cases, and what one side fails that another does not.

use std::collections::BTreeMap;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the suite expects.
    Passed,
    /// Not carried out, and why.
    Skipped(String),
    /// With what the suite printed about it.
    Failed(String),
}

/// All cases of one run, by name.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(pub BTreeMap<String, Verdict>);

impl Verdicts {
    /// How many cases passed.
    pub fn passed(&self) -> usize {
        self.0.values().filter(|verdict| **verdict == Verdict::Passed).count()
    }

    /// The cases that passed in `bare` and did not pass here, one per line; empty where there are none. A case that is
    /// missing here did not pass. `unsupported`: cases that may be skipped here, though never fail.
    pub fn lost_against(&self, bare: &Self, unsupported: &[&str]) -> String {
        let passed = bare.0.iter().filter(|(_, verdict)| **verdict == Verdict::Passed);
        let lost = passed.filter_map(|(name, _)| match self.0.get(name) {
            Some(Verdict::Passed) => None,
            Some(Verdict::Skipped(_)) if unsupported.contains(&name.as_str()) => None,
            Some(Verdict::Skipped(why)) => Some(format!("{name}: skipped: {why}")),
            Some(Verdict::Failed(why)) => Some(format!("{name}: failed: {why}")),
            None => Some(format!("{name}: was not run")),
        });
        // What the bare directory skips may pass here, but not fail.
        let skipped = bare.0.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Skipped(_)));
        let failed = skipped.filter_map(|(name, _)| match self.0.get(name) {
            Some(Verdict::Failed(why)) => Some(format!("{name}: skipped on the bare directory, failed here: {why}")),
            _ => None,
        });
        lost.chain(failed).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(cases: &[(&str, Verdict)]) -> Verdicts {
        Verdicts(cases.iter().map(|(name, verdict)| ((*name).to_owned(), verdict.clone())).collect())
    }

    fn skipped() -> Verdict {
        Verdict::Skipped("no".into())
    }

    fn failed() -> Verdict {
        Verdict::Failed("EIO".into())
    }

    #[test]
    fn what_passes_below_must_pass_above() {
        let bare = verdicts(&[("a", Verdict::Passed), ("b", Verdict::Passed), ("c", Verdict::Passed)]);
        assert_eq!(bare.lost_against(&bare, &[]), "");
        let mount = verdicts(&[("a", failed()), ("b", skipped())]);
        assert_eq!(mount.lost_against(&bare, &[]), "a: failed: EIO\nb: skipped: no\nc: was not run");
    }

    #[test]
    fn what_is_unsupported_may_be_skipped_and_never_fails() {
        let bare = verdicts(&[("a", Verdict::Passed), ("b", Verdict::Passed)]);
        let mount = verdicts(&[("a", skipped()), ("b", failed())]);
        assert_eq!(mount.lost_against(&bare, &["a", "b"]), "b: failed: EIO");
    }

    #[test]
    fn what_fails_below_may_fail_above_and_what_is_skipped_below_may_not() {
        let bare = verdicts(&[("a", failed()), ("b", skipped()), ("c", skipped())]);
        let mount = verdicts(&[("a", failed()), ("b", failed()), ("c", Verdict::Passed)]);
        assert_eq!(mount.lost_against(&bare, &[]), "b: skipped on the bare directory, failed here: EIO");
    }
}

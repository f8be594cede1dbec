//! All patterns of a set compiled together: which rules match a name, which a path, which lead further down. What the rules
//! say is decided in `mod`.

use super::rule::{Action, Rule};
use regex::bytes::{RegexSet, RegexSetBuilder};

/// What compiled patterns may take, in bytes, for each of the three sets.
const MOST_BYTES: usize = 64 << 20;

/// What the automata made while matching may take, in bytes, for each of the three sets and each thread.
const MOST_CACHE: usize = 2 << 20;

/// So few patterns are listed at once.
const FEW: usize = 32;

/// Patterns, and the index of the rule of each; ascending.
#[derive(Clone, Debug)]
struct Patterns {
    set: RegexSet,
    rules: Vec<usize>,
}

impl Patterns {
    /// `None`: all together they are too large.
    fn build(patterns: Vec<(usize, String)>) -> Option<Self> {
        let (rules, expressions): (Vec<_>, Vec<_>) =
            patterns.into_iter().map(|(rule, expression)| (rule, format!("\\A(?:{expression})\\z"))).unzip();
        let set = RegexSetBuilder::new(expressions)
            .unicode(false)
            .dot_matches_new_line(true)
            .size_limit(MOST_BYTES)
            .dfa_size_limit(MOST_CACHE)
            .build()
            .ok()?;
        Some(Self { set, rules })
    }

    /// The last rule that matches and for which `holds`.
    fn last(&self, text: &[u8], holds: impl Fn(usize) -> bool) -> Option<usize> {
        // Most names match nothing. Of many patterns it costs less to ask that first than to list those that match.
        let many = self.rules.len() > FEW;
        if self.rules.is_empty() || (many && !self.set.is_match(text)) {
            return None;
        }
        self.set.matches(text).iter().rev().map(|at| self.rules[at]).find(|rule| holds(*rule))
    }
}

/// All patterns of a set.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    /// Those that are compared with names.
    names: Patterns,
    /// Those that are compared with paths.
    paths: Patterns,
    /// What leads to a match of the latter.
    leads: Patterns,
    /// Of each rule, whether it includes.
    includes: Vec<bool>,
    /// The last rule that includes and is compared with names: every directory leads there.
    last_name: Option<usize>,
}

impl Matcher {
    /// Compiles; `None` where the patterns are too large together.
    pub fn build(rules: &[Rule]) -> Option<Self> {
        let own = |anchored: bool| {
            let of = rules.iter().enumerate().filter(|(_, rule)| rule.parsed.anchored == anchored);
            Patterns::build(of.map(|(at, rule)| (at, rule.parsed.own())).collect())
        };
        let anchored = rules.iter().enumerate().filter(|(_, rule)| rule.parsed.anchored);
        let leads = anchored.filter_map(|(at, rule)| Some((at, rule.parsed.leads()?))).collect();
        let includes: Vec<bool> = rules.iter().map(|rule| rule.action == Action::Include).collect();
        let unanchored = |(at, rule): (usize, &Rule)| (includes[at] && !rule.parsed.anchored).then_some(at);
        Some(Self {
            names: own(false)?,
            paths: own(true)?,
            leads: Patterns::build(leads)?,
            last_name: rules.iter().enumerate().filter_map(unanchored).next_back(),
            includes,
        })
    }

    /// The last rule that matches `path`, whose last name is `name`, and that `fits`.
    pub fn last(&self, path: &[u8], name: &[u8], fits: impl Fn(usize) -> bool) -> Option<usize> {
        self.names.last(name, &fits).max(self.paths.last(path, &fits))
    }

    /// The last rule that includes and could match something below the directory `path`.
    pub fn leading(&self, path: &[u8]) -> Option<usize> {
        self.leads.last(path, |at| self.includes[at]).max(self.last_name)
    }

    /// Whether a rule that is compared with paths could match something below the directory `path`.
    pub fn knows_below(&self, path: &[u8]) -> bool {
        self.leads.last(path, |_| true).is_some()
    }
}

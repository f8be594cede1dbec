//! `--compare FILE`: what has become slower than in an earlier run, by more than the noise that both runs have measured themselves: that of each case within a run, and that of
//! all cases between the two, because a machine of another hour is another machine.

use super::statistic::Spread;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A run's noise is so many times the median distance of its pairs from their median: about two standard deviations where chance is all there is.
const NOISE: f64 = 3.0;

/// What lies further from the middle of all cases than so many times the median distance is more than the noise between two runs: three standard deviations, because there are
/// many cases.
const BETWEEN: f64 = 4.5;

/// Fewer cases than this say nothing about two runs.
const MANY: usize = 16;

/// Fewer pairs than this measure no noise.
const LEAST: usize = 3;

/// A run, as its document has it.
pub struct Run {
    /// Date and commit, for people.
    name: String,
    /// What figures depend on beside the code: machine, file system, scale.
    conditions: Vec<(&'static str, String)>,
    /// Speeds as a share of the bare directory's, one of each pair, by state (or peer) and case.
    speeds: BTreeMap<String, Vec<f64>>,
}

/// One case that both runs have measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub what: String,
    pub before: f64,
    pub now: f64,
    /// Of both runs; `None`: one of them has too few pairs to say.
    pub noise: Option<f64>,
}

impl Change {
    /// Whether the fall is more than noise.
    pub fn is_slower(&self, between: Option<Between>) -> bool {
        self.noise.is_some_and(|noise| self.before - self.now > noise)
            && between.is_none_or(|between| self.factor() < between.middle * (1.0 - between.spread))
    }

    fn factor(&self) -> f64 {
        self.now / self.before
    }
}

/// How all cases have changed from one run to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between {
    /// The middle one: so many times as fast as before.
    pub middle: f64,
    /// How far from it is noise, as a share of it.
    pub spread: f64,
    /// How far from one the middle may be by chance.
    pub chance: f64,
}

impl Between {
    /// Of all changes; `None` of few. What has really become slower makes the distances below the middle longer and what has become faster those above, so the shorter count.
    #[allow(clippy::cast_precision_loss)] // a number of cases
    pub fn of(changes: &[Change]) -> Option<Self> {
        let factors: Vec<f64> = changes.iter().map(Change::factor).collect();
        let middle = middle(&factors)?;
        let distances = |sign: f64| {
            let distances =
                factors.iter().map(|factor| sign * (factor / middle).ln()).filter(|distance| *distance > 0.0);
            Spread::of(distances).map_or(0.0, |spread| spread.median)
        };
        let noise = BETWEEN * distances(1.0).min(distances(-1.0));
        let spread = 1.0 - (-noise).exp();
        // The standard error of a median is 1.25 times that of a mean.
        let chance = 1.25 * spread / (factors.len() as f64).sqrt();
        (factors.len() >= MANY).then_some(Self { middle, spread, chance })
    }

    /// Whether more than chance has made the middle of all cases slower.
    pub fn is_slower(&self) -> bool {
        self.middle < 1.0 - self.chance
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let noise = self.noise.map_or_else(|| "too few pairs".to_owned(), |noise| format!("noise {noise:.3}"));
        write!(f, "{}: {:.3} before, {:.3} now, {noise}", self.what, self.before, self.now)
    }
}

impl Run {
    /// Reads `--json` or `--save`'s document. Errors: it cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::of(&text).with_context(|| format!("{} is no document of cargo xtask bench", path.display()))
    }

    /// The same of its text.
    pub fn of(text: &str) -> Result<Self> {
        let document: Value = serde_json::from_str(text)?;
        let rows = document["rows"].as_array().context("it has no rows")?;
        let mut speeds = BTreeMap::new();
        for row in rows {
            let by = row["state"].as_str().or(row["peer"].as_str()).context("a row without state or peer")?;
            let case = row["case"].as_str().context("a row without a case")?;
            speeds.insert(format!("{by} {case}"), of_row(row));
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let machine = &document["machine"];
        let conditions =
            ["processor", "cores", "kernel", "file_system"].map(|field| (field, text(&machine[field]))).into_iter();
        let conditions = conditions.chain([("scale", text(&document["scale"]))]).collect();
        let name = format!("{} ({})", text(&document["date"]), text(&machine["commit"]));
        Ok(Self { name, conditions, speeds })
    }

    /// What this run and an earlier one have both measured.
    pub fn since(&self, before: &Self) -> Vec<Change> {
        let both = self.speeds.iter().filter_map(|(what, now)| Some((what, before.speeds.get(what)?, now)));
        both.filter_map(|(what, before, now)| {
            let (earlier, later) = (middle(before)?, middle(now)?);
            let measured = before.len() >= LEAST && now.len() >= LEAST;
            let noise = measured.then(|| noise(before, earlier) + noise(now, later));
            Some(Change { what: what.clone(), before: earlier, now: later, noise })
        })
        .collect()
    }
}

/// Speeds of one row: of its pairs, or of its rounds beside peers.
fn of_row(row: &Value) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
    let pairs = row["pairs"].as_array().into_iter().flatten();
    let rounds = row["rounds"].as_array().into_iter().flatten();
    let of_pairs = pairs.filter_map(|pair| Some(number(&pair[1])? / number(&pair[0])?));
    // Those are seconds for each operation, not operations in a second.
    let of_rounds = rounds.filter_map(|round| {
        let bare = f64::midpoint(number(&round["bare"][0])?, number(&round["bare"][1])?);
        Some(bare / number(&round["peer"])?)
    });
    of_pairs.chain(of_rounds).collect()
}

fn middle(values: &[f64]) -> Option<f64> {
    Spread::of(values.iter().copied()).map(|spread| spread.median)
}

/// Of few values the median distance is too small by a factor that is known (Croux and Rousseeuw, 1992).
#[allow(clippy::cast_precision_loss)] // a number of pairs
fn noise(values: &[f64], middle: f64) -> f64 {
    let distances = values.iter().map(|value| (value - middle).abs());
    let few = match values.len() {
        ..=3 => 1.495,
        4 => 1.363,
        5 => 1.206,
        6 => 1.200,
        7 => 1.140,
        n => 1.0 + 0.8 / n as f64,
    };
    Spread::of(distances).map_or(0.0, |spread| spread.median) * NOISE * few
}

/// Says what changed since an earlier run; whether nothing became slower. Errors: the runs have nothing in common.
pub fn tell(before: &Run, now: &Run) -> Result<bool> {
    let changes = now.since(before);
    ensure!(!changes.is_empty(), "the run of {} measured nothing that this one did", before.name);
    println!("\n== beside the run of {}: speed as a share of the bare directory's", before.name);
    for ((what, then), (_, here)) in before.conditions.iter().zip(&now.conditions).filter(|(a, b)| a != b) {
        println!("not the same {what}: {then} before, {here} now");
    }
    let between = Between::of(&changes);
    let slower: Vec<&Change> = changes.iter().filter(|change| change.is_slower(between)).collect();
    let all_slower = between.is_some_and(|between| between.is_slower());
    if let Some(Between { middle, spread, chance }) = between {
        println!(
            "the middle of all cases: {middle:.3} times as fast (noise {chance:.3}); of one case {spread:.3} less than that is noise between two runs"
        );
    }
    if all_slower {
        println!("slower: most cases, for the code's reasons or the machine's");
    }
    for change in &slower {
        println!("slower: {change}");
    }
    for change in changes.iter().filter(|change| change.noise.is_none()) {
        println!("not judged: {change}");
    }
    println!("slower than then: {} of {}", slower.len(), changes.len());
    Ok(slower.is_empty() && !all_slower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run as workspace;

    fn run(speeds: &[f64]) -> Run {
        let pairs: Vec<String> = speeds.iter().map(|speed| format!("[10.0, {}]", 10.0 * speed)).collect();
        let row = format!(r#"{{"state": "bypassed", "case": "W4", "pairs": [{}]}}"#, pairs.join(", "));
        Run::of(&format!(r#"{{"date": "d", "machine": {{"commit": "c", "cores": 2}}, "scale": 1.0, "rows": [{row}]}}"#))
            .unwrap()
    }

    fn is_slower(before: &[f64], now: &[f64]) -> bool {
        run(now).since(&run(before)).iter().any(|change| change.is_slower(None))
    }

    #[test]
    fn a_fall_beyond_the_noise_of_both_runs_is_named() {
        let steady = [0.50, 0.51, 0.49];
        assert!(is_slower(&steady, &[0.40, 0.41, 0.39]));
        assert!(!is_slower(&steady, &[0.42, 0.43, 0.41]), "0.08 of 0.09");
        assert!(!is_slower(&steady, &[0.60, 0.61, 0.59]), "faster");
        assert!(!is_slower(&steady, &[0.40, 0.60, 0.30]), "the second run is noise");
        assert!(!is_slower(&[0.5, 0.7, 0.4], &[0.40, 0.41, 0.39]), "the first run is noise");
        assert!(is_slower(&[0.50, 0.51, 0.49, 0.50, 9.0], &[0.40, 0.41, 0.39, 0.40, 0.01]), "one outlier is no noise");
    }

    /// Of cases whose own noise is small, each so many times as fast as before.
    fn changed(factors: &[f64]) -> Vec<Change> {
        let change = |factor: &f64| Change { what: String::new(), before: 0.5, now: 0.5 * factor, noise: Some(0.01) };
        factors.iter().map(change).collect()
    }

    fn named(factors: &[f64]) -> (Vec<f64>, bool) {
        let changes = changed(factors);
        let between = Between::of(&changes);
        let slower = changes.iter().filter(|change| change.is_slower(between)).map(Change::factor).collect();
        (slower, between.is_some_and(|between| between.is_slower()))
    }

    #[test]
    fn what_differs_between_two_runs_anyway_is_noise() {
        let usual = [0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.08, 1.1];
        assert_eq!(named(&usual), (vec![], false));
        let with = |more: &[f64]| named(&[&usual[..], more].concat());
        assert_eq!(with(&[0.6]), (vec![0.6], false));
        let (slower, _) = with(&[0.6; 14]);
        assert_eq!(slower, [0.6; 14], "also where it is nearly half of them");
        assert_eq!(with(&[2.0; 14]).0, Vec::<f64>::new(), "what others have gained is nobody's loss");
        let all: Vec<f64> = usual.iter().map(|factor| factor * 0.8).collect();
        assert_eq!(named(&all), (vec![], true), "all of them");
        assert_eq!(named(&[0.9; 5]), (vec![0.9; 5], false), "too few to say");
    }

    #[test]
    fn too_few_pairs_are_not_judged() {
        let changes = run(&[0.1, 0.1]).since(&run(&[0.5, 0.5, 0.5]));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].noise, None);
        assert!(!changes[0].is_slower(None));
    }

    #[test]
    fn rounds_beside_peers_are_times_and_not_rates() {
        let document = |seconds: f64| {
            let round = format!(r#"{{"bare": [1.0, 3.0], "peer": {seconds}}}"#);
            let row = format!(r#"{{"peer": "sync", "case": "W9", "rounds": [{round}, {round}, {round}]}}"#);
            Run::of(&format!(r#"{{"rows": [{row}]}}"#)).unwrap()
        };
        let changes = document(8.0).since(&document(4.0));
        assert_eq!((changes[0].before, changes[0].now), (0.5, 0.25));
        assert!(changes[0].is_slower(None));
        assert!(!document(4.0).since(&document(8.0))[0].is_slower(None));
    }

    #[test]
    fn what_only_one_run_has_is_left_out_and_what_is_no_document_refused() {
        let other = Run::of(r#"{"rows": [{"state": "bypassed", "case": "W5", "pairs": [[1, 1]]}]}"#).unwrap();
        assert!(other.since(&run(&[0.5; 3])).is_empty());
        assert!(tell(&run(&[0.5; 3]), &other).is_err());
        assert!(Run::of("{}").is_err());
        assert!(Run::of("no").is_err());
    }

    #[test]
    fn a_kept_document_is_equal_to_itself() {
        let kept = workspace::root().join("docs/benchmarks/2026-11-21-all-states.json");
        let (one, same) = (Run::read(&kept).unwrap(), Run::read(&kept).unwrap());
        assert_eq!(one.since(&same).len(), 135);
        assert!(tell(&one, &same).unwrap());
    }
}

//! What the rounds of one case with one peer come to.

use super::round::Round;
use crate::bench::case::Case;
use crate::bench::statistic::Spread;
use serde::Serialize;
use std::collections::BTreeMap;

/// Medians, and all rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub peer: &'static str,
    pub case: &'static str,
    pub about: &'static str,
    /// The reference size, before the scale of the run.
    pub size: &'static str,
    /// The application's time as a multiple of the bare directory's.
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
    /// The same without the processor time of the target's processes.
    pub ratio_without_target: f64,
    /// Seconds of the application for each operation or byte with the peer.
    pub each: f64,
    /// Seconds that the application took with the peer.
    pub seconds: f64,
    /// Seconds until the replica was equal: at least, at most. `None` where it never was, or where there is none.
    pub lag: Option<(f64, f64)>,
    /// Bytes.
    pub payload: f64,
    pub there: f64,
    pub there_after: f64,
    pub back: f64,
    /// Operations sent.
    pub records: Option<f64>,
    /// Seconds.
    pub processor: f64,
    pub target_processor: f64,
    /// What an equal replica still differs in, by kind; empty where it differs in nothing.
    pub differs: BTreeMap<String, usize>,
    pub rounds: Vec<Round>,
}

impl Row {
    /// `None` where there are no rounds.
    pub fn of(peer: &'static str, case: &Case, size: &'static str, rounds: Vec<Round>) -> Option<Self> {
        let median = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value)).map(|spread| spread.median);
        #[allow(clippy::cast_precision_loss)] // figures for people
        let bytes = |value: &dyn Fn(&Round) -> u64| median(&|round| value(round) as f64);
        let ratio = Spread::of(rounds.iter().map(Round::ratio))?;
        let equal: Option<Vec<(f64, f64)>> = rounds.iter().map(|round| round.lag).collect();
        let lag = equal.and_then(|lags| {
            let low = Spread::of(lags.iter().map(|lag| lag.0))?;
            let high = Spread::of(lags.iter().map(|lag| lag.1))?;
            Some((low.median, high.median))
        });
        #[allow(clippy::cast_precision_loss)] // figures for people
        let records: Option<Vec<f64>> = rounds.iter().map(|round| round.records.map(|count| count as f64)).collect();
        Some(Self {
            peer,
            case: case.name,
            about: case.about,
            size,
            ratio: ratio.median,
            low: ratio.low,
            high: ratio.high,
            ratio_without_target: median(&Round::ratio_without_target)?,
            each: median(&|round| round.peer)?,
            seconds: median(&|round| round.seconds)?,
            lag,
            payload: bytes(&|round| round.payload)?,
            there: bytes(&|round| round.there)?,
            there_after: bytes(&|round| round.there_after)?,
            back: bytes(&|round| round.back)?,
            records: records.and_then(Spread::of).map(|spread| spread.median),
            processor: median(&|round| round.processor)?,
            target_processor: median(&|round| round.target_processor)?,
            differs: BTreeMap::new(),
            rounds,
        })
    }

    /// A difference that a round ended with, if one did.
    pub fn never(&self) -> Option<&str> {
        self.rounds.iter().find_map(|round| round.never.as_deref())
    }
}

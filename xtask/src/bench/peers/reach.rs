//! What is promised beside the peers (issue 8), and whether a run shows it.

use super::kind::Kind;
use super::row::Row;
use serde::Serialize;

/// Seconds after the last operation within which a replica is equal, beside the time that what was still to be sent takes.
const LAG: f64 = 0.5;

/// Bytes on the wire for each byte of payload.
const WIRE: f64 = 1.1;

/// And for each record.
const WIRE_RECORD: f64 = 64.0;

/// Of the bare FUSE layer's time, in `real`.
const REAL: f64 = 1.25;

/// Of the bare directory's time, in `sync`, on W9.
const APPENDS: f64 = 130.0;

/// Workloads and the share of `GlusterFS`'s time that `sync` may take.
const GLUSTER: [(&str, f64); 5] = [("W1", 1.0), ("W4", 0.5), ("W5", 0.5), ("W6", 0.5), ("W8", 0.5)];

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Met,
    Missed,
    /// The bounds of what was measured lie on both sides.
    Open,
}

/// One promise on one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Reach {
    pub peer: &'static str,
    pub case: &'static str,
    pub what: String,
    pub value: f64,
    pub bound: f64,
    pub verdict: Verdict,
}

impl Reach {
    fn new(row: &Row, what: String, value: f64, bound: f64) -> Self {
        let verdict = if value <= bound { Verdict::Met } else { Verdict::Missed };
        Self { peer: row.peer, case: row.case, what, value, bound, verdict }
    }
}

/// All that the rows can say. `stream`: bytes per second of a bare quinn stream here.
pub fn all(rows: &[Row], stream: f64) -> Vec<Reach> {
    let mut found = Vec::new();
    for row in rows {
        let beside = |kind: Kind| rows.iter().find(|other| other.peer == kind.name() && other.case == row.case);
        let is = |kind: Kind| row.peer == kind.name();
        if is(Kind::Sync) {
            found.extend(beside(Kind::Gluster).and_then(|gluster| against_gluster(row, gluster)));
            if row.case.starts_with("W9") {
                found.push(Reach::new(row, "time of the bare directory's".to_owned(), row.ratio, APPENDS));
            }
        }
        if let Some(bypass) = beside(Kind::Bypass) {
            let what = format!("time as a multiple of the bare directory's, within {REAL} of bypass");
            if is(Kind::Real) {
                // The target works on the same processors, which a real one does not: what it took of the application's time is more than
                // nothing and at most all that it used. `real-stopped` says more.
                let less = row.ratio_without_target;
                let what = format!("{what}; without the target's processor time {less:.2}");
                found.push(against(row, less / row.ratio, bypass, REAL, what));
            }
            if is(Kind::RealStopped) {
                found.push(against(row, 1.0, bypass, REAL, what));
            }
        }
        if is(Kind::Real) || is(Kind::Near) || is(Kind::Sync) {
            found.push(lag(row, stream));
            found.extend(wire(row));
        }
    }
    found
}

fn against_gluster(row: &Row, gluster: &Row) -> Option<Reach> {
    let (_, share) = GLUSTER.iter().find(|(case, _)| row.case.starts_with(case))?;
    let what = format!("time as a multiple of the bare directory's, within {share} of GlusterFS's");
    Some(against(row, 1.0, gluster, *share, what))
}

/// A time against another peer's, by both's multiples of the bare directory and by their seconds: where these disagree, the bare directory was not
/// the same for both. `least`: of the time, so much certainly counts.
fn against(row: &Row, least: f64, other: &Row, share: f64, what: String) -> Reach {
    let reach = Reach::new(row, what, row.ratio, other.ratio * share);
    let times = [(row.ratio, other.ratio * share), (row.each, other.each * share)];
    let verdict = if times.iter().all(|(time, bound)| time <= bound) {
        Verdict::Met
    } else if times.iter().all(|(time, bound)| time * least > *bound) {
        Verdict::Missed
    } else {
        Verdict::Open
    };
    Reach { verdict, ..reach }
}

fn lag(row: &Row, stream: f64) -> Reach {
    let bound = LAG + row.there_after / stream;
    let what = format!("seconds until equal, {LAG} and what was still to be sent at a bare quinn stream's rate");
    let (low, high) = row.lag.unwrap_or((f64::INFINITY, f64::INFINITY));
    let reach = Reach::new(row, what, high, bound);
    if low <= bound && high > bound { Reach { verdict: Verdict::Open, ..reach } } else { reach }
}

/// Not of `PostgreSQL`, whose servers are not the application's process.
fn wire(row: &Row) -> Option<Reach> {
    let records = row.records.filter(|_| !row.case.starts_with("W7"))?;
    let what = format!("bytes to the other machine, {WIRE} of the payload and {WIRE_RECORD} for each record");
    Some(Reach::new(row, what, row.there, row.payload * WIRE + records * WIRE_RECORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, case: &'static str, ratio: f64) -> Row {
        Row {
            peer: kind.name(),
            case,
            ratio,
            each: ratio,
            ratio_without_target: ratio,
            lag: Some((0.0, 0.1)),
            ..Row::default()
        }
    }

    fn verdicts(rows: &[Row], words: &str) -> Vec<Verdict> {
        all(rows, 1e8).into_iter().filter(|reach| reach.what.contains(words)).map(|reach| reach.verdict).collect()
    }

    #[test]
    fn sync_is_held_to_what_gluster_takes_on_the_same_workload() {
        let rows = |sync| [row(Kind::Sync, "W4-create-4K", sync), row(Kind::Gluster, "W4-create-4K", 20.0)];
        assert_eq!(verdicts(&rows(10.0), "GlusterFS"), [Verdict::Met]);
        assert_eq!(verdicts(&rows(10.1), "GlusterFS"), [Verdict::Missed]);
        let mut rows = rows(10.1);
        rows[1].each = 21.0;
        assert_eq!(verdicts(&rows, "GlusterFS"), [Verdict::Open], "by its seconds it is met");
        let other = [row(Kind::Sync, "W4-create-4K", 1.0), row(Kind::Gluster, "W8-rename-unlink", 20.0)];
        assert_eq!(verdicts(&other, "GlusterFS"), []);
    }

    #[test]
    fn real_is_held_to_the_bare_fuse_layer() {
        let mut rows = [row(Kind::Bypass, "W1", 2.0), row(Kind::Real, "W1", 3.0), row(Kind::RealStopped, "W1", 2.5)];
        rows[1].ratio_without_target = 2.4;
        assert_eq!(verdicts(&rows, "bypass"), [Verdict::Open, Verdict::Met]);
        (rows[1].ratio, rows[1].each) = (2.5, 2.5);
        assert_eq!(verdicts(&rows, "bypass"), [Verdict::Met, Verdict::Met]);
        (rows[1].ratio, rows[1].each) = (3.0, 3.0);
        rows[1].ratio_without_target = 2.6;
        assert_eq!(verdicts(&rows, "bypass"), [Verdict::Missed, Verdict::Met]);
    }

    #[test]
    fn what_was_still_to_be_sent_may_take_its_time() {
        let mut one = row(Kind::Near, "W1", 1.0);
        one.lag = Some((0.6, 1.4));
        assert_eq!(verdicts(std::slice::from_ref(&one), "seconds until equal"), [Verdict::Missed]);
        one.there_after = 2e7;
        assert_eq!(verdicts(std::slice::from_ref(&one), "seconds until equal"), [Verdict::Open]);
        one.there_after = 1e8;
        assert_eq!(verdicts(std::slice::from_ref(&one), "seconds until equal"), [Verdict::Met]);
        one.lag = None;
        assert_eq!(verdicts(std::slice::from_ref(&one), "seconds until equal"), [Verdict::Missed]);
    }

    #[test]
    fn heads_of_records_may_take_some_bytes() {
        let mut one = row(Kind::Real, "W9", 1.0);
        (one.payload, one.there, one.records) = (1000.0, 1740.0, Some(10.0));
        assert_eq!(verdicts(std::slice::from_ref(&one), "bytes to"), [Verdict::Met]);
        one.there += 1.0;
        assert_eq!(verdicts(std::slice::from_ref(&one), "bytes to"), [Verdict::Missed]);
    }
}

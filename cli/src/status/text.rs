//! The status of a source for people: most important first, numbers with units.

use super::paths::paths_of;
use super::units::{bytes, kinds, line, millis, total};
use crate::args::send;
use srm::sending::Rule;
use srm::status::{CacheMode, CommitMode, SendStatus, Slow, SourceStatus, TargetState, TargetStatus};
use srm::verify::{VerifyState, VerifyStatus};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Findings of a verification shown; the rest is in the JSON document.
const MOST_FINDINGS: usize = 8;

/// Flagged places shown; more are in the JSON document.
const MOST_FLAGGED: usize = 8;

/// A mounted source with its targets.
pub fn source(out: &mut String, source: &SourceStatus) {
    line!(out, "source   {}: {} on {} (process {})", source.name, source.source, source.mountpoint, source.pid);
    line!(
        out,
        "  done     {} operations, {} written{}",
        total(&source.operations),
        bytes(source.written_bytes),
        kinds(&source.operations)
    );
    if source.cache == CacheMode::Writeback {
        line!(out, "  cache    writeback: the kernel gathers what is written until it is synced or closed");
    }
    line!(out, "  backlog  {} of {}", bytes(source.backlog_bytes), bytes(source.backlog_limit));
    for area in &source.journal {
        let trouble = area.trouble.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
        let (used, limit) = (bytes(area.used_bytes), bytes(area.limit_bytes));
        line!(out, "  journal  {} {used} of {limit} in {}{trouble}", area.kind, area.dir);
    }
    if source.targets.is_empty() {
        line!(out, "  target   none: bypass, nothing is replicated");
    }
    for target in &source.targets {
        target_of(out, source, target);
    }
    if let Some(verify) = &source.verify {
        verify_of(out, verify);
    }
    if !source.submounts.is_empty() {
        line!(out, "  not replicated, other file systems: {}", source.submounts.join(", "));
    }
}

fn target_of(out: &mut String, source: &SourceStatus, target: &TargetStatus) {
    line!(out, "  target   {}: {}, {}", target.target, state(target), coherence(target));
    let degraded = match (target.degraded, source.commit) {
        (false, _) => "",
        (true, CommitMode::Local) => ", degraded: the source's disk lost writes",
        (true, CommitMode::Remote) => ", refused: nothing is changed without a target that is connected and coherent",
        (true, _) => ", degraded: calls do not wait for the target",
    };
    line!(out, "  commit   {}{degraded}", mode(source));
    line!(
        out,
        "  lag      {} operations, {}, {}; applied {} of {}, durable {}",
        target.lag.operations,
        bytes(target.lag.bytes),
        millis(target.lag.millis),
        target.applied,
        source.sequence,
        target.durable
    );
    line!(
        out,
        "  sent     {} in {} operations, {} reconnects",
        bytes(target.sent_bytes),
        total(&target.operations),
        target.reconnects
    );
    if target.state == TargetState::Mirroring || target.passes > 0 {
        let pass = &target.pass;
        line!(
            out,
            "  mirror   {} names in {} directories compared, {} waiting, {} differed, {} sent; {} finished",
            pass.entries,
            pass.directories,
            pass.waiting,
            pass.repaired,
            bytes(pass.sent_bytes),
            target.passes
        );
    }
    if !target.unreadable.is_empty() {
        line!(out, "  unreadable: {}", target.unreadable.join(", "));
    }
    if target.lanes > 0 {
        line!(out, "  lanes    {} open", target.lanes);
    }
    if !target.send.rules.is_empty() {
        line!(out, "  send     {}", send_in_words(&target.send));
    }
    if let Some(limit) = target.limit {
        line!(out, "  limit    {}/s", bytes(limit));
    }
    if !target.packing.is_empty() {
        let of = |(stream, by): (&String, &String)| format!("{stream} {by}");
        let streams: Vec<String> = target.packing.iter().map(of).collect();
        let (from, to) = (bytes(target.packed_from_bytes), bytes(target.packed_bytes));
        line!(out, "  packed   {from} to {to}; now {}", streams.join(", "));
    }
    paths_of(out, target);
    if !target.undecided.is_empty() {
        line!(
            out,
            "  undecided: the target's state is unknown until reconnection, and then put back: {}",
            target.undecided.join(", ")
        );
    }
    if let Some(blocked) = &target.blocked {
        line!(out, "  blocked: {blocked}");
    }
    if let Some(slow) = &target.slow {
        line!(out, "  slow: the target is alive, {}", slow_in_words(slow));
    }
    flagged_of(out, target);
    if let Some(error) = &target.last_error {
        line!(out, "  last error: {error}");
    }
}

fn slow_in_words(slow: &Slow) -> String {
    match slow.sequence {
        0 => format!("and has been making something durable for {}", millis(slow.millis)),
        sequence => format!("and has been applying operation {sequence} for {}", millis(slow.millis)),
    }
}

/// What the target could not carry out.
fn flagged_of(out: &mut String, target: &TargetStatus) {
    if target.flagged_count == 0 {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let shown = target.flagged.len().min(MOST_FLAGGED);
    line!(
        out,
        "  flagged  {} places that the target could not bring up to date; tried again by itself",
        target.flagged_count
    );
    for flag in &target.flagged[..shown] {
        let since = millis(now.saturating_sub(flag.since_ms));
        line!(out, "    {}: {}, for {since}, {} operations", flag.path, flag.reason, flag.operations);
    }
    if target.flagged_count > shown as u64 {
        line!(out, "    ... 'replfs status --json' shows more");
    }
}

/// When is sent, and what is held: `22:00-06:00; held: 12 operations, 3.0 MiB, for 0:10:00; goes in 2:00:00`.
pub fn send_in_words(status: &SendStatus) -> String {
    if status.rules.is_empty() {
        return "now".to_owned();
    }
    let rules: Vec<_> = status.rules.iter().copied().map(send::shown).collect();
    let mut text = rules.join(" or ");
    if !status.holding {
        return text + "; nothing is held";
    }
    let _ = write!(
        text,
        "; held: {} operations, {}, for {}",
        status.operations,
        bytes(status.bytes),
        millis(status.millis)
    );
    let rest = status.rules.iter().filter_map(|rule| match rule {
        Rule::SizeBytes(size) => Some(size.saturating_sub(status.bytes)),
        _ => None,
    });
    match (status.opens_in_ms, rest.min()) {
        (Some(time), Some(rest)) => {
            let _ = write!(text, "; goes in {}, or with {} more", millis(time), bytes(rest));
        }
        (Some(time), None) => {
            let _ = write!(text, "; goes in {}", millis(time));
        }
        (None, Some(rest)) => {
            let _ = write!(text, "; goes with {} more", bytes(rest));
        }
        (None, None) => {}
    }
    text
}

/// When applications are answered.
pub fn mode(source: &SourceStatus) -> String {
    let bounds = source.near.map(|near| {
        format!(" (at most {} operations, {}, {} behind)", near.operations, bytes(near.bytes), millis(near.millis))
    });
    format!("{}{}{}", source.commit, bounds.unwrap_or_default(), if source.strict { ", strict" } else { "" })
}

fn verify_of(out: &mut String, verify: &VerifyStatus) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = |ms: u64| millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(ms));
    let how = match (verify.state, verify.ended_ms) {
        (VerifyState::Running, _) => format!("running for {}", ago(verify.began_ms)),
        (VerifyState::Waiting, _) => format!("waiting for the target, begun {} ago", ago(verify.began_ms)),
        (VerifyState::Done, Some(ended)) => format!("done {} ago", ago(ended)),
        (_, ended) => format!("stopped {} ago", ago(ended.unwrap_or(verify.began_ms))),
    };
    line!(out, "  verify   number {} of {}: {how}; {}", verify.number, verify.path, crate::verify::summary(verify));
    for finding in verify.findings.iter().take(MOST_FINDINGS) {
        let mended = if finding.mended { ", mended" } else { "" };
        line!(out, "    {} {}: {}{mended}", finding.kind, finding.path, finding.detail);
    }
    if verify.findings.len() > MOST_FINDINGS {
        line!(out, "    ... 'replfs status --json' shows more");
    }
    if let Some(before) = verify.previous.as_ref().filter(|_| !verify.state.is_over())
        && let Some(ended) = before.ended_ms
    {
        let found: u64 = before.found.values().sum();
        line!(
            out,
            "    before: number {} ended {} ago, {} names, {found} findings",
            before.number,
            ago(ended),
            before.entries
        );
    }
}

fn state(target: &TargetStatus) -> String {
    let held = target.held.entries;
    match (target.mirror_due, held) {
        (true, _) => format!("{} (mirror due)", target.state),
        (false, 0) => target.state.to_string(),
        (false, _) => format!("{} ({held} changes remembered, {})", target.state, bytes(target.held.bytes)),
    }
}

fn coherence(target: &TargetStatus) -> String {
    match (target.coherent, target.incoherent_from, target.incoherent_until) {
        (true, ..) => "coherent".to_owned(),
        (false, Some(from), None) => format!("incoherent from {from}"),
        (false, Some(from), Some(until)) => format!("incoherent from {from} until {until}"),
        (false, None, Some(until)) => format!("incoherent until {until}"),
        (false, None, None) => "incoherent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use srm::status::{Lag, PassProgress};
    use std::collections::BTreeMap;

    fn example() -> SourceStatus {
        let operations = BTreeMap::from([("write".to_owned(), 1000), ("create".to_owned(), 20)]);
        SourceStatus {
            name: "data".to_owned(),
            source: "/srv/data".to_owned(),
            mountpoint: "/mnt/data".to_owned(),
            pid: 77,
            commit: CommitMode::Sync,
            near: None,
            strict: false,
            cache: CacheMode::Through,
            local_syncs: 0,
            local_answered: 0,
            operations: operations.clone(),
            written_bytes: 3 << 20,
            sequence: 1020,
            checkpoint: None,
            hot: 0,
            backlog_bytes: 0,
            journal: Vec::new(),
            backlog_limit: 256 << 20,
            fsi: srm::status::FsiStatus { nodes: 7, descriptors: 30 },
            submounts: Vec::new(),
            verify: None,
            targets: vec![TargetStatus {
                target: "backup:7420".to_owned(),
                state: TargetState::Connected,
                mirror_due: false,
                held: srm::status::Held::default(),
                coherent: true,
                incoherent_until: None,
                incoherent_from: None,
                degraded: false,
                undecided: Vec::new(),
                lag: Lag::default(),
                applied: 1020,
                durable: 1000,
                blocked: None,
                slow: None,
                last_error: None,
                reconnects: 0,
                operations,
                sent_bytes: 3 << 20,
                send: SendStatus::default(),
                limit: None,
                packed_from_bytes: 0,
                packed_bytes: 0,
                packing: BTreeMap::new(),
                paths: Vec::new(),
                lanes: 0,
                pass: PassProgress::default(),
                passes: 1,
                unreadable: Vec::new(),
                flagged: Vec::new(),
                flagged_count: 0,
            }],
        }
    }

    fn shown(change: impl FnOnce(&mut TargetStatus)) -> String {
        let mut status = example();
        change(&mut status.targets[0]);
        let mut out = String::new();
        source(&mut out, &status);
        out
    }

    #[test]
    fn what_the_target_could_not_carry_out_is_named() {
        let text = shown(|target| {
            (target.coherent, target.incoherent_from, target.flagged_count) = (false, Some(977), 12);
            let reason = "write: no space left on device".to_owned();
            let flag = srm::status::Flagged { path: "a/big".to_owned(), reason, since_ms: 0, seq: 977, operations: 3 };
            target.flagged = vec![flag];
        });
        assert!(text.contains("backup:7420: connected, incoherent from 977\n"), "{text}");
        assert!(text.contains("flagged  12 places"), "{text}");
        assert!(text.contains("    a/big: write: no space left on device, for "), "{text}");
        assert!(text.contains("shows more"), "{text}");
    }

    #[test]
    fn a_healthy_source_is_shown_in_a_few_lines() {
        let expected = "\
source   data: /srv/data on /mnt/data (process 77)
  done     1020 operations, 3.0 MiB written: write 1000, create 20
  backlog  0 B of 256.0 MiB
  target   backup:7420: connected, coherent
  commit   sync
  lag      0 operations, 0 B, 0.0 s; applied 1020 of 1020, durable 1000
  sent     3.0 MiB in 1020 operations, 0 reconnects
  mirror   0 names in 0 directories compared, 0 waiting, 0 differed, 0 B sent; 1 finished
";
        assert_eq!(shown(|_| {}), expected);
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let away = shown(|t| {
            t.state = TargetState::Accumulating;
            t.mirror_due = true;
            t.coherent = false;
            t.degraded = true;
            t.lag = Lag { operations: 5, bytes: 2048, millis: 3_723_400 };
            t.last_error = Some("cannot reach backup:7420: timed out".to_owned());
        });
        assert!(away.contains("accumulating (mirror due), incoherent\n"), "{away}");
        assert!(away.contains("commit   sync, degraded"), "{away}");
        assert!(away.contains("lag      5 operations, 2.0 KiB, 1:02:03;"), "{away}");
        assert!(away.contains("last error: cannot reach"), "{away}");
        let mirroring = shown(|t| {
            t.state = TargetState::Mirroring;
            t.coherent = false;
            (t.incoherent_from, t.incoherent_until) = (Some(4000), Some(4711));
            t.lanes = 3;
        });
        assert!(mirroring.contains("mirroring, incoherent from 4000 until 4711"), "{mirroring}");
        assert!(mirroring.contains("\n  lanes    3 open\n"), "{mirroring}");
        let blocked = shown(|t| {
            t.state = TargetState::Blocked;
            t.blocked = Some("a/b, no space left on device".to_owned());
        });
        assert!(blocked.contains("\n  blocked: a/b, no space left on device\n"), "{blocked}");
    }

    #[test]
    fn a_verification_is_shown_with_what_it_found() {
        use srm::verify::{Finding, FindingKind, VerifySummary};
        let finding = Finding {
            path: "a/b".to_owned(),
            kind: FindingKind::Rotten,
            detail: "other content".to_owned(),
            mended: true,
        };
        let verify = VerifyStatus {
            number: 3,
            path: ".".to_owned(),
            repair: true,
            entries: 7,
            mended: 1,
            found: BTreeMap::from([(FindingKind::Rotten, 1)]),
            findings: vec![finding; 9],
            previous: Some(VerifySummary { number: 2, ended_ms: Some(0), ..VerifySummary::default() }),
            ..VerifyStatus::default()
        };
        let mut out = String::new();
        source(&mut out, &SourceStatus { verify: Some(Box::new(verify)), ..example() });
        assert!(out.contains("  verify   number 3 of .: running for "), "{out}");
        assert!(out.contains("; 1 differ, 1 mended\n    rotten a/b: other content, mended\n"), "{out}");
        assert!(out.contains("shows more\n    before: number 2 ended "), "{out}");
    }

    #[test]
    fn what_is_held_is_shown_with_what_lets_go_of_it() {
        let held = SendStatus {
            rules: vec![Rule::SizeBytes(64 << 20), Rule::AgeMs(600_000)],
            holding: true,
            operations: 12,
            bytes: 3 << 20,
            millis: 123_000,
            opens_in_ms: Some(477_000),
        };
        let text = shown(|t| t.send = held.clone());
        let line = "  send     size=64.0 MiB or age=0:10:00; held: 12 operations, 3.0 MiB, for 0:02:03; goes in 0:07:57, or with 61.0 MiB more\n";
        assert!(text.contains(line), "{text}");
        let window = SendStatus { rules: vec![Rule::Window(1320, 360)], opens_in_ms: Some(7_200_000), ..held.clone() };
        assert!(send_in_words(&window).ends_with("for 0:02:03; goes in 2:00:00"));
        let idle = SendStatus { holding: false, ..window };
        assert_eq!(send_in_words(&idle), "22:00-06:00; nothing is held");
        assert!(!shown(|_| {}).contains("send   "));
    }

    #[test]
    fn who_gathers_writes_is_said_where_it_is_the_kernel() {
        let mut out = String::new();
        source(&mut out, &SourceStatus { cache: CacheMode::Writeback, ..example() });
        assert!(out.contains("  cache    writeback: "), "{out}");
    }

    #[test]
    fn submounts_are_named() {
        let mut out = String::new();
        source(&mut out, &SourceStatus { submounts: vec!["/srv/data/x".to_owned()], ..example() });
        assert!(out.contains("not replicated, other file systems: /srv/data/x\n"), "{out}");
    }
}

//! What was done, for people and programs.

use super::Plan;
use super::tally::{Item, Tally, What};
use crate::exit::{Code, Failure};
use crate::out;
use crate::status::units::bytes;
use protocol::{FetchAck, RelPath};
use srm::said::words;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// Prints what was done, and what could not be done; the exit code says whether that is something.
/// `complete`: it came to its end.
pub(super) fn report(plan: &Plan, ack: &FetchAck, tally: &Tally, complete: bool) -> Result<(), Failure> {
    let failures = tally.failures();
    if plan.json {
        out::line(&document(plan, ack, tally, &failures, complete).to_string())?;
    } else {
        out::text(&text(plan, tally, complete))?;
    }
    for note in tally.notes() {
        out::error(note);
    }
    for (path, why) in &failures {
        out::error(&format!("{}: {why}", shown(path)));
    }
    let count = tally.failed_count();
    if count > failures.len() as u64 {
        out::error(&format!("{} more are not listed", count - failures.len() as u64));
    }
    if failures.is_empty() {
        return Ok(());
    }
    let verb = if count == 1 { "was" } else { "were" };
    let text = format!("{count} of it {verb} not restored, see above; the rest is in {}", plan.to.display());
    Err(Failure::new(Code::Incomplete, text))
}

fn text(plan: &Plan, tally: &Tally, complete: bool) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for Item { path, what, to } in tally.items() {
        let _ = match to {
            // The end of it is a name of the replica's.
            Some(to) => {
                let to = to.to_string_lossy();
                writeln!(text, "{} {} -> {}", what.word(), shown(&path), to.escape_debug())
            }
            None => writeln!(text, "{} {}", what.word(), shown(&path)),
        };
    }
    let left_out = tally.items_left_out();
    if left_out > 0 {
        let _ = writeln!(text, "{left_out} more are not listed");
    }
    let counts: Vec<String> =
        What::ALL.into_iter().map(|what| format!("{} {}", tally.count(what), what.word())).collect();
    let _ = writeln!(
        text,
        "{} {} to {}: {}; {} came over",
        match (complete, plan.manner.dry_run) {
            (false, _) => "did not finish",
            (true, true) => "would restore",
            (true, false) => "restored",
        },
        plan.name,
        plan.to.display(),
        counts.join(", "),
        bytes(tally.received.load(Ordering::Relaxed))
    );
    text
}

fn document(
    plan: &Plan,
    ack: &FetchAck,
    tally: &Tally,
    failures: &[(RelPath, String)],
    complete: bool,
) -> serde_json::Value {
    let lossy = |path: &RelPath| String::from_utf8_lossy(path.as_bytes()).into_owned();
    let items: Vec<_> = tally
        .items()
        .into_iter()
        .map(|Item { path, what, to }| {
            let mut item = serde_json::json!({ "what": what.word(), "path": lossy(&path) });
            if let Some(to) = to {
                item["to"] = to.to_string_lossy().into();
            }
            item
        })
        .collect();
    let counts: serde_json::Map<_, _> =
        What::ALL.into_iter().map(|what| (what.word().to_owned(), tally.count(what).into())).collect();
    serde_json::json!({
        "version": 1,
        "name": plan.name.to_string(),
        "replica": ack.replica.to_string(),
        "coherent": ack.coherent,
        "applied": ack.position.map(|position| position.applied.get()),
        "to": plan.to.to_string_lossy(),
        "complete": complete,
        "dry_run": plan.manner.dry_run,
        "counts": counts,
        "files": tally.files[0].load(Ordering::Relaxed),
        "bytes": tally.bytes[0].load(Ordering::Relaxed),
        "bytes_received": tally.received.load(Ordering::Relaxed),
        "items": items,
        "items_left_out": tally.items_left_out(),
        "failed": failures.iter().map(|(path, why)| serde_json::json!({ "path": lossy(path), "why": why })).collect::<Vec<_>>(),
        "failed_count": tally.failed_count(),
        "notes": tally.notes(),
    })
}

/// A path may be 64 KiB long.
fn shown(path: &RelPath) -> String {
    if path.is_root() { ".".to_owned() } else { words(&String::from_utf8_lossy(path.as_bytes())) }
}

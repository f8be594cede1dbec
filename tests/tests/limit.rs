//! How fast a mount may send (S4): its connections together keep to what it was given, also while it is changed.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use std::fs;
use std::time::{Duration, Instant};

/// Bytes per second.
const RATE: f64 = 1_048_576.0;

/// Bytes that went to the target in a while, by the second.
fn per_second(rig: &Rig, length: Duration) -> f64 {
    let (begun, before) = (Instant::now(), rig.link().bytes_there());
    until("some seconds of sending", PATIENCE, || (begun.elapsed() >= length).then_some(()));
    #[allow(clippy::cast_precision_loss)] // some megabytes
    let sent = (rig.link().bytes_there() - before) as f64;
    sent / begun.elapsed().as_secs_f64()
}

// claim: A259
#[test]
fn all_connections_together_send_no_faster_than_they_may() {
    let setup = Setup::default().linked().option(&["--limit", "1MiB", "--lanes", "4"]);
    let mut rig = Rig::prepare(Commit::Real, setup);
    // What does not shrink by compression. Lanes bring it.
    let bytes = Random::new(1).bytes(2 << 20);
    for n in 0..6 {
        fs::write(rig.src().join(format!("file{n}")), &bytes).unwrap();
    }
    rig.mount();
    rig.wait_status("lanes", |source| source.target().lanes > 0);
    // Live operations beside it.
    fs::write(rig.mnt().join("live"), &bytes[..1 << 20]).unwrap();
    let status = rig.replfs("status", &[]);
    assert!(status.ok().contains("limit    1.0 MiB/s"), "{}", status.stdout);
    let sent = per_second(&rig, Duration::from_secs(4));
    println!("{:.2} of what may be sent", sent / RATE);
    // Headers, and what was under way when it began.
    assert!((0.5..1.25).contains(&(sent / RATE)), "{sent} bytes in a second");

    // Every minute of the day has its limit, and others hold at once.
    let name = rig.mnt();
    let shown = rig.replfs("limit", &[name.to_str().unwrap(), "none", "00:00-12:00=64KiB/s", "12:00-24:00=64KiB/s"]);
    assert!(shown.ok().starts_with("now 64.0 KiB/s\n  none\n"), "{}", shown.stdout);
    // What QUIC has already goes on its way.
    until("the other rate", PATIENCE, || (per_second(&rig, Duration::from_secs(1)) < 100_000.0).then_some(()));
    let shown = rig.replfs("limit", &[name.to_str().unwrap(), "none"]);
    assert!(shown.ok().starts_with("now none"), "{}", shown.stdout);
    rig.finish();
}

// claim: A259
#[test]
fn what_is_no_limit_is_named() {
    let rig = Rig::start(Commit::Real);
    let name = rig.mnt();
    let refused = rig.replfs("limit", &[name.to_str().unwrap(), "8-18=1MiB"]);
    assert!(refused.stderr.contains("8-18=1MiB") && refused.stderr.contains("08:00-18:00=2MiB"), "{}", refused.stderr);
    rig.finish();
}

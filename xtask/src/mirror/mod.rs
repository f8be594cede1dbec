//! `cargo xtask bench-mirror`: how long a mirror takes, and what it sends, beside rsync that does the same on the same machine,
//! alternating: over ssh, and to a plain rsync daemon. Here is the order of things and the report; `peers` are the rsyncs, `sources`
//! what is mirrored, `case` one thing that is measured.

mod case;
mod peers;
mod sources;

use crate::bench::{Machine, today};
use crate::{packages, run, signals, test};
use anyhow::{Context, Result, bail};
use case::{CASES, Measured};
use clap::Args;
use peers::Peers;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The words after `bench-mirror`.
#[derive(Args)]
pub struct Options {
    /// Only cases whose name contains one of these: first-tree, first-file, changed-blocks, nothing-changed
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each is done; the medians count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// A tenth of the files and bytes
    #[arg(long)]
    quick: bool,
    /// Write docs/benchmarks/DATE-NAME.md; what is written below the figures there stays
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Exit code 1 if a promised ratio is missed
    #[arg(long)]
    check: bool,
}

/// Where what is written by hand begins in a saved report.
const BY_HAND: &str = "## What caps each";

/// Measures; whether, with `--check`, all that is promised was kept.
pub fn run(options: &Options) -> Result<bool> {
    test::require_fuse()?;
    packages::require(&["rsync", "sshd", "ssh"])?;
    test::remove_leftovers()?;
    let binary = run::optimized()?;
    let mut text = format!("# Mirror beside rsync, {}\n\n{}\n", today(), Machine::here(&binary, false));
    let about = "Both ends on this machine, over 127.0.0.1, alternating, caches warm; medians. Bytes are those of the protocol, without what \
        ssh, QUIC, TCP and UDP put around them.";
    signals::note();
    let scale = if options.quick { 10 } else { 1 };
    let size = if options.quick { " **A tenth of the files and bytes that the rows name.**" } else { "" };
    let _ = writeln!(text, "\n{about}{size} {} rounds.\n\n{}", options.rounds, case::head());
    print!("{text}");
    let mut kept = true;
    for case in CASES {
        if !options.only.is_empty() && !options.only.iter().any(|part| case.name.contains(part.as_str())) {
            continue;
        }
        // The rig reports what goes wrong by panicking with the reason; it cleans up as it goes.
        let measured = catch_unwind(AssertUnwindSafe(|| {
            let peers = Peers::start()?;
            case::measure(case, &peers, scale, options.rounds)
        }));
        if signals::enough() {
            bail!("interrupted; everything was unmounted and removed");
        }
        let rows: Vec<Measured> = match measured {
            Ok(rows) => rows.with_context(|| case.name)?,
            Err(_) => bail!("{}: the rig failed", case.name),
        };
        for row in &rows {
            let line = case::line(row);
            println!("{line}");
            text.push_str(&line);
            text.push('\n');
            kept &= row.kept();
        }
    }
    if let Some(name) = &options.save {
        let path = run::root().join(format!("docs/benchmarks/{}-{name}.md", today()));
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let by_hand = before.find(BY_HAND).map_or(BY_HAND, |at| &before[at..]);
        std::fs::write(&path, format!("{text}\n{}\n", by_hand.trim_end()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(kept || !options.check)
}

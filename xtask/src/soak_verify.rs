//! `cargo xtask soak-verify`: applications write and the replica is verified without pause, for as long as somebody likes. Nothing
//! was changed behind replfs's back, so each finding is a false alarm.

use crate::{packages, run, test};
use anyhow::Result;
use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::{seed, tree};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What to run.
#[derive(clap::Args)]
pub struct Options {
    /// For so long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Every other round the link is cut for a moment
    #[arg(long)]
    cut: bool,
    /// An application waits for the target (commit=sync)
    #[arg(long)]
    sync: bool,
}

/// Runs; whether nothing was found and both sides were equal at the end.
pub fn run(options: &Options) -> Result<bool> {
    test::require_fuse()?;
    packages::require(&["mount"])?;
    test::remove_leftovers()?;
    let binary = run::build()?;
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("REPLFS_BIN", binary) };
    let length = Duration::try_from_secs_f64(options.minutes * 60.0)?;
    // The rig reports what goes wrong by panicking with the reason, which is on the terminal then; it cleans up as it goes.
    Ok(catch_unwind(AssertUnwindSafe(|| soak(options, length))).unwrap_or(false))
}

fn soak(options: &Options, length: Duration) -> bool {
    let seed = seed::chosen();
    let commit = if options.sync { Commit::Sync } else { Commit::Real };
    let mut rig =
        Rig::prepare(commit, Setup::default().linked().option(&["--degrade-after", "2s", "--backlog", "8MiB"]));
    rig.without_watchdog();
    tree::sources(&rig.src().join("sources"), 2000);
    tree::oddities(&rig.src().join("oddities"));
    let load = rig.src().join("load");
    if let Err(error) = std::fs::create_dir(&load).and_then(|()| std::fs::write(load.join("big"), vec![7; 20 << 20])) {
        println!("cannot make {}: {error}", load.display());
        return false;
    }
    rig.mount();
    rig.settle();
    println!("seed {seed}, {commit:?}; log {}", rig.source_state().display());
    let writers = Load::start(&rig.mnt().join("load"), 4, seed);
    let roamers = Roamers::start(&rig.mnt().join("sources"), 3, seed);
    let clean = rounds(options, length, &rig);
    roamers.stop();
    println!("{:?}", writers.stop());
    rig.finish();
    println!("{}; both sides are equal at the end", if clean { "nothing was found" } else { "FALSE ALARMS" });
    clean
}

/// Verifies again and again; whether nothing was found.
fn rounds(options: &Options, length: Duration, rig: &Rig) -> bool {
    let begin = Instant::now();
    let (mut round, mut wrong) = (0, 0);
    let mnt = rig.mnt().to_string_lossy().into_owned();
    while begin.elapsed() < length {
        round += 1;
        let start = Instant::now();
        let outcome = std::thread::scope(|scope| {
            let verifying = scope.spawn(|| rig.replfs("verify", &[&mnt]));
            if options.cut && round % 2 == 0 {
                rig.wait_status("something to be going on", |s| s.sequence > 0);
                rig.link().cut();
                rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
                rig.link().mend();
            }
            verifying.join()
        });
        let Ok(outcome) = outcome else { return false };
        let said = outcome.stderr.lines().next_back().unwrap_or_default();
        println!("round {round}: {:.1} s, exit {}: {said}", start.elapsed().as_secs_f64(), outcome.code);
        // A verification that begins while the target is away is refused, and says so.
        if outcome.code != 0 && outcome.code != 36 {
            wrong += 1;
            print!("{}", outcome.stdout);
            println!("{}", rig.replfs("status", &[]).stdout);
        }
        if outcome.code == 36 {
            rig.wait_status("the connection to return", |s| s.target().state == "connected");
        }
    }
    println!("{round} rounds, {wrong} with findings");
    wrong == 0
}

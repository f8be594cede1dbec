//! `cargo xtask demo`: a source and a target on this machine, real programs in the mount, both sides compared.

use crate::{packages, run, signals, test};
use anyhow::Result;
use replfs_tests::command::{shell, tool};
use replfs_tests::compare;
use replfs_tests::rig::{Commit, Rig};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs the demo; whether both sides were equal at the end.
pub fn run(once: bool) -> Result<bool> {
    test::require_fuse()?;
    packages::require(&["git", "sqlite3", "mount"])?;
    test::remove_leftovers()?;
    let binary = run::build()?;
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("REPLFS_BIN", binary) };
    // Ctrl-C ends the wait, not the program: what was mounted must be unmounted.
    signals::note();
    // The rig reports what goes wrong by panicking with the reason, which is on the terminal then; it cleans up as it goes.
    let equal = catch_unwind(AssertUnwindSafe(|| show(once)));
    Ok(equal.unwrap_or(false))
}

fn show(once: bool) -> bool {
    let mut rig = Rig::prepare(Commit::Sync, replfs_tests::rig::Setup::default());
    rig.without_watchdog();
    say("a target, an empty source, and the mount between an application and that source");
    println!(
        "  source   {}\n  mount    {}\n  target   {}",
        rig.src().display(),
        rig.mnt().display(),
        rig.target_argument()
    );
    println!("  replica  {}\n  $ replfs mount {}", rig.replica().display(), rig.mount_words().join(" "));
    rig.mount();

    let mnt = rig.mnt();
    step(&rig, "cp -a of this repository", || copy(&mnt));
    step(&rig, "git clone of this repository", || clone(&mnt));
    step(&rig, "sqlite3, 1000 transactions", || database(&mnt));
    step(&rig, "mv of a directory, rm of another", || {
        tool(&mnt, "mv", ["clone", "moved"]);
        tool(&mnt, "rm", ["-r", "copy/docs"]);
    });
    let equal = verdict(&rig);
    if !once && equal {
        wait_for_the_user(&rig);
    }
    rig.settle();
    let src = rig.src();
    rig.unmount();
    let at_the_end = compare::trees(&src, &rig.replica()).is_ok_and(|report| report.differences.is_empty());
    say(if at_the_end { "unmounted; both sides are equal" } else { "unmounted; both sides DIFFER" });
    equal && at_the_end
}

fn say(text: &str) {
    println!("\n== {text}");
}

/// One program in the mount, and the status after it.
fn step(rig: &Rig, what: &str, work: impl FnOnce()) {
    say(what);
    let start = Instant::now();
    work();
    println!("  {:.2} s", start.elapsed().as_secs_f64());
    for line in rig.replfs("status", &[]).ok().lines() {
        println!("  {line}");
    }
}

/// Everything at the top of the repository but Cargo's output.
fn copy(mnt: &Path) {
    let root = run::root();
    shell(
        root,
        &format!(
            "mkdir '{0}/copy'; find . -mindepth 1 -maxdepth 1 ! -name build -exec cp -a -t '{0}/copy' {{}} +",
            mnt.display()
        ),
    );
}

/// A clone over git's own protocol, so that every object is written through the mount. Where this is no repository of git,
/// a new one takes its place.
fn clone(mnt: &Path) {
    if run::root().join(".git").exists() {
        let from = format!("file://{}", run::root().display());
        tool(mnt, "git", ["clone", "--quiet", &from, "clone"]);
    } else {
        shell(
            mnt,
            "git init -q clone; cp -a copy/. clone/; git -C clone add -A; git -C clone -c user.name=demo -c user.email=demo@localhost commit -qm demo",
        );
    }
}

fn database(mnt: &Path) {
    let inserts = "insert into t(text) values (hex(randomblob(50)));".repeat(1000);
    shell(
        mnt,
        &format!(
            "printf '%s\\n' 'pragma journal_mode=wal; create table t(id integer primary key, text);' '{inserts}' | sqlite3 demo.db"
        ),
    );
}

fn verdict(rig: &Rig) -> bool {
    say("comparison: type, mode, owner, size, times, links, xattrs, ACLs, holes, content");
    rig.settle();
    match compare::trees(&rig.src(), &rig.replica()) {
        Ok(report) => {
            println!("  {}", report.text(20));
            report.differences.is_empty()
        }
        Err(error) => {
            println!("  cannot compare: {error:#}");
            false
        }
    }
}

fn wait_for_the_user(rig: &Rig) {
    say("still mounted: try it, then press Ctrl-C here");
    let (binary, state) = (replfs_tests::rig::binary::path(), rig.source_state());
    println!("  change something in   {}", rig.mnt().display());
    println!("  and find it in        {}", rig.replica().display());
    println!("  watch it with         {} status --watch --state {}", binary.display(), state.display());
    println!("  compare with          cargo xtask compare {} {}", rig.src().display(), rig.replica().display());
    while !signals::enough() {
        std::thread::sleep(Duration::from_millis(200));
    }
    println!();
}

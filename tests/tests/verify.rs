//! Verification (T3): what was changed behind replfs's back on the replica is found, by path and kind, and mended; and while
//! applications write nothing is found that is not there.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{Outcome, shell};
use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{Random, seed};
use replfs_tests::user::his_own;
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

in_both_modes!(
    what_was_changed_behind_replfs_is_found_by_kind_and_mended,
    verification_beside_writers_finds_nothing,
    files_that_cross_a_size_rule_are_no_findings,
    oddities_are_no_findings,
);

/// Exit codes.
const USAGE: i32 = 1;
const IN_USE: i32 = 35;
const AWAY: i32 = 36;
const DIFFERS: i32 = 47;
const UNREADABLE: i32 = 48;

const MIB: usize = 1 << 20;

fn verify(rig: &Rig, words: &[&str]) -> Outcome {
    let mnt = rig.mnt();
    let mut line = vec![mnt.to_str().unwrap()];
    line.extend(words);
    rig.replfs("verify", &line)
}

/// The lines of what was found.
fn found(outcome: &Outcome) -> BTreeSet<String> {
    outcome.stdout.lines().map(ToOwned::to_owned).collect()
}

fn lines(text: &[&str]) -> BTreeSet<String> {
    text.iter().map(|line| (*line).to_owned()).collect()
}

fn status(rig: &Rig) -> Value {
    let document: Value = serde_json::from_str(rig.replfs("status", &["--json"]).ok()).unwrap();
    document["sources"][0]["verify"].clone()
}

/// Everything that was set aside on the target, as one text.
fn aside(rig: &Rig) -> String {
    shell(&rig.root(), "find .replfs -path '*/aside/*'")
}

/// Other content with the size and times that the file has.
fn rot(path: &Path, offset: u64) {
    let before = fs::metadata(path).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
    assert_eq!(before.mtime_nsec(), fs::metadata(path).unwrap().mtime_nsec());
}

/// A tree with a name for each kind of change.
fn fill(rig: &Rig) {
    shell(
        &rig.mnt(),
        "mkdir -p a/b lost-dir/x same; for n in edit cut mode xattr owner time gone rot kind link same/one same/two; do \
           echo \"content of $n\" > $n; done
         echo deep > a/b/deep; echo below > lost-dir/x/below; ln -s target symlink; ln link second; ln -s here points; mkfifo pipe",
    );
    rig.settle();
}

// claim: A120, A121
fn what_was_changed_behind_replfs_is_found_by_kind_and_mended(commit: Commit) {
    let rig = Rig::start(commit);
    fill(&rig);
    assert_eq!(verify(&rig, &[]).ok(), "", "nothing differs yet");
    shell(
        &rig.replica(),
        "echo other > edit; truncate -s 3 cut; chmod 700 mode; chown 5:6 owner; touch -d 2001-01-01 time
         rm gone; rm kind; mkdir kind; rm -r lost-dir; echo new > a/b/new; mkdir -p more/x; echo deep > more/x/deep
         ln -sfn elsewhere points; cp -p second third; mv third second; chmod 711 a/b",
    );
    rustix::fs::setxattr(rig.replica().join("xattr"), "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    rot(&rig.replica().join("rot"), 3);
    let expected = lines(&[
        "attributes .",
        "edited edit",
        "edited cut",
        "attributes mode",
        "attributes xattr",
        "attributes owner",
        "attributes time",
        "lost gone",
        "edited kind",
        "lost lost-dir",
        "extra a/b/new",
        "extra more",
        "edited points",
        "edited second",
        "attributes a/b",
        "rotten rot",
    ]);
    let outcome = verify(&rig, &[]);
    // Directories whose names were changed have another time too.
    let seen: BTreeSet<String> = found(outcome.expect(DIFFERS));
    assert_eq!(seen, expected, "{outcome:?}");
    let one = verify(&rig, &["a", "--json"]);
    let document: Value = serde_json::from_str(&one.expect(DIFFERS).stdout).unwrap();
    assert_eq!((&document["version"], &document["found"]["extra"]), (&Value::from(1), &Value::from(1)), "{document}");

    let mended = verify(&rig, &["--repair"]);
    assert_eq!(found(mended.expect(0)), expected, "{mended:?}");
    assert_eq!(status(&rig)["mended"], Value::from(expected.len()), "{}", status(&rig));
    let aside = aside(&rig);
    for name in ["new", "deep"] {
        assert!(aside.lines().any(|line| line.ends_with(name)), "{name} was set aside: {aside}");
    }
    assert_eq!(verify(&rig, &[]).ok(), "");
    let passes = rig.status().target().passes;
    rig.assert_equal();
    assert_eq!(rig.status().target().passes, passes, "what was mended is not looked at again");
    rig.finish();
}

// claim: A153
#[test]
fn what_src_is_itself_is_compared_and_mended() {
    let rig = Rig::start(Commit::Sync);
    shell(&rig.mnt(), "chmod 2750 .; chown 7:8 .; echo text > file");
    let set = |path: &Path, value: &[u8]| {
        rustix::fs::setxattr(path, "user.of-src", value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set(&rig.mnt(), b"source");
    rig.settle();
    assert_eq!(verify(&rig, &[]).ok(), "");
    let spoil = || {
        shell(&rig.replica(), "chown 9:9 .; chmod 700 .; touch -d 2001-01-01 .");
        set(&rig.replica(), b"target");
    };
    spoil();
    let outcome = verify(&rig, &[]);
    assert_eq!(found(outcome.expect(DIFFERS)), lines(&["attributes ."]), "{outcome:?}");
    let detail = &status(&rig)["findings"][0]["detail"];
    assert_eq!(detail, "owner, permissions, extended attributes, modification time");
    assert_eq!(verify(&rig, &["file"]).ok(), "", "only with everything");
    assert_eq!(found(verify(&rig, &["--repair"]).expect(0)), lines(&["attributes ."]));
    assert_eq!(status(&rig)["mended"], Value::from(1));
    rig.assert_equal();
    assert_eq!(verify(&rig, &[]).ok(), "");

    spoil();
    rig.replfs("mirror", &[rig.mnt().to_str().unwrap()]).ok();
    rig.finish();
}

// claim: A122
fn verification_beside_writers_finds_nothing(commit: Commit) {
    // In `real` the writers fill the backlog: a question waits behind what is in it.
    let rig = Rig::with(commit, Setup::default().option(&["--backlog", "8MiB"]));
    tree::sources(&rig.mnt().join("sources"), 100);
    fs::create_dir(rig.mnt().join("load")).unwrap();
    tree::oddities(&rig.mnt().join("oddities"));
    fs::write(rig.mnt().join("load/big"), vec![7; 5 * MIB]).unwrap();
    rig.settle();
    let load = Load::start(&rig.mnt().join("load"), 3, seed());
    let roamers = Roamers::start(&rig.mnt().join("sources"), 2, seed());
    let big = Big::start(&rig.mnt().join("load/big"));
    for round in 0..6 {
        let words: &[&str] = if round % 3 == 2 { &["load"] } else { &[] };
        let outcome = verify(&rig, words);
        assert!(outcome.code == 0 && outcome.stdout.is_empty(), "round {round}: {outcome:?}\n{}", status(&rig));
        load.wait_for(load.done() + 20);
    }
    big.stop();
    roamers.stop();
    load.stop_clean();
    assert_eq!(rig.status().target().passes, 1, "nothing was mended either: {}", rig.source_log());
    rig.finish();
}

/// Files that grow over a size and shrink below it, all the time: by writing, by cutting, by being replaced and renamed.
struct Crossing {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Crossing {
    fn start(dir: &Path, border: u64) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..3).map(|thread| {
            let (stop, rounds, dir) = (Arc::clone(&stop), Arc::clone(&rounds), dir.to_owned());
            std::thread::spawn(move || {
                let mut random = Random::new(seed().wrapping_add(thread));
                while !stop.load(Ordering::SeqCst) {
                    cross(&dir, &format!("{thread}-{}", random.below(6)), border, &mut random);
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self { threads: threads.collect(), stop, rounds }
    }

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// One change of a file's size.
fn cross(dir: &Path, name: &str, border: u64, random: &mut Random) {
    let path = dir.join(name);
    let open = |path: &Path| fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    let file = open(&path);
    match random.below(6) {
        0 => file.set_len(border + 1 + random.below(border)).unwrap(),
        1 => file.set_len(random.below(border)).unwrap(),
        2 => file.write_all_at(&random.bytes(5000), border - 2500).unwrap(),
        3 => file.write_all_at(&random.bytes(3000), random.below(border / 2)).unwrap(),
        4 => {
            let new = dir.join(format!("{name}.new"));
            let len = usize::try_from(random.below(2 * border)).unwrap();
            fs::write(&new, random.bytes(len)).unwrap();
            fs::rename(new, path).unwrap();
        }
        _ => {
            let link = dir.join(format!("{name}.link"));
            drop(fs::remove_file(&link));
            fs::hard_link(&path, &link).unwrap();
        }
    }
}

// claim: A151
fn files_that_cross_a_size_rule_are_no_findings(commit: Commit) {
    const BORDER: u64 = 64 << 10;
    let mut rig = Rig::prepare(commit, Setup::default());
    let rules = rig.home().join("set.toml");
    let text = format!("version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = \"{BORDER}\"\n");
    fs::write(&rules, text).unwrap();
    rig.try_mount(&["--set", rules.to_str().unwrap()]).ok();
    let dir = rig.mnt().join("sizes");
    fs::create_dir(&dir).unwrap();
    rig.settle();
    let crossing = Crossing::start(&dir, BORDER);
    for round in 0..12 {
        let before = crossing.rounds();
        let outcome = verify(&rig, &[]);
        assert!(outcome.code == 0 && outcome.stdout.is_empty(), "round {round}: {outcome:?}\n{}", status(&rig));
        until("files to cross the border", PATIENCE, || (crossing.rounds() > before + 20).then_some(()));
    }
    crossing.stop();
    rig.settle();
    assert_eq!(verify(&rig, &["--repair"]).ok(), "", "at rest");
    for entry in fs::read_dir(rig.src().join("sizes")).unwrap() {
        let entry = entry.unwrap();
        if entry.metadata().unwrap().len() <= BORDER {
            let name = entry.file_name();
            let theirs = fs::read(rig.replica().join("sizes").join(&name)).unwrap();
            assert!(fs::read(entry.path()).unwrap() == theirs, "{}", name.display());
        }
    }
}

/// A file of several pieces that is overwritten all the time, with the same size and sometimes the same time.
struct Big {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Big {
    fn start(path: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (stop.clone(), path.to_owned());
        let thread = std::thread::spawn(move || {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let mut random = Random::new(9);
            while !stopped.load(Ordering::SeqCst) {
                file.write_all_at(&random.bytes(9000), random.below(5 * (1 << 20) - 9000)).unwrap();
                file.set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH)).unwrap();
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

// claim: A122
fn oddities_are_no_findings(commit: Commit) {
    let mut rig = Rig::prepare(commit, Setup::default());
    tree::oddities(&rig.src().join("before"));
    rig.mount();
    tree::oddities(&rig.mnt().join("after"));
    shell(
        &rig.mnt(),
        "truncate -s 20M sparse; fallocate -l 3M allocated; : > beyond; fallocate -n -l 3M beyond; echo x > dense; head -c 3M /dev/zero > zeros
         mkdir d; ln dense d/dense2; ln dense d/dense3; ln -s x s; ln s d/s2; mkfifo p; ln p p2",
    );
    rig.settle();
    assert_eq!(verify(&rig, &[]).ok(), "");
    // Where the replica has holes instead of zeros, or zeros instead of holes, it reads the same.
    shell(
        &rig.replica(),
        "for f in sparse zeros allocated; do touch -r $f ../stamp; \
           if [ $f = sparse ]; then dd if=/dev/zero of=$f bs=1M count=2 conv=notrunc status=none; else fallocate -d $f; fi; \
           touch -r ../stamp $f; done; rm ../stamp",
    );
    assert_eq!(verify(&rig, &[]).ok(), "");
    rig.unmount();
}

// claim: A121
#[test]
fn rot_in_the_middle_of_a_big_file_is_found_and_only_that_is_mended() {
    let rig = Rig::start(Commit::Real);
    let content = Random::new(3).bytes(9 * MIB + 77);
    for name in ["big", "replaced", "edited", "attributes"] {
        fs::write(rig.mnt().join(name), &content).unwrap();
    }
    rig.settle();
    rot(&rig.replica().join("big"), 5 * (1 << 20) + 12_345);
    // Another file under the name, while the target may have the old one open.
    let replaced = rig.replica().join("replaced");
    shell(&rig.replica(), "cp -p replaced new");
    rot(&rig.replica().join("new"), 9 * (1 << 20) + 76);
    fs::rename(rig.replica().join("new"), replaced).unwrap();
    let edited = fs::OpenOptions::new().write(true).open(rig.replica().join("edited")).unwrap();
    edited.write_all_at(b"something else", 1 << 20).unwrap();
    shell(&rig.replica(), "touch -d 2001-01-01 attributes");
    // What is written to a file that was replaced goes to the old one, as long as that is open on the target: no surprise.
    let expected = lines(&["attributes .", "rotten big", "rotten replaced", "edited edited", "attributes attributes"]);
    let outcome = verify(&rig, &[]);
    let mut seen = found(outcome.expect(DIFFERS));
    assert!(status(&rig)["findings"][0]["detail"].is_string());
    assert_eq!(seen, expected, "{outcome:?}");
    let before = rig.status().target().sent_bytes;
    let mended = verify(&rig, &["--repair"]);
    seen = found(mended.expect(0));
    assert_eq!(seen, expected);
    let sent = rig.status().target().sent_bytes - before;
    assert!(sent < 4 * (1 << 20), "only blocks that differ were sent, not {sent} bytes");
    rig.finish();
}

// claim: A122
#[test]
fn a_verification_goes_on_after_the_link_was_cut() {
    let rig = Rig::with(Commit::Real, Setup::default().linked().option(&["--degrade-after", "2s"]));
    for n in 0..40 {
        fs::write(rig.mnt().join(format!("file{n:02}")), vec![n; MIB / 2]).unwrap();
    }
    fs::write(rig.mnt().join("rotten"), "content").unwrap();
    rig.settle();
    rot(&rig.replica().join("rotten"), 2);
    let load = Load::start(&rig.mnt(), 2, seed());
    let mnt = rig.mnt();
    let state = rig.source_state();
    let child = rig
        .program()
        .args(["verify", "--state"])
        .arg(state)
        .arg(mnt)
        .args(["--rate", "4MiB"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..3 {
        let entries = status(&rig)["entries"].as_u64().unwrap_or(0);
        until("the verification to advance", PATIENCE, || {
            let now = status(&rig);
            (now["entries"].as_u64() > Some(entries + 2) || now["state"] == "done").then_some(())
        });
        rig.link().cut();
        rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
        load.wait_for(load.done() + 50);
        rig.link().mend();
        rig.wait_status("the connection to return", |s| s.target().state == "connected");
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), text.as_str()), (Some(DIFFERS), "rotten rotten\n"), "{}", rig.source_log());
    load.stop_clean();
    verify(&rig, &["--repair"]).ok();
    rig.finish();
}

// claim: A123
#[test]
fn a_sample_compares_some_content_and_the_attributes_of_all() {
    let rig = Rig::start(Commit::Real);
    for n in 0..200 {
        fs::write(rig.mnt().join(format!("file{n}")), "content").unwrap();
    }
    rig.settle();
    for n in 0..200 {
        rot(&rig.replica().join(format!("file{n}")), 1);
    }
    shell(&rig.replica(), "chmod 600 file7 file8");
    let outcome = verify(&rig, &["--sample", "20%"]);
    let seen = found(outcome.expect(DIFFERS));
    let rotten = seen.iter().filter(|line| line.starts_with("rotten ")).count();
    assert!((10..80).contains(&rotten), "about a fifth of 200: {rotten}");
    // What looks different is looked at closely.
    assert!(seen.contains("rotten file7") && seen.contains("rotten file8"), "{seen:?}");
    assert_eq!(verify(&rig, &[]).expect(DIFFERS).stdout.lines().count(), 200);
    verify(&rig, &["--repair"]).ok();
    rig.finish();
}

// claim: A124
#[test]
fn a_mount_verifies_by_itself_and_shows_what_it_found() {
    let rig = Rig::with(Commit::Real, Setup::default().option(&["--verify-every", "100ms", "--verify-rate", "none"]));
    fs::write(rig.mnt().join("file"), "content").unwrap();
    rig.settle();
    let number = status(&rig)["number"].as_u64().unwrap_or(0);
    until("the next verification", PATIENCE, || (status(&rig)["number"].as_u64() > Some(number + 1)).then_some(()));
    fs::write(rig.replica().join("file"), "other").unwrap();
    let seen = until("the edit to be found", PATIENCE, || {
        let now = status(&rig);
        (now["found"]["edited"] == 1).then_some(now)
    });
    assert_eq!((&seen["findings"][0]["path"], &seen["mended"]), (&Value::from("file"), &Value::from(0)), "{seen}");
    // The next one may have begun by now.
    let shown = || rig.replfs("status", &[]).ok().contains("edited file: 5 bytes on the target, 7 on the source");
    until("the status to tell of it", PATIENCE, || shown().then_some(()));
    assert_eq!(fs::read(rig.replica().join("file")).unwrap(), b"other", "nothing is mended by itself");
    until("another to end in between", PATIENCE, || (verify(&rig, &["--repair"]).code == 0).then_some(()));
    rig.finish();
}

// claim: A123
#[test]
fn a_verification_that_cannot_be_is_refused_with_the_reason() {
    let rig = Rig::with(Commit::Real, Setup::default().linked().option(&["--degrade-after", "2s"]));
    fs::write(rig.mnt().join("file"), vec![1; 4 * MIB]).unwrap();
    rig.settle();
    assert!(verify(&rig, &["/etc"]).expect(USAGE).stderr.contains("neither below MNT nor below SRC"));
    assert!(verify(&rig, &["a/../b"]).expect(USAGE).stderr.contains("'..'"));
    assert!(verify(&rig, &["nothing/here"]).expect(USAGE).stderr.contains("nothing/here"));
    verify(&rig, &["--sample", "0"]).expect(USAGE);
    verify(&rig, &["--stop"]).expect(USAGE);
    let program = |words: &[&str]| {
        let mut command = rig.program();
        command.args(["verify", "--state"]).arg(rig.source_state()).arg(rig.mnt()).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let slow = program(&["--rate", "512KiB"]).spawn().unwrap();
    until("it to begin", PATIENCE, || (status(&rig)["state"] == "running").then_some(()));
    assert!(verify(&rig, &[]).expect(IN_USE).stderr.contains("--stop"));
    verify(&rig, &["--stop"]).ok();
    let stopped = slow.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("stopped"), "{stopped:?}");
    rig.link().cut();
    rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
    assert!(verify(&rig, &[]).expect(AWAY).stderr.contains("accumulating"));
    rig.link().mend();
    rig.settle();
    let switch = |word: &str| rig.replfs("bypass", &[rig.mnt().to_str().unwrap(), word]);
    switch("on").ok();
    assert!(verify(&rig, &[]).expect(USAGE).stderr.contains("switched off"));
    switch("off").ok();
    rig.settle();
    let unmounted = program(&["--rate", "1KiB"]).spawn().unwrap();
    until("it to begin", PATIENCE, || (status(&rig)["state"] == "running").then_some(()));
    rig.finish();
    let output = unmounted.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "an unmount ends it: {output:?}");
}

// claim: A123
#[test]
fn what_the_set_leaves_out_and_other_file_systems_are_not_looked_at() {
    let mut rig = Rig::prepare(Commit::Real, Setup::default());
    let rules = rig.home().join("set.toml");
    fs::write(&rules, "version = 1\n[[rule]]\nexclude = \"*.tmp\"\n").unwrap();
    let other = rig.src().join("other");
    fs::create_dir(&other).unwrap();
    rig.mount_other("tmpfs", "size=1m", &other);
    fs::write(other.join("x"), "x").unwrap();
    rig.try_mount(&["--set", rules.to_str().unwrap()]).ok();
    fs::write(rig.mnt().join("file"), "x").unwrap();
    fs::write(rig.mnt().join("source.tmp"), "x").unwrap();
    rig.settle();
    // The time of a directory in which something changed is a difference; here it is as it was.
    shell(
        &rig.replica(),
        "touch -r . ../time; echo x > target.tmp; echo other > source.tmp; touch -r ../time .; rm ../time",
    );
    assert_eq!(verify(&rig, &[]).ok(), "");
    assert!(verify(&rig, &["source.tmp"]).expect(USAGE).stderr.contains("leaves it out"));
    rig.unmount();
}

// claim: A123
#[test]
fn what_cannot_be_read_is_listed_and_the_rest_is_compared() {
    his_own(
        Commit::Real,
        |_| {},
        |mut rig| {
            let script = "mkdir d; echo secret > d/closed; echo open > d/open; echo x > edited";
            let made = run_as_user(&rig, script);
            assert!(made, "the user writes in his mount");
            rig.settle();
            assert_eq!(verify(&rig, &[]).ok(), "");
            fs::set_permissions(rig.src().join("d/closed"), fs::Permissions::from_mode(0o000)).unwrap();
            fs::set_permissions(rig.replica().join("d/closed"), fs::Permissions::from_mode(0o000)).unwrap();
            let outcome = verify(&rig, &[]);
            assert_eq!(found(outcome.expect(UNREADABLE)), lines(&["unreadable d/closed"]), "{outcome:?}");
            fs::write(rig.replica().join("edited"), "longer").unwrap();
            let outcome = verify(&rig, &[]);
            assert_eq!(found(outcome.expect(DIFFERS)), lines(&["unreadable d/closed", "edited edited"]), "{outcome:?}");
            verify(&rig, &["edited", "--repair"]).ok();
            rig.unmount();
        },
    );
}

fn run_as_user(rig: &Rig, script: &str) -> bool {
    replfs_tests::user::as_user(replfs_tests::user::USER, &[], || {
        let mut command = Command::new("bash");
        command.args(["-ec", script]).current_dir(rig.mnt());
        replfs_tests::command::run(&mut command).code == 0
    })
}

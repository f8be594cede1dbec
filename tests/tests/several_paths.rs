//! Several network paths at once (C6): a path that dies costs nothing but speed, one that lives again is used again, and on each of them the target has to
//! show its key. Each path has a link of its own, which can be cut.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{self, Outcome};
use replfs_tests::link::Link;
use replfs_tests::rig::status::{Path, Source};
use replfs_tests::rig::watchdog::kill;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::weather::Weather;
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// Longer than a path that is cut may keep a call waiting, on a busy machine, and shorter than a connection is believed in that is silent.
const NOTICED: Duration = Duration::from_millis(2900);

/// An attempt of three seconds that began just before, the longest pause, two seconds of patience, and a busy machine.
const BACK: Duration = Duration::from_secs(10);

/// A rig whose source reaches its target over two paths.
struct Two {
    rig: Rig,
    links: [Link; 2],
}

impl Two {
    /// Not mounted yet.
    fn prepare(commit: Commit, setup: Setup) -> Self {
        let rig = Rig::prepare(commit, setup);
        let links = [1, 2].map(|_| Link::to(rig.target_address()).unwrap());
        Self { rig, links }
    }

    fn mount(&mut self) {
        let words = [0, 1].map(|n| format!("127.0.0.{}={}", n + 2, self.links[n].address()));
        let outcome = self.rig.try_mount(&["--path", &words[0], "--path", &words[1]]);
        assert_eq!(outcome.code, 0, "{}\n{}", outcome.stderr, self.rig.source_log());
    }

    /// Mounted, and both paths are known to live.
    fn start(commit: Commit, setup: Setup) -> Self {
        let mut two = Self::prepare(commit, setup);
        two.mount();
        two.wait("both paths alive", |paths| paths.iter().all(|path| path.state == "alive"));
        two.rig.settle();
        two
    }

    fn wait(&self, what: &str, shows: impl Fn(&[Path]) -> bool) -> Source {
        self.rig.wait_status(what, |source| shows(&source.target().paths))
    }

    /// Writes and makes files until the session is on path `n`; the longest that one of them took. None may fail.
    fn write_until_the_session_is_on(&self, n: usize, name: &str) -> Duration {
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        for file in 0.. {
            let status = self.rig.status();
            let target = status.target();
            assert!(!target.degraded && target.reconnects == 0, "{target:?}\n{}", self.rig.source_log());
            if target.paths[n].session && file > 20 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{target:?}\n{}", self.rig.source_log());
            let one = Instant::now();
            fs::write(self.rig.mnt().join(format!("{name}{file}")), name.repeat(100)).unwrap();
            longest = longest.max(one.elapsed());
        }
        longest
    }
}

fn random(seed: u64, len: usize) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

/// What cuts a link.
type Cut = fn(&Link);

fn costs_nothing(commit: Commit, cut: Cut) {
    let two = Two::start(commit, Setup::default());
    let status = two.rig.status();
    let paths = &status.target().paths;
    assert!(paths[0].session && !paths[1].session, "the first is preferred: {paths:?}");
    assert_eq!((paths[0].local.as_str(), paths[1].local.as_str()), ("127.0.0.2", "127.0.0.3"));
    assert_eq!(paths[1].target, two.links[1].address().to_string());

    cut(&two.links[0]);
    let longest = two.write_until_the_session_is_on(1, "cut");
    println!("{commit:?}: the longest call while a path was cut: {longest:?}");
    assert!(longest < NOTICED, "{longest:?}\n{}", two.rig.source_log());
    let status = two.rig.status();
    let dead = &status.target().paths[0];
    assert!(dead.state == "dead" && dead.reason.as_ref().is_some_and(|reason| reason.contains("ms")), "{dead:?}");
    let shown = two.rig.replfs("status", &[]);
    assert!(shown.ok().contains("127.0.0.2 to ") && shown.stdout.contains(": dead for "), "{}", shown.stdout);
    let there = two.links[1].bytes_there();
    fs::write(two.rig.mnt().join("beside"), random(1, MIB)).unwrap();
    two.rig.settle();
    assert!(two.links[1].bytes_there() > there + MIB as u64);

    // It is tried again by itself, and taken again.
    two.links[0].mend();
    let mended = Instant::now();
    let longest = two.write_until_the_session_is_on(0, "mended");
    assert!(mended.elapsed() < BACK, "{:?}", mended.elapsed());
    assert!(longest < NOTICED, "{longest:?}\n{}", two.rig.source_log());
    let there = two.links[0].bytes_there();
    fs::write(two.rig.mnt().join("back"), random(2, MIB)).unwrap();
    two.rig.settle();
    assert!(two.links[0].bytes_there() > there + MIB as u64);
    assert_eq!(two.rig.status().target().reconnects, 0);
    let log = two.rig.whole_source_log();
    assert!(!log.contains("link-down") && !log.contains("degraded"), "{log}");
    two.rig.finish();
}

// claim: A277
#[test]
fn in_sync_a_path_that_is_cut_costs_nothing() {
    costs_nothing(Commit::Sync, Link::cut);
}

// claim: A277
#[test]
fn in_remote_a_path_that_is_cut_fails_no_call() {
    costs_nothing(Commit::Remote, Link::cut);
}

// claim: A277
#[test]
fn a_path_that_carries_one_way_only_is_left() {
    costs_nothing(Commit::Sync, Link::deafen);
    costs_nothing(Commit::Sync, Link::silence);
}

fn for_a_while(length: Duration) {
    let begun = Instant::now();
    until("some time to go by", PATIENCE, || (begun.elapsed() >= length).then_some(()));
}

// claim: A277
#[test]
fn whoever_is_stopped_for_a_moment_loses_neither_path_nor_connection() {
    let two = Two::start(Commit::Sync, Setup::default());
    let (source, target) = (two.rig.source_pid(), two.rig.target_pid());
    for pid in [target, source] {
        kill(pid, Signal::STOP);
        for_a_while(Duration::from_millis(1500));
        kill(pid, Signal::CONT);
        fs::write(two.rig.mnt().join(format!("after{pid}")), "x").unwrap();
        two.rig.settle();
    }
    let status = two.rig.status();
    let target = status.target();
    assert!(target.reconnects == 0 && !two.rig.whole_source_log().contains("link-down"), "{}", two.rig.source_log());
    assert!(target.paths.iter().any(|path| path.state == "alive"), "{target:?}");
    two.rig.finish();
}

/// A target that listens on all its addresses is reached at 127.0.0.1, and over the second path at another one.
fn moves_to_another_address(listen: &str, second: impl Fn(u16) -> (String, Option<Link>)) {
    let mut rig = Rig::bare(Commit::Sync, Setup::default());
    let allow = rig.key(&rig.source_state());
    rig.start_target_allowing(Some(&allow), listen);
    let port = rig.target_address().port();
    let link = Link::to(([127, 0, 0, 1], port).into()).unwrap();
    let first = format!("127.0.0.2={}", link.address());
    let (second, _link) = second(port);
    let outcome = rig.try_mount(&["--path", &first, "--path", &second]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    rig.wait_status("both alive", |source| source.target().paths.iter().all(|path| path.state == "alive"));
    link.cut();
    rig.wait_status("the session on the second path", |source| source.target().paths[1].session);
    fs::write(rig.mnt().join("second"), random(6, MIB)).unwrap();
    rig.settle();
    link.mend();
    rig.wait_status("the session on the first", |source| source.target().paths[0].session);
    fs::write(rig.mnt().join("first"), random(4, MIB)).unwrap();
    rig.settle();
    assert_eq!(rig.status().target().reconnects, 0, "{}", rig.source_log());
    rig.finish();
}

// claim: A277
#[test]
fn a_target_with_two_addresses_answers_from_the_one_it_was_asked_at() {
    moves_to_another_address("0.0.0.0:0", |port| {
        // This link takes answers from there only.
        let link = Link::to(([127, 0, 0, 4], port).into()).unwrap();
        (format!("127.0.0.3={}", link.address()), Some(link))
    });
}

// claim: A277
#[test]
fn a_connection_moves_between_ipv4_and_ipv6() {
    moves_to_another_address("[::]:0", |port| (format!("::1=[::1]:{port}"), None));
}

// claim: A277
#[test]
fn an_idle_connection_leaves_a_dead_path_too() {
    let two = Two::start(Commit::Sync, Setup::default());
    two.links[0].cut();
    let status = two.wait("the session on the second path", |paths| paths[1].session);
    assert!(status.target().state == "connected" && status.target().reconnects == 0, "{status:?}");
    fs::write(two.rig.mnt().join("file"), "x").unwrap();
    two.rig.finish();
}

/// Bytes in a second that each link carries.
const RATE: u64 = 8 << 20;

/// Files for lanes, and slow links: how many bytes.
fn fill(two: &Two, files: u64) -> u64 {
    for n in 0..files {
        fs::write(two.rig.src().join(format!("big{n}")), random(n, 4 * MIB)).unwrap();
    }
    for link in &two.links {
        link.set_weather(Weather { bytes_per_second: RATE, ..Weather::default() });
    }
    files * 4 * MIB as u64
}

// claim: A276
#[test]
fn lanes_over_two_paths_carry_more_than_one_path_could() {
    let mut two = Two::prepare(Commit::Real, Setup::default());
    let total = fill(&two, 12);
    let begun = Instant::now();
    two.mount();
    two.wait("lanes on both paths", |paths| paths.iter().all(|path| path.lanes > 0));
    two.rig.wait_status("the mirror's end", Source::is_settled);
    let took = begun.elapsed();
    let carried = two.links.each_ref().map(Link::bytes_there);
    println!("{total} bytes in {took:?}, {carried:?} over each of two paths of {RATE} bytes in a second");
    // Bytes in a second over a rate in bytes in a second: what one path alone takes at least.
    let alone = Duration::from_secs(total / RATE);
    assert!(took < alone * 9 / 10, "{took:?} of {alone:?}");
    assert!(carried.iter().all(|bytes| *bytes > total / 5), "{carried:?} of {total}");
    two.rig.finish();
}

// claim: A277
#[test]
fn a_mirror_goes_on_while_paths_come_and_go() {
    let mut two = Two::prepare(Commit::Real, Setup::default());
    // More than ten seconds over one of them: a path that comes back has to live for two before it is used.
    let total = fill(&two, 24);
    two.mount();
    two.wait("lanes on both paths", |paths| paths.iter().all(|path| path.lanes > 0));
    two.links[1].cut();
    let status = two.wait("all lanes on the first path", |paths| paths[1].state == "dead" && paths[1].lanes == 0);
    assert!(!status.is_settled(), "it goes on meanwhile: {status:?}");
    two.links[1].mend();
    let there = two.links[1].bytes_there();
    two.wait("lanes on both paths again", |paths| paths.iter().all(|path| path.lanes > 0));
    two.links[0].cut();
    two.wait("the session on the second path", |paths| paths[1].session);
    two.rig.settle();
    assert!(two.links[1].bytes_there() > there);
    println!("{total} bytes: {:?}", two.links.each_ref().map(Link::bytes_there));
    assert_eq!(two.rig.status().target().reconnects, 0, "{}", two.rig.source_log());
    two.rig.finish();
}

/// An address of this machine for as long as it is there (of those for examples, RFC 5737).
struct Address(String);

impl Address {
    fn name() -> String {
        format!("198.51.100.{}", 2 + std::process::id() % 250)
    }

    fn add() -> Self {
        let address = Self(format!("{}/32", Self::name()));
        address.ip("add").ok();
        address
    }

    fn ip(&self, what: &str) -> Outcome {
        command::run(Command::new("ip").args(["address", what, &self.0, "dev", "lo"]))
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // Whoever fails has more to say than this.
        let _gone = self.ip("del");
    }
}

// claim: A278
#[test]
fn an_address_may_come_and_go() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let links = [1, 2].map(|_| Link::to(rig.target_address()).unwrap());
    let words = [Address::name(), "127.0.0.3".to_owned()];
    let words = [0, 1].map(|n| format!("{}={}", words[n], links[n].address()));
    let outcome = rig.try_mount(&["--path", &words[0], "--path", &words[1]]);
    assert!(outcome.code == 0 && outcome.stderr.contains(&Address::name()), "{}: {}", outcome.code, outcome.stderr);
    rig.wait_status("the session on the second path", |source| source.target().paths[1].session);
    let address = Address::add();
    rig.wait_status("the session on the address that came", |source| source.target().paths[0].session);
    fs::write(rig.mnt().join("there"), "x").unwrap();
    drop(address);
    fs::write(rig.mnt().join("gone"), "x").unwrap();
    let status = rig.wait_status("the session on the second path again", |source| {
        source.target().paths[1].session && source.target().paths[0].state == "dead"
    });
    let target = status.target();
    assert!(target.state == "connected" && !target.degraded && target.reconnects == 0, "{target:?}");
    rig.finish();
}

// claim: A277
#[test]
fn all_paths_cut_are_a_lost_link() {
    let two = Two::start(Commit::Real, Setup::default());
    for link in &two.links {
        link.cut();
    }
    fs::write(two.rig.mnt().join("away"), random(3, MIB)).unwrap();
    two.rig.wait_status("accumulating", |source| source.target().state == "accumulating");
    let status = two.wait("both dead", |paths| paths.iter().all(|path| path.state == "dead" && path.reason.is_some()));
    assert!(status.target().paths.iter().all(|path| !path.session && path.lanes == 0), "{status:?}");
    two.links[1].mend();
    two.rig.settle();
    assert!(two.rig.status().target().paths[1].session);
    two.links[0].mend();
    two.wait("the first again", |paths| paths[0].session);
    two.rig.finish();
}

// claim: A278
#[test]
fn a_path_that_is_not_there_is_a_warning_and_dead() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let link = Link::to(rig.target_address()).unwrap();
    // No address of anybody (RFC 5737); nothing listens on the discard port; an interface by its name.
    let last = format!("lo={}", link.address());
    let words = ["--path", "203.0.113.77", "--path", "127.0.0.2=127.0.0.1:9", "--path", &last];
    let outcome = rig.try_mount(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("path 203.0.113.77 cannot be used now"), "{}", outcome.stderr);
    let status = rig.wait_status("two dead paths", |source| {
        let paths = &source.target().paths;
        paths[0].state == "dead" && paths[1].state == "dead" && paths[2].session
    });
    let paths = &status.target().paths;
    assert!(paths[0].reason.as_ref().is_some_and(|reason| reason.contains("203.0.113.77")), "{paths:?}");
    fs::write(rig.mnt().join("file"), random(4, MIB)).unwrap();
    rig.settle();
    assert!(link.bytes_there() > MIB as u64);
    let status = rig.status();
    let target = status.target();
    assert!(target.paths[2].sent_bytes > MIB as u64 && !target.degraded, "{target:?}");
    rig.finish();
}

// claim: A278
#[test]
fn on_each_path_the_target_shows_its_key() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let other = Rig::prepare(Commit::Sync, Setup::default());
    let (good, wrong) = (rig.target_address(), other.target_address());
    let link = Link::to(good).unwrap();
    let words = [format!("127.0.0.2={}", link.address()), format!("127.0.0.3={wrong}")];
    let outcome = rig.try_mount(&["--path", &words[0], "--path", &words[1]]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let is_refused = |source: &Source| {
        let path = &source.target().paths[1];
        path.state == "dead" && path.reason.as_ref().is_some_and(|reason| reason.contains(other.target_key()))
    };
    let status = rig.wait_status("the wrong one is named", is_refused);
    assert!(status.target().paths[0].session && status.target().state == "connected", "{status:?}");
    fs::write(rig.mnt().join("file"), "x").unwrap();
    // There is no other path that it could take.
    link.cut();
    let status = rig.wait_status("accumulating", |source| source.target().state == "accumulating");
    assert!(status.target().paths.iter().all(|path| !path.session && path.sent_bytes > 0), "{status:?}");
    assert!(!other.replica().exists(), "the wrong one got nothing");
    link.mend();
    rig.settle();
    rig.finish();
}

// claim: A278
#[test]
fn the_right_target_is_found_whichever_path_it_is_on() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let other = Rig::prepare(Commit::Sync, Setup::default());
    let words = [format!("127.0.0.2={}", other.target_address()), format!("127.0.0.3={}", rig.target_address())];
    let outcome = rig.try_mount(&["--path", &words[0], "--path", &words[1]]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(rig.status().target().paths[1].session);
    fs::write(rig.mnt().join("file"), "x").unwrap();
    rig.finish();
}

// claim: A278
#[test]
fn words_that_are_no_path_are_refused() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let mut refused = |words: &[&str], why: &str| {
        let outcome = rig.try_mount(words);
        assert!(outcome.code == 1 && outcome.stderr.contains(why), "{words:?}: {} {}", outcome.code, outcome.stderr);
    };
    refused(&["--path", "300.1.1.1"], "neither an address nor the name of an interface");
    refused(&["--path", "127.0.0.2=/srv"], "HOST[:PORT]");
    refused(&["--path", "0.0.0.0"], "no address of one interface");
    // As mount options they are the same words.
    refused(&["-o", "path=127.0.0.2,path=127.0.0.2"], "given twice");
    let mut local = Rig::bare(Commit::Sync, Setup { local: true, ..Setup::default() });
    let outcome = local.try_mount(&["--path", "lo"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("on the network"), "{}", outcome.stderr);
}

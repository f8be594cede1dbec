//! The target daemon as a process: what it prints, where it is seen, how it ends.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, NOBODY, replfs, run};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

const ANY: [&str; 2] = ["--listen", "127.0.0.1:0"];

#[test]
fn key_is_made_on_first_use_and_stays() {
    let home = Home::new();
    let first = run(&mut home.command("key"));
    first.is(0, &[]);
    assert!(first.stdout.starts_with("SHA256:") && first.stdout.len() == 7 + 43 + 1, "{first:?}");
    let mode = |name: &str| std::fs::metadata(home.at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/key.pem")), (0o700, 0o600));
    let json: serde_json::Value = serde_json::from_str(&run(home.command("key").arg("--json")).stdout).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["fingerprint"], first.stdout.trim());
}

#[test]
fn ready_says_where_and_who_and_the_status_shows_it() {
    let home = Home::new();
    let key = run(&mut home.command("key")).stdout;
    let (daemon, line) = home.target("root", &ANY);
    let words: Vec<&str> = line.split_whitespace().collect();
    let [ready, address, fingerprint] = words.as_slice() else { panic!("{line}") };
    assert_eq!((*ready, *fingerprint), ("ready", key.trim()));
    assert_ne!(address.parse::<SocketAddr>().unwrap().port(), 0);

    let status = run(home.command("status").arg("--json"));
    let document: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(document["version"], 1);
    assert_eq!(document["sources"], serde_json::json!([]));
    let shown = &document["targets"][0];
    assert_eq!(shown["pid"], daemon.0.id());
    assert_eq!(shown["listen"], *address);
    assert_eq!(shown["root"], *home.at("root").to_string_lossy());
    assert_eq!(shown["fingerprint"], *fingerprint);

    let text = run(home.command("status").arg(home.at("root"))).stdout;
    assert!(text.contains(address) && text.contains("no replica yet"), "{text}");

    assert_eq!(daemon.end(Signal::TERM), Some(0), "a clean end");
    assert_eq!(run(&mut home.command("status")).stdout, "nothing of replfs runs here\n");
    assert_eq!(std::fs::read_dir(home.at("state/run/targets")).unwrap().count(), 0);
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way() {
    let home = Home::new();
    let (daemon, _) = home.target("root", &ANY);
    daemon.end(Signal::KILL);
    assert_eq!(run(&mut home.command("status")).stdout, "nothing of replfs runs here\n");
    let (again, line) = home.target("root", &ANY);
    assert!(line.starts_with("ready "));
    assert!(run(&mut home.command("status")).stdout.contains("listening"));
    assert_eq!(again.end(Signal::INT), Some(0));
}

#[test]
fn a_port_or_a_root_in_use_ends_with_42() {
    let home = Home::new();
    let (_daemon, line) = home.target("root", &ANY);
    let address = line.split_whitespace().nth(1).unwrap();
    let target = |root: &str, listen: &str| {
        run(home.command("target").args(["--allow", NOBODY, "--listen", listen, "--root"]).arg(home.at(root)))
    };
    let outcome = target("other", address);
    assert_eq!(outcome.code, 42, "{outcome:?}");
    assert!(outcome.stderr.contains(address) && !home.at("other").exists(), "{outcome:?}");
    let outcome = target("root", "127.0.0.1:0");
    assert_eq!(outcome.code, 42, "{outcome:?}");
}

#[test]
fn what_cannot_be_a_target_is_refused() {
    let home = Home::new();
    let target = |words: &[&str]| run(home.command("target").args(words));
    let root = home.at("root").to_string_lossy().into_owned();
    target(&[]).is(1, &["--root"]);
    target(&["--root", &root, "--allow", "SHA256:x"]).is(1, &["SHA256:x"]);
    target(&["--root", &root, "--allow", NOBODY, "--listen", "nowhere"]).is(1, &["nowhere"]);
    let inside =
        run(replfs().args(["target", "--allow", NOBODY, "--root", &root, "--state"]).arg(home.at("root/state")));
    inside.is(1, &["inside ROOT"]);
    assert!(!home.at("root").exists());
    let missing = home.at("a/b/root").to_string_lossy().into_owned();
    let outcome = target(&["--root", &missing, "--allow", NOBODY, "--listen", "127.0.0.1:0"]);
    assert!(outcome.code != 0 && !home.at("a").exists(), "only the last part is made: {outcome:?}");
}

#[test]
fn systemd_is_told_when_the_daemon_is_ready() {
    let home = Home::new();
    let path = home.at("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut command = home.command("target");
    command.args(["--allow", NOBODY, "--root"]).arg(home.at("root")).args(ANY).env("NOTIFY_SOCKET", &path);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let child = common::Running(child);
    let mut buffer = [0; 256];
    let got = socket.recv(&mut buffer).unwrap();
    let text = std::str::from_utf8(&buffer[..got]).unwrap();
    assert!(text.starts_with("READY=1") && text.contains(&format!("MAINPID={}", child.0.id())), "{text}");
    assert_eq!(child.end(Signal::TERM), Some(0));
}

#[test]
fn watched_status_goes_on_until_its_reader_has_gone() {
    let home = Home::new();
    let mut child = home
        .command("status")
        .args(["--watch", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["version"], 1);
    }
    drop(stdout);
    assert!(child.wait().unwrap().code().is_some(), "it ends by itself");
}

//! Who may: pairing by one string, what is known afterwards, and how it ends (spec C1, T8; docs/security.md).
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{Outcome, run};
use replfs_tests::link::Link;
use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, NAME, PEER, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

fn paired() -> Setup {
    Setup { paired: true, ..Setup::default() }
}

/// A rig whose target runs and knows nobody.
fn unpaired() -> Rig {
    let mut rig = Rig::bare(Commit::Sync, paired());
    rig.start_target_allowing(None, "127.0.0.1:0");
    rig
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(outcome.ok()).unwrap()
}

fn peers(rig: &Rig, state: &Path) -> Value {
    json(&run(rig.program().args(["peers", "--json", "--state"]).arg(state)))
}

fn pair_from(rig: &Rig, state: &Path, invitation: &str) -> Outcome {
    run(rig.program().args(["pair", invitation, "--state"]).arg(state))
}

/// What the source is called on the target: there is one.
fn source_name(rig: &Rig) -> String {
    peers(rig, &rig.target_state())["peers"][0]["name"].as_str().unwrap().to_owned()
}

// claim: A232
#[test]
fn two_commands_are_all_that_it_takes_and_the_invitation_is_good_once() {
    let mut rig = unpaired();
    let invitation = rig.invite(&["--dir", "mail1", "--quota", "1GiB"]);
    let words = |target: &str| {
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let mut words = vec!["mount".to_owned(), text(rig.src()), text(rig.mnt())];
        words.extend(["--target", target, "--state", &text(rig.source_state())].map(str::to_owned));
        words
    };
    let (with_invitation, with_name) = (words(&invitation), words("of-the-target"));
    let outcome = rig.mounted(rig.program().args(&with_invitation));
    outcome.ok();
    fs::write(rig.mnt().join("file"), "over the wire").unwrap();
    assert_eq!(fs::read(rig.root().join("mail1/file")).unwrap(), b"over the wire");
    // Both sides know each other, and nothing else is open.
    let (here, there) = (peers(&rig, &rig.source_state()), peers(&rig, &rig.target_state()));
    assert_eq!(there["invitations"], serde_json::json!([]));
    assert_eq!(there["peers"][0]["grants"][0]["dir"], "mail1");
    assert_eq!(there["peers"][0]["grants"][0]["quota"], 1_u64 << 30);
    assert_eq!(there["peers"][0]["key"], rig.key(&rig.source_state()));
    assert_eq!(here["peers"][0]["key"], rig.target_key());
    assert_eq!(here["peers"][0]["targets"][0]["dir"], "mail1");
    assert_eq!(here["peers"][0]["targets"][0]["src"].as_str().unwrap(), rig.src().to_str().unwrap());
    // Spent: for another node, and for the same one by another state.
    let other = rig.home().join("other");
    let refused = pair_from(&rig, &other, &invitation);
    refused.expect(56);
    assert!(refused.stderr.contains("not open"), "{}", refused.stderr);
    assert_eq!(peers(&rig, &rig.target_state())["peers"].as_array().unwrap().len(), 1);
    // From fstab it is mounted by the peer's name, or by what was written there at first.
    rig.replfs("umount", &[rig.mnt().to_str().unwrap()]).ok();
    let name = here["peers"][0]["name"].as_str().unwrap();
    rig.replfs("peers", &["rename", name, "of-the-target"]).ok();
    for words in [&with_name, &with_invitation] {
        let outcome = rig.mounted(rig.program().args(words));
        outcome.ok();
        fs::write(rig.mnt().join("file"), words[3].as_bytes()).unwrap();
        assert_eq!(fs::read(rig.root().join("mail1/file")).unwrap(), words[3].as_bytes());
        rig.replfs("umount", &[rig.mnt().to_str().unwrap()]).ok();
    }
    let shown = rig.replfs("status", &["--json"]).stdout;
    assert!(!shown.contains("replfs1-"), "an invitation is never shown again");
}

// claim: A233
#[test]
fn a_wrong_secret_is_counted_and_the_fifth_withdraws_the_invitation() {
    let rig = unpaired();
    let invitation = scm::invite::Invitation::parse(&rig.invite(&["--dir", NAME])).unwrap();
    let wrong = scm::invite::Invitation { secret: [0; 16], ..invitation.clone() }.to_string();
    for tries in 1..5 {
        let refused = pair_from(&rig, &rig.source_state(), &wrong);
        refused.expect(56);
        assert!(refused.stderr.contains("not the secret"), "{}", refused.stderr);
        assert_eq!(peers(&rig, &rig.target_state())["invitations"][0]["wrong_tries"], tries);
    }
    assert!(pair_from(&rig, &rig.source_state(), &wrong).expect(56).stderr.contains("withdrawn"));
    pair_from(&rig, &rig.source_state(), &invitation.to_string()).expect(56);
    let there = peers(&rig, &rig.target_state());
    assert_eq!((&there["peers"], &there["invitations"]), (&serde_json::json!([]), &serde_json::json!([])));
}

// claim: A234
#[test]
fn an_invitation_dies_with_its_time_and_can_be_withdrawn() {
    let rig = unpaired();
    let invitation = rig.invite(&["--dir", NAME, "--ttl", "1s"]);
    until("the invitation is over", PATIENCE, || {
        (peers(&rig, &rig.target_state())["invitations"] == serde_json::json!([])).then_some(())
    });
    pair_from(&rig, &rig.source_state(), &invitation).expect(56);
    let invitation = rig.invite(&["--dir", NAME]);
    let number = peers(&rig, &rig.target_state())["invitations"][0]["number"].as_str().unwrap().to_owned();
    rig.replfs_of_target("peers", &["revoke", &number]).ok();
    pair_from(&rig, &rig.source_state(), &invitation).expect(56);
    rig.replfs_of_target("peers", &["revoke", &number]).expect(57);
}

// claim: A235
#[test]
fn whoever_is_revoked_is_out_at_once_and_an_invitation_lets_him_in_again() {
    let rig = Rig::with(Commit::Real, paired());
    fs::write(rig.mnt().join("before"), "x").unwrap();
    rig.settle();
    let name = source_name(&rig);
    let since = Instant::now();
    rig.replfs_of_target("peers", &["revoke", &name]).ok();
    rig.wait_status("the connection has ended", |source| source.targets[0].state == "refused");
    println!("revoked and out after {:?}", since.elapsed());
    fs::write(rig.mnt().join("after"), "y").unwrap();
    let status = rig.status();
    let why = status.targets[0].last_error.clone().unwrap();
    assert!(why.contains("does not know this node's key") && why.contains("target invite"), "{why}");
    assert!(!rig.replica().join("after").exists(), "nothing arrives any more");
    assert!(rig.replica().join("before").exists(), "what is there stays");
    // Nor does anything else of its key: reading, and a new mount.
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let to = text(rig.home().join("restored"));
    rig.replfs("restore", &["--from", PEER, "--name", NAME, "--to", &to]).expect(37);
    let again = rig.invite(&["--dir", NAME]);
    rig.replfs("pair", &[&again]).ok();
    rig.settle();
    rig.assert_equal();
    rig.finish();
}

// claim: A189
#[test]
fn a_target_that_moves_is_followed_by_mounts_that_are_up() {
    let rig = Rig::with(Commit::Sync, paired());
    let first = rig.target_address().to_string();
    let other = Link::to(rig.target_address()).unwrap();
    let write = |name: &str| {
        fs::write(rig.mnt().join(name), name).unwrap();
        assert_eq!(fs::read(rig.replica().join(name)).unwrap(), name.as_bytes());
    };
    let move_to = |address: &str| rig.replfs("peers", &["address", PEER, address]).ok().to_owned();
    write("there");
    move_to(&other.address().to_string());
    rig.wait_status("the session has moved", |source| other.bytes_back() > 0 && source.targets[0].state == "connected");
    write("elsewhere");
    // What it was is dead: the next attempt goes where it is now.
    other.cut();
    move_to(&first);
    rig.wait_status("the session is back", |source| source.targets[0].state == "connected");
    write("back");
    rig.finish();
}

// claim: A236
#[test]
fn a_target_that_the_source_revokes_gets_nothing_more() {
    let rig = Rig::with(Commit::Real, paired());
    fs::write(rig.mnt().join("before"), "x").unwrap();
    rig.settle();
    rig.replfs("peers", &["revoke", PEER]).ok();
    rig.wait_status("the connection has ended", |source| source.targets[0].state == "refused");
    fs::write(rig.mnt().join("after"), "y").unwrap();
    let why = rig.status().targets[0].last_error.clone().unwrap();
    assert!(why.contains("revoked"), "{why}");
    assert!(!rig.replica().join("after").exists());
    let again = rig.invite(&["--dir", NAME]);
    rig.replfs("pair", &[&again, "--name", PEER]).ok();
    rig.settle();
    rig.assert_equal();
    rig.finish();
}

/// Waits until the key that a node had before is not needed any more.
fn rotated(state: &Path) {
    until("everybody knows the new key", PATIENCE, || (!state.join("key.previous.pem").exists()).then_some(()));
}

// claim: A237
#[test]
fn keys_are_rotated_on_both_sides_under_load_without_pairing_again() {
    let mut rig = Rig::with(Commit::Sync, paired());
    let keys = rig.home().join("stolen");
    fs::create_dir(&keys).unwrap();
    fs::copy(rig.source_state().join("key.pem"), keys.join("key.pem")).unwrap();
    let load = Load::start(&rig.mnt(), 2, 7);
    let old = (rig.key(&rig.source_state()), rig.key(&rig.target_state()));
    for round in 0..2 {
        let new = rig.replfs_of_target("key", &["rotate"]).ok().to_owned();
        rotated(&rig.target_state());
        assert_eq!(peers(&rig, &rig.source_state())["peers"][0]["key"], new, "round {round}");
        let new = rig.replfs("key", &["rotate"]).ok().to_owned();
        rotated(&rig.source_state());
        until("the target takes the new key for the source's", PATIENCE, || {
            (peers(&rig, &rig.target_state())["peers"][0]["key"] == new).then_some(())
        });
    }
    load.stop_clean();
    rig.settle();
    rig.assert_equal();
    assert_eq!(rig.status().targets[0].passes, 1, "nothing was compared again");
    let now = (rig.key(&rig.source_state()), rig.key(&rig.target_state()));
    assert!(old.0 != now.0 && old.1 != now.1);
    // The keys of before are good for nothing.
    let (to, at) = (rig.home().join("restored"), rig.target_address().to_string());
    let mut reader = rig.program();
    reader.args(["restore", "--from", &at, "--target-key", &now.1, "--name", NAME, "--to"]).arg(&to);
    run(reader.arg("--state").arg(&keys)).expect(37);
    rig.replfs("restore", &["--from", PEER, "--name", NAME, "--to", to.to_str().unwrap()]).ok();
    rig.unmount();
    rig.mount();
    // A connection that made a new key known begins anew once.
    rig.wait_status("connected with the new keys", |source| source.targets[0].state == "connected");
    rig.finish();
}

// claim: A238
#[test]
fn a_key_is_not_changed_again_before_all_know_it_unless_forced() {
    let mut rig = Rig::with(Commit::Real, paired());
    rig.settle();
    rig.kill_target();
    rig.replfs("key", &["rotate"]).ok();
    let refused = rig.replfs("key", &["rotate"]);
    refused.expect(37);
    assert!(refused.stderr.contains(PEER), "{}", refused.stderr);
    rig.start_target();
    rotated(&rig.source_state());
    rig.settle();
    rig.assert_equal();
    rig.finish();
}

// claim: A239
#[test]
fn a_source_has_its_directory_and_no_other() {
    let mut rig = Rig::prepare(Commit::Sync, paired());
    // Another source's.
    let other = rig.home().join("other");
    pair_from(&rig, &other, &rig.invite(&["--dir", "theirs"])).ok();
    for name in ["theirs", "nobodys"] {
        let refused = rig.try_mount(&["--name", name]);
        refused.expect(37);
        assert!(refused.stderr.contains("was not given to this source"), "{}", refused.stderr);
        assert!(!rig.root().join(name).exists(), "nothing is made for it");
        let to = rig.home().join("restored");
        rig.replfs("restore", &["--from", PEER, "--name", name, "--to", to.to_str().unwrap()]).expect(37);
    }
    rig.mount();
    rig.finish();
}

// claim: A240
#[test]
fn what_others_can_read_is_refused() {
    let mut rig = Rig::prepare(Commit::Sync, paired());
    let open = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
    let close = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    for file in ["key.pem", "peers.json"] {
        let path = rig.source_state().join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        open(&path);
        let refused = rig.try_mount(&[]);
        refused.expect(37);
        assert!(
            refused.stderr.contains("can be read by others") && refused.stderr.contains(file),
            "{}",
            refused.stderr
        );
        close(&path);
    }
    let theirs = rig.target_state().join("peers.json");
    open(&theirs);
    rig.try_mount(&["--connect-timeout", "2s"]).expect(37);
    close(&theirs);
    rig.mount();
    rig.finish();
}

// claim: A241
#[test]
fn a_target_with_another_key_is_refused_with_both_and_what_to_do() {
    let mut rig = Rig::prepare(Commit::Sync, paired());
    let before = rig.target_key().to_owned();
    rig.kill_target();
    fs::rename(rig.target_state(), rig.home().join("old-target")).unwrap();
    rig.start_target();
    let refused = rig.try_mount(&[]);
    refused.expect(37);
    for part in [before.as_str(), rig.target_key(), "target invite"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    rig.replfs("peers", &["revoke", PEER]).ok();
    let again = rig.invite(&["--dir", NAME]);
    rig.replfs("pair", &[&again, "--name", PEER]).ok();
    rig.mount();
    rig.finish();
}

// claim: A242
#[test]
fn a_source_that_was_set_up_anew_takes_its_replica_over_when_the_target_says_so() {
    let mut rig = Rig::with(Commit::Sync, paired());
    fs::write(rig.mnt().join("file"), "kept").unwrap();
    rig.unmount();
    let name = source_name(&rig);
    // The machine is gone, and its key with it.
    fs::remove_dir_all(rig.source_state()).unwrap();
    fs::remove_file(rig.src().join("file")).unwrap();
    rig.replfs_of_target("peers", &["revoke", &name]).ok();
    let plain = rig.invite(&["--dir", NAME]);
    rig.replfs("pair", &[&plain, "--name", PEER]).ok();
    let refused = rig.try_mount(&[]);
    refused.expect(38);
    assert!(refused.stderr.contains("--take-over"), "{}", refused.stderr);
    let over = rig.invite(&["--dir", NAME, "--take-over"]);
    rig.replfs("pair", &[&over]).ok();
    rig.replfs("restore", &["--from", PEER, "--name", NAME, "--to", rig.src().to_str().unwrap()]).ok();
    rig.mount();
    assert_eq!(fs::read(rig.mnt().join("file")).unwrap(), b"kept");
    rig.assert_equal();
    rig.finish();
}

#[test]
fn an_invitation_may_come_from_a_file_or_from_standard_input() {
    let rig = unpaired();
    let file = rig.home().join("invitation");
    fs::write(&file, rig.invite(&["--dir", NAME]) + "\n").unwrap();
    let at = |state: &str| rig.home().join(state);
    let mut mount = rig.program();
    mount.arg("mount").arg(rig.src()).arg(rig.mnt()).arg("--target-file").arg(&file).arg("--state").arg(at("source"));
    let mut rig = rig;
    rig.mounted(&mut mount).ok();
    rig.replfs("umount", &[rig.mnt().to_str().unwrap()]).ok();
    let second = rig.home().join("second");
    fs::write(&second, rig.invite(&["--dir", "second"])).unwrap();
    let mut pair = rig.program();
    pair.args(["pair", "-", "--json", "--state"]).arg(rig.home().join("other"));
    let output = pair.stdin(fs::File::open(&second).unwrap()).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((said["dir"].as_str(), said["before"].as_bool()), (Some("second"), Some(false)));
}

// claim: A219
#[test]
fn the_quota_of_an_invitation_binds_that_directory() {
    let mut rig = unpaired();
    let invitation = rig.invite(&["--dir", NAME, "--quota", "8MiB"]);
    rig.replfs("pair", &[&invitation, "--name", PEER]).ok();
    rig.try_mount(&["--retry-after", "2s"]).ok();
    fs::write(rig.mnt().join("small"), vec![1; 1 << 20]).unwrap();
    rig.settle();
    run(rig.program().args(["commit", rig.mnt().to_str().unwrap(), "real", "--state"]).arg(rig.source_state())).ok();
    fs::write(rig.mnt().join("large"), vec![2; 12 << 20]).unwrap();
    rig.wait_status("the quota to be named", |source| {
        let target = &source.targets[0];
        [&target.blocked, &target.last_error].into_iter().flatten().any(|text| text.contains("quota of"))
    });
    fs::remove_file(rig.mnt().join("large")).unwrap();
    rig.settle();
    rig.finish();
}

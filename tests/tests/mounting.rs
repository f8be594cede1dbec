//! Mounting and unmounting: as for any Linux file system (F6), in one directory or two, with a target here or elsewhere.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{run, shell, tool};
use replfs_tests::rig::watchdog::is_running;
use replfs_tests::rig::{Commit, NAME, Rig, Setup, binary, status};
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

in_both_modes!(
    a_source_can_be_mounted_on_itself,
    a_local_target_needs_no_network,
    umount_returns_at_once_and_the_daemon_drains_and_ends,
    sigterm_unmounts_drains_and_ends,
    a_dead_mount_is_cleared_by_the_next_mount,
);

/// The line of `/proc/mounts` for a mount point, in words.
fn mounts(at: &Path) -> Option<Vec<String>> {
    let table = fs::read_to_string("/proc/mounts").unwrap();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    table.lines().map(words).find(|words| words[1] == at.to_string_lossy())
}

/// The binary under another name.
fn named(rig: &Rig, name: &str) -> PathBuf {
    let link = rig.home().join(name);
    let _ = std::os::unix::fs::symlink(binary::path(), &link);
    link
}

/// What follows `-o` for a rig.
fn options(rig: &Rig, more: &str) -> String {
    let key = if rig.target_key().is_empty() { String::new() } else { format!(",target-key={}", rig.target_key()) };
    format!(
        "target={}{key},commit={},name={NAME},state={}{more}",
        rig.target_argument(),
        rig.commit().as_str(),
        rig.source_state().display()
    )
}

fn a_source_can_be_mounted_on_itself(commit: Commit) {
    let mut rig = Rig::prepare(commit, Setup { in_place: true, ..Setup::default() });
    let src = rig.src();
    tree::sources(&src, 200);
    rig.mount();
    assert_eq!(mounts(&src).unwrap()[2], "fuse.replfs");
    fs::write(src.join("new"), "through the mount").unwrap();
    fs::rename(src.join("package000"), src.join("moved")).unwrap();
    rig.assert_equal();
    rig.unmount();
    assert!(mounts(&src).is_none());
    rig.assert_replica_equals(&src);
    rig.mount();
    fs::write(src.join("again"), "after a second mount").unwrap();
    rig.kill_source();
    rig.mount();
    assert_eq!(fs::read_to_string(src.join("again")).unwrap(), "after a second mount");
    rig.finish();
}

fn a_local_target_needs_no_network(commit: Commit) {
    let mut rig = Rig::prepare(commit, Setup { local: true, ..Setup::default() });
    tree::oddities(&rig.src().join("before"));
    // ROOT's last part is made when it is missing.
    fs::remove_dir(rig.root()).unwrap();
    rig.mount();
    tree::sources(&rig.mnt().join("sources"), 500);
    rig.assert_equal();
    rig.unmount();
    rig.mount();
    fs::write(rig.mnt().join("again"), "x").unwrap();
    rig.kill_source();
    rig.mount();
    rig.finish();
}

fn umount_returns_at_once_and_the_daemon_drains_and_ends(commit: Commit) {
    let mut rig = Rig::with(commit, Setup::default().linked());
    rig.settle();
    rig.link().delay(Duration::from_millis(50));
    let mnt = rig.mnt();
    for n in 0..10 {
        fs::write(mnt.join(format!("file{n}")), vec![n; 100_000]).unwrap();
    }
    let pid = rig.source_pid();
    let start = Instant::now();
    tool(rig.home(), "umount", [&mnt]);
    assert!(start.elapsed() < Duration::from_secs(3), "umount took {:?}", start.elapsed());
    rig.wait_for_end(pid);
    assert!(mounts(&mnt).is_none());
    rig.assert_replica_equals(&rig.src());
}

fn sigterm_unmounts_drains_and_ends(commit: Commit) {
    let mut rig = Rig::with(commit, Setup::default().linked());
    rig.settle();
    rig.link().delay(Duration::from_millis(50));
    for n in 0..10 {
        fs::write(rig.mnt().join(format!("file{n}")), vec![n; 100_000]).unwrap();
    }
    let pid = rig.source_pid();
    rig.signal_source(Signal::TERM);
    rig.wait_for_end(pid);
    assert!(mounts(&rig.mnt()).is_none());
    rig.assert_replica_equals(&rig.src());
}

// claim: A26
fn a_dead_mount_is_cleared_by_the_next_mount(commit: Commit) {
    let mut rig = Rig::start(commit);
    fs::write(rig.mnt().join("file"), "x").unwrap();
    rig.kill_source();
    let error = fs::read_dir(rig.mnt()).unwrap_err();
    // The second is the kernel's answer to a request that was on its way when the daemon died.
    assert!(matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED)), "{error}");
    rig.mount();
    assert_eq!(fs::read_to_string(rig.mnt().join("file")).unwrap(), "x");
    let table = fs::read_to_string("/proc/mounts").unwrap();
    let at = format!(" {} ", rig.mnt().display());
    assert_eq!(table.lines().filter(|line| line.contains(&at)).count(), 1, "no mount below another");
    rig.finish();
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut rig = Rig::with(Commit::Real, Setup::default());
    rig.settle();
    rig.kill_target();
    rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
    fs::write(rig.mnt().join("late"), "x").unwrap();
    let pid = rig.source_pid();
    rig.signal_source(Signal::TERM);
    until("the mount to go", PATIENCE, || mounts(&rig.mnt()).is_none().then_some(()));
    assert!(is_running(pid), "it drains for a minute");
    let start = Instant::now();
    rig.signal_source(Signal::TERM);
    rig.wait_for_end(pid);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    rig.start_target();
    rig.mount();
    rig.finish();
}

#[test]
fn a_drain_ends_at_its_time_out() {
    let mut rig = Rig::with(Commit::Real, Setup::default().option(&["--drain-timeout", "1s"]));
    rig.settle();
    rig.kill_target();
    rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
    fs::write(rig.mnt().join("late"), "x").unwrap();
    let pid = rig.source_pid();
    let start = Instant::now();
    tool(rig.home(), "umount", [rig.mnt()]);
    rig.wait_for_end(pid);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(!rig.source_log().is_empty(), "the log says what is left");
}

#[test]
fn a_mount_shows_its_type_and_source() {
    let rig = Rig::start(Commit::Sync);
    let line = mounts(&rig.mnt()).unwrap();
    assert_eq!((line[0].as_str(), line[2].as_str()), (&*rig.src().to_string_lossy(), "fuse.replfs"));
    for given in ["rw", "default_permissions", "allow_other"] {
        assert!(line[3].split(',').any(|o| o == given), "{given} in {}", line[3]);
    }
    for absent in ["nosuid", "nodev", "noexec"] {
        assert!(!line[3].split(',').any(|o| o == absent), "{absent} in {}", line[3]);
    }
    rig.finish();
}

#[test]
fn the_mount_helper_takes_what_mount_gives_it() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let helper = named(&rig, "mount.replfs");
    let (src, mnt) = (rig.src(), rig.mnt());
    let words = |flags: &[&str], options: String| {
        let mut command = Command::new(&helper);
        command.arg(&src).arg(&mnt).args(flags).args(["-o", &options]);
        command
    };
    run(&mut words(&["-f"], options(&rig, ""))).ok();
    assert!(mounts(&mnt).is_none() && !rig.replica().exists(), "fake checks only");
    run(&mut words(&[], options(&rig, ",surprise=1"))).expect(1);
    run(&mut words(&[], options(&rig, ",target=/somewhere/else"))).expect(1);
    run(&mut words(&["-f"], options(&rig, ",surprise"))).expect(1);
    assert!(mounts(&mnt).is_none());
    let accepted = ",rw,_netdev,nofail,noauto,defaults,x-systemd.automount,backlog=64MiB,degrade-after=3s,nodev,nosuid";
    let mut command = words(&["-n", "-s", "-v", "-t", "fuse.replfs"], options(&rig, accepted));
    rig.mounted(&mut command).ok();
    let line = mounts(&mnt).unwrap();
    assert!(line[3].contains("nodev") && line[3].contains("nosuid"), "{}", line[3]);
    let memory = &rig.status().journal[0];
    assert_eq!((memory.kind.as_str(), memory.limit_bytes), ("memory", 64 << 20));
    fs::write(mnt.join("file"), "x").unwrap();
    rig.finish();
}

// claim: A28
#[test]
fn ro_and_noexec_are_honoured() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let helper = named(&rig, "mount.replfs");
    fs::write(rig.src().join("script"), "#!/bin/sh\necho ran\n").unwrap();
    shell(&rig.src(), "chmod +x script");
    let mut command = Command::new(&helper);
    command.arg(rig.src()).arg(rig.mnt()).args(["-o", &options(&rig, ",ro,noexec,noatime")]);
    rig.mounted(&mut command).ok();
    let error = fs::write(rig.mnt().join("file"), "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    let error = Command::new(rig.mnt().join("script")).stdout(Stdio::null()).spawn().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    rig.finish();
}

#[test]
fn mount_and_an_fstab_line_find_the_helper() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let helpers = rig.home().join("helpers");
    fs::create_dir(&helpers).unwrap();
    std::os::unix::fs::symlink(binary::path(), helpers.join("mount.replfs")).unwrap();
    let (src, mnt) = (rig.src(), rig.mnt());
    let line = format!("{} {} replfs {} 0 0\n", src.display(), mnt.display(), options(&rig, ",nofail"));
    fs::write(rig.home().join("fstab"), line).unwrap();
    // In a mount namespace of its own, where /sbin has the helper and nothing else is changed for this machine.
    for mount in [
        format!("mount -t replfs {} {} -o {}", src.display(), mnt.display(), options(&rig, "")),
        format!("mount -T fstab {}", mnt.display()),
    ] {
        let script = format!(
            "mount --bind helpers $(readlink -f /sbin); {mount}; grep -q '^{} {} fuse.replfs ' /proc/mounts; date +%N > mnt/file; umount mnt",
            src.display(),
            mnt.display()
        );
        tool(rig.home(), "unshare", ["-m", "bash", "-c", &format!("set -e; {script}")]);
        until("the daemon to drain and end", PATIENCE, || rig.try_status().is_none().then_some(()));
        rig.assert_replica_equals(&src);
    }
    rig.mount();
    rig.finish();
}

#[test]
fn in_front_it_ends_with_0_on_sigterm() {
    let rig = Rig::prepare(Commit::Sync, Setup::default());
    let mut child = Command::new(binary::path())
        .arg("mount")
        .args(rig.mount_words())
        .arg("--foreground")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = rig.wait_status("the mount", |s| s.target().state == "connected");
    assert_eq!(status.pid, child.id());
    fs::write(rig.mnt().join("file"), "x").unwrap();
    replfs_tests::rig::watchdog::kill(child.id(), Signal::TERM);
    assert!(child.wait().unwrap().success());
    rig.assert_replica_equals(&rig.src());
}

// claim: A27
#[test]
fn submounts_are_not_crossed_and_the_status_says_so() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let sub = rig.src().join("sub");
    fs::create_dir(&sub).unwrap();
    rig.mount_other("tmpfs", "size=1m", &sub);
    fs::write(sub.join("inside"), "of another file system").unwrap();
    fs::write(rig.src().join("outside"), "x").unwrap();
    rig.mount();
    rig.settle();
    assert_eq!(rig.status().submounts, [sub.to_string_lossy()]);
    assert!(rig.replfs("status", &[]).ok().contains("sub"));
    assert!(rig.replica().join("outside").exists());
    assert!(!rig.replica().join("sub/inside").exists());
    assert_eq!(fs::read_dir(rig.mnt().join("sub")).unwrap().count(), 0, "the directory below the other mount");
    rig.unmount();
}

#[test]
fn status_shows_both_sides_for_people_and_programs() {
    let rig = Rig::start(Commit::Sync);
    fs::write(rig.mnt().join("file"), "x").unwrap();
    rig.settle();
    let status = rig.status();
    assert_eq!(
        (status.source.as_str(), status.mountpoint.as_str()),
        (&*rig.src().to_string_lossy(), &*rig.mnt().to_string_lossy())
    );
    assert_eq!(status.commit, "sync");
    assert!(status.operations.values().sum::<u64>() >= 2, "{:?}", status.operations);
    let target = status.target();
    assert_eq!((target.applied, target.lag.bytes), (status.sequence, 0), "{status:?}");
    assert!(target.durable <= target.applied);
    for which in [NAME.to_owned(), rig.mnt().to_string_lossy().into_owned()] {
        let human = rig.replfs("status", &[&which]);
        assert!(human.ok().contains("connected") && human.stdout.contains("coherent"), "{}", human.stdout);
    }
    let outcome =
        binary::replfs(["status".as_ref(), "--json".as_ref(), "--state".as_ref(), rig.target_state().as_os_str()]);
    let document: status::Document = serde_json::from_str(outcome.ok()).unwrap();
    assert_eq!(document.targets.len(), 1, "{}", outcome.stdout);
    rig.finish();
}

#[test]
fn sync_returns_when_everything_before_it_is_durable() {
    let rig = Rig::with(Commit::Real, Setup::default());
    rig.settle();
    for round in 0..5 {
        for n in 0..20 {
            fs::write(rig.mnt().join(format!("file{n}")), vec![round; 50_000]).unwrap();
        }
        let before = rig.status().sequence;
        rig.replfs("sync", &[NAME, "--timeout", "60s"]).ok();
        let durable = rig.status().target().durable;
        assert!(durable >= before, "number {before} was given out, {durable} is durable");
    }
    rig.finish();
}

#[test]
fn a_key_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::prepare(Commit::Sync, Setup::default());
    let state = rig.source_state();
    assert_eq!(rig.key(&state), rig.key(&state));
    assert_ne!(rig.key(&state), rig.target_key());
    let mode = fs::metadata(state.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "key.pem is for its owner only: {mode:o}");
    let json = rig.replfs("key", &["--json"]);
    let value: serde_json::Value = serde_json::from_str(json.ok()).unwrap();
    assert!(value.to_string().contains(&rig.key(&state)));
}

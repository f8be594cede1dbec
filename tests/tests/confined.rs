//! A target is confined to ROOT and its state (T8, I6): what that consists of, that everything is replicated all the same, and what is said where the
//! system cannot. What gets out of it is tried in platform/tests/cage.rs, what a hostile source tries in target/tests/hostile.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{run, shell};
use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, Rig, Setup, Target, binary};
use replfs_tests::user::{USER, as_user, his_own};
use replfs_tests::{extents, tree, wait};
use rustix::fs::{CWD, FallocateFlags, RenameFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MODE: Commit = Commit::Sync;

/// Capabilities by their numbers: chown, `dac_override`, fowner, fsetid, `sys_admin`, mknod, setfcap.
const KEPT: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 21 | 1 << 27 | 1 << 31;

/// What the kernel says of each thread of a process.
fn threads(pid: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let said = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    said.map(|text| text.lines().filter_map(|line| line.split_once(":\t")).map(|(k, v)| (k.into(), v.into())).collect())
        .collect()
}

/// Every thread of a process is caged, and has just these capabilities.
#[track_caller]
fn assert_caged(pid: u32, kept: u64, bounding: Option<u64>) {
    let threads = threads(pid);
    assert!(threads.len() > 1, "{} threads", threads.len());
    for thread in threads {
        let caps = |name: &str| u64::from_str_radix(thread[name].trim(), 16).unwrap();
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"), "{thread:?}");
        assert_eq!([caps("CapPrm"), caps("CapEff")], [kept; 2], "{thread:?}");
        assert_eq!([caps("CapInh"), caps("CapAmb")], [0; 2], "{thread:?}");
        assert_eq!(bounding.unwrap_or(caps("CapBnd")), caps("CapBnd"), "{thread:?}");
    }
}

fn confined(state: &Path) -> Value {
    let words = ["status".as_ref(), "--json".as_ref(), "--state".as_ref(), state.as_os_str()];
    let document: Value = serde_json::from_str(binary::replfs(words).ok()).unwrap();
    document.pointer("/targets/0/confined").unwrap_or_else(|| panic!("not in {document}")).clone()
}

fn status_line(state: &Path) -> String {
    let outcome = binary::replfs(["status".as_ref(), "--state".as_ref(), state.as_os_str()]);
    let line = outcome.ok().lines().find(|line| line.trim_start().starts_with("confined:")).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{outcome:?}"))
}

// claim: A204, A205
#[test]
fn a_target_is_confined_and_says_by_what() {
    let rig = Rig::start(MODE);
    fs::write(rig.mnt().join("file"), "content").unwrap();
    rig.assert_equal();
    let pid = rig.target_pid();
    assert_caged(pid, KEPT, Some(KEPT));
    let confined = confined(&rig.target_state());
    assert_eq!(confined["namespace"], Value::Bool(true), "{confined}");
    assert_eq!(confined["seccomp"], Value::Bool(true), "{confined}");
    assert!(confined["landlock"].as_u64().unwrap() >= 2, "{confined}");
    assert_eq!(confined["missing"], Value::Array(Vec::new()), "{confined}");
    assert_eq!(confined["capabilities"].as_array().unwrap().len(), 7, "{confined}");
    let line = status_line(&rig.target_state());
    assert!(line.contains("confined: namespace, landlock ") && line.ends_with(", seccomp, 7 capabilities"), "{line}");
    // All that it sees.
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let points: Vec<&str> = mounts.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
    let (root, state) = (rig.root(), rig.target_state());
    let own = |point: &str| {
        ["/", "/proc"].contains(&point) || [&root, &state].iter().any(|at| Path::new(point).starts_with(at))
    };
    assert!(points.iter().all(|point| own(point)), "{mounts}");
    let seen = format!("/proc/{pid}/root");
    assert!(!Path::new(&seen).join("etc").exists() && !Path::new(&seen).join("dev").exists());
    assert!(Path::new(&format!("{seen}{}", rig.replica().display())).join("file").exists());
    rig.finish();
}

/// Operations of every kind, on nodes of every kind.
fn everything(mnt: &Path) {
    let at = |name: &str| mnt.join(name);
    tree::oddities(&at("odd"));
    tree::holes(&at("holes"));
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/file"), vec![7; 300_000]).unwrap();
    let file = fs::File::options().read(true).write(true).open(at("dir/file")).unwrap();
    file.write_all_at(b"in the middle", 100_000).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 8192, 65536).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 300_000, 65536).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 200_000, 4096).unwrap();
    let copy = fs::File::create(at("dir/copy")).unwrap();
    let (mut from, mut to) = (0, 4096);
    rustix::fs::copy_file_range(&file, Some(&mut from), &copy, Some(&mut to), 100_000).unwrap();
    file.set_len(250_000).unwrap();
    file.sync_all().unwrap();
    fs::hard_link(at("dir/file"), at("linked")).unwrap();
    symlink("/etc/passwd", at("dir/symlink")).unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::rename(at("dir/copy"), at("other/moved")).unwrap();
    rustix::fs::renameat_with(CWD, at("dir"), CWD, at("other"), RenameFlags::EXCHANGE).unwrap();
    fs::rename(at("dir/moved"), at("other/file")).unwrap();
    tree::fifo(&at("fifo"));
    tree::device(&at("null"), 1, 3);
    shell(mnt, "mknod block b 7 99; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")' || true");
    shell(mnt, "touch owned; chown 1234:5678 owned; chmod 6755 owned; chown -h 7:8 other/symlink");
    shell(mnt, "mkdir closed; touch closed/in; chown -R 1234:1234 closed; chmod 000 closed/in closed");
    shell(
        mnt,
        "setfattr -n user.a -v b owned; setfattr -n trusted.a -v b owned; setfattr -n security.a -v b other/symlink",
    );
    shell(
        mnt,
        "cp /bin/true ping; setcap cap_net_raw+ep ping || true; setfacl -m u:1:rx,d:u:2:rwx other; touch -d @1 owned",
    );
    shell(
        mnt,
        "echo x > gone; exec 3>>gone; rm gone; echo still >&3; mkdir empty; rmdir empty; setfattr -x user.a owned",
    );
    fs::set_permissions(at("other/file"), fs::Permissions::from_mode(0o400)).unwrap();
}

// claim: A206
#[test]
fn everything_is_replicated_by_a_confined_target() {
    let setup = Setup { target: vec!["--cage".into(), "require".into()], paired: true, ..Setup::default() };
    let mut rig = Rig::prepare(MODE, setup.option(&["--lanes", "4"]));
    tree::sources(&rig.src(), 100);
    fs::create_dir(rig.src().join("odd")).unwrap();
    fs::create_dir(rig.src().join("holes")).unwrap();
    // Over lanes.
    fs::write(rig.src().join("big"), vec![3; 20 << 20]).unwrap();
    rig.mount();
    rig.assert_equal();
    everything(&rig.mnt());
    rig.assert_equal();
    let load = Load::start(&rig.mnt(), 4, 1);
    load.wait_for(300);
    rig.kill_target();
    load.wait_for(load.done() + 100);
    rig.start_target();
    load.wait_for(load.done() + 300);
    load.stop_clean();
    rig.assert_equal();
    // What somebody changed on the target is found and mended: it is set aside, and read by lanes and questions.
    fs::write(rig.replica().join("big"), "not this").unwrap();
    fs::create_dir(rig.replica().join("stranger")).unwrap();
    rig.replfs("mirror", &[&rig.mnt().to_string_lossy(), "--wait"]);
    rig.replfs("verify", &[&rig.mnt().to_string_lossy(), "--repair"]);
    wait::until("it to be mended", Duration::from_secs(60), || {
        let whole = fs::metadata(rig.replica().join("big")).is_ok_and(|meta| meta.len() == 20 << 20);
        (whole && !rig.replica().join("stranger").exists()).then_some(())
    });
    assert!(extents::wait_for_disk(&rig.replica().join("big")).is_ok());
    assert_caged(rig.target_pid(), KEPT, Some(KEPT));
    rig.finish();
}

// claim: A207
#[test]
fn an_ordinary_users_target_is_confined_too() {
    his_own(
        MODE,
        |src| fs::write(src.join("file"), "his").unwrap(),
        |rig| {
            let mnt = rig.mnt();
            as_user(USER, &[], || fs::rename(mnt.join("file"), mnt.join("renamed")).unwrap());
            rig.assert_equal();
            assert_caged(rig.target_pid(), 0, None);
            let confined = confined(&rig.target_state());
            assert!(confined["landlock"].as_u64().is_some() && confined["seccomp"] == Value::Bool(true), "{confined}");
            assert_eq!(confined["capabilities"], Value::Array(Vec::new()), "{confined}");
            assert_eq!(confined["missing"], Value::Array(Vec::new()), "{confined}");
            let line = status_line(&rig.target_state());
            assert!(line.ends_with(", seccomp, no capabilities"), "{line}");
            rig.finish();
        },
    );
}

/// A target of its own, beside that of the rig.
fn another(rig: &Rig, program: Command, more: &[&str]) -> Target {
    let (root, state) = (rig.home().join("root2"), rig.home().join("state2"));
    let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
    let target = Target::start(program, &root, &state, Some(&rig.key(&rig.source_state())), "127.0.0.1:0", &more);
    rig.watch(target.pid());
    target
}

/// As root, but without what a mount namespace takes: as in many containers.
fn contained() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"]).arg(binary::path());
    command
}

// claim: A208
#[test]
fn where_it_cannot_be_confined_as_a_whole_that_is_said_or_refused() {
    let rig = Rig::prepare(MODE, Setup::default());
    let state = rig.home().join("state2");
    let target = another(&rig, contained(), &[]);
    let said = confined(&state);
    assert_eq!(said["namespace"], Value::Bool(false), "{said}");
    assert!(said["missing"][0].as_str().unwrap().starts_with("namespace: "), "{said}");
    assert!(said["landlock"].as_u64().is_some() && said["seccomp"] == Value::Bool(true), "{said}");
    assert_caged(target.pid(), KEPT & !(1 << 21), Some(KEPT & !(1 << 21)));
    assert!(status_line(&state).contains("; namespace: "), "{}", status_line(&state));
    target.kill();
    let mut command = contained();
    command.args(["target", "--allow", &rig.key(&rig.source_state()), "--listen", "127.0.0.1:0", "--cage", "require"]);
    command.arg("--root").arg(rig.home().join("root2")).arg("--state").arg(&state);
    let outcome = run(&mut command);
    outcome.expect(60);
    assert!(outcome.stderr.contains("--cage require") && outcome.stderr.contains("namespace: "), "{}", outcome.stderr);
}

// claim: A208
#[test]
fn it_can_be_switched_off() {
    let rig = Rig::prepare(MODE, Setup::default());
    let target = another(&rig, Command::new(binary::path()), &["--cage", "off"]);
    let state = rig.home().join("state2");
    assert!(threads(target.pid()).iter().all(|thread| thread["Seccomp"] == "0"));
    assert!(status_line(&state).ends_with("confined: no; switched off (--cage off)"), "{}", status_line(&state));
    assert_eq!(confined(&state)["landlock"], Value::Null);
    target.kill();
}

#[test]
fn a_confined_target_listens_on_a_low_port_and_tells_systemd() {
    let rig = Rig::prepare(MODE, Setup::default());
    let heard = UnixDatagram::bind(rig.home().join("notify")).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = || {
        let mut buffer = [0; 256];
        let got = heard.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..got]).into_owned()
    };
    let mut low = (600..1024).filter(|port| std::net::UdpSocket::bind(("127.0.0.1", *port)).is_ok());
    let listen = format!("127.0.0.1:{}", low.next().unwrap());
    let (root, state) = (rig.home().join("root2"), rig.home().join("state2"));
    let mut program = Command::new(binary::path());
    program.env("NOTIFY_SOCKET", rig.home().join("notify"));
    let target = Target::start(program, &root, &state, Some(&rig.key(&rig.source_state())), &listen, &[]);
    rig.watch(target.pid());
    assert_eq!(target.address.to_string(), listen);
    assert_caged(target.pid(), KEPT, Some(KEPT));
    assert_eq!(hear(), format!("READY=1\nMAINPID={}", target.pid()));
    kill_process(Pid::from_raw(target.pid().cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(hear(), "STOPPING=1");
    let mut target = target;
    wait::until("its end", Duration::from_secs(30), || target.died_of());
    let left: Vec<_> = fs::read_dir(state.join("run/targets")).unwrap().collect();
    assert!(left.is_empty(), "the socket is removed: {left:?}");
}

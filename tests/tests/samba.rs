//! The mount is served on through Samba: what its clients do arrives on the target, and while a file is still open (F4).
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{Outcome, run, tool};
use replfs_tests::rig::watchdog::{is_running, kill};
use replfs_tests::rig::{Commit, Rig};
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

in_both_modes!(
    what_an_smb_client_does_is_replicated,
    a_file_written_through_smb_is_replicated_while_it_is_open,
    two_smb_clients_at_once_are_replicated,
);

/// Clients are guests, and guests are nobody.
const NOBODY: u32 = 65534;

/// A server of one share in the mount, with everything it keeps in the rig's directory. Dropping it ends it.
struct Samba {
    child: Child,
    port: u16,
    config: PathBuf,
    /// What is shared.
    share: PathBuf,
}

impl Samba {
    /// Serves a new directory of the mount.
    fn start(rig: &Rig) -> Self {
        let share = rig.mnt().join("share");
        fs::create_dir(&share).unwrap();
        chown(&share, Some(NOBODY), Some(NOBODY)).unwrap();
        let home = rig.home().join("samba");
        for dir in ["lock", "state", "cache", "private", "pid", "ncalrpc"] {
            fs::create_dir_all(home.join(dir)).unwrap();
        }
        // Free now; nobody else on this machine takes ports in order.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = home.join("smb.conf");
        fs::write(&config, configuration(&home, &share, port)).unwrap();
        let child = Command::new("smbd")
            .args(["--foreground", "--configfile"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(fs::File::create(home.join("out")).unwrap())
            .stderr(fs::File::create(home.join("err")).unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("smbd: {e}; `cargo xtask test` installs what the tests need"));
        rig.watch(child.id());
        let samba = Self { child, port, config, share };
        until("smbd to listen", PATIENCE, || {
            assert!(is_running(samba.child.id()), "smbd ended: {}", fs::read_to_string(home.join("log")).unwrap());
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
        });
        samba
    }

    /// A client that runs these commands of smbclient in a directory.
    fn client(&self, dir: &Path, commands: &str) -> Command {
        let mut command = Command::new("smbclient");
        command.args(["//127.0.0.1/share", "--no-pass", "--port", &self.port.to_string(), "--configfile"]);
        command.arg(&self.config).args(["--command", commands]).current_dir(dir);
        command
    }

    #[track_caller]
    fn run(&self, dir: &Path, commands: &str) -> Outcome {
        let outcome = run(&mut self.client(dir, commands));
        // smbclient ends with 0 when a command in the middle fails.
        assert!(!outcome.stdout.contains("NT_STATUS") && !outcome.stderr.contains("NT_STATUS"), "{outcome:?}");
        outcome.ok();
        outcome
    }

    /// Processes of this server: it starts some for its own purposes and one for each client.
    fn processes(&self) -> Vec<u32> {
        let config = self.config.to_string_lossy();
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"smbd") && String::from_utf8_lossy(&line).contains(&*config)
        })
        .collect()
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        for pid in self.processes() {
            kill(pid, Signal::KILL);
        }
        let _ = self.child.wait();
        until("all of smbd to end", PATIENCE, || self.processes().is_empty().then_some(()));
    }
}

fn configuration(home: &Path, share: &Path, port: u16) -> String {
    let (home, share) = (home.display(), share.display());
    format!(
        "[global]
        server role = standalone server
        interfaces = 127.0.0.1
        bind interfaces only = yes
        smb ports = {port}
        disable netbios = yes
        map to guest = Bad User
        guest account = nobody
        rpc start on demand helpers = no
        load printers = no
        disable spoolss = yes
        lock directory = {home}/lock
        state directory = {home}/state
        cache directory = {home}/cache
        private dir = {home}/private
        pid directory = {home}/pid
        ncalrpc dir = {home}/ncalrpc
        log file = {home}/log
        max log size = 0
        [share]
        path = {share}
        guest ok = yes
        read only = no
        "
    )
}

// claim: A94
fn what_an_smb_client_does_is_replicated(commit: Commit) {
    let rig = Rig::start(commit);
    let samba = Samba::start(&rig);
    let made = rig.home().join("made");
    tree::sources(&made.join("tree"), 150);
    // Without its Unix extensions SMB has no symbolic links.
    tool(&made, "find", [".", "-type", "l", "-delete"]);
    fs::write(made.join("large"), Random::new(3).bytes(9_000_001)).unwrap();
    samba.run(&made, "recurse; prompt; mput tree; put large; mkdir dir; cd dir; put large second; cd ..; ls");
    assert_eq!(tool(&samba.share, "diff", ["-r", "tree", &made.join("tree").to_string_lossy()]), "");
    let owner = samba.share.join("dir/second").metadata().unwrap().uid();
    assert_eq!(owner, NOBODY, "what a guest makes is nobody's");
    rig.assert_equal();

    samba.run(
        &made,
        "rename large dir/large; rename dir moved; mkdir new; rename moved/second new/second; del moved/large
         deltree tree/package000; setmode new/second +r; setmode new/second -r; mkdir empty; rmdir empty; allinfo new/second"
            .replace('\n', ";")
            .as_str(),
    );
    assert!(!samba.share.join("tree/package000").exists() && !samba.share.join("empty").exists());
    // What local programs write meanwhile is what clients read.
    fs::write(samba.share.join("local"), Random::new(4).bytes(3_000_000)).unwrap();
    fs::set_permissions(samba.share.join("local"), fs::Permissions::from_mode(0o644)).unwrap();
    let got = rig.home().join("got");
    fs::create_dir(&got).unwrap();
    samba.run(&got, "recurse; prompt; mget *");
    assert_eq!(tool(&samba.share, "diff", ["-r", ".", &got.to_string_lossy()]), "");
    drop(samba);
    rig.finish();
}

// claim: A94
fn a_file_written_through_smb_is_replicated_while_it_is_open(commit: Commit) {
    let rig = Rig::start(commit);
    let samba = Samba::start(&rig);
    let mut client = samba.client(rig.home(), "put - growing");
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    let data = Random::new(5).bytes(40 << 20);
    let replica = rig.replica().join("share/growing");
    let arrived = || fs::metadata(&replica).map_or(0, |meta| meta.len());
    let (first, second) = data.split_at(data.len() / 2);
    input.write_all(first).unwrap();
    until("the replica to have a part", PATIENCE, || (arrived() >= 8 << 20).then_some(()));
    // The client waits for the rest, with the file open.
    assert!(client.try_wait().unwrap().is_none());
    assert!(arrived() <= first.len() as u64);
    input.write_all(second).unwrap();
    drop(input);
    assert!(client.wait().unwrap().success());
    assert!(fs::read(samba.share.join("growing")).unwrap() == data, "what arrived is what was sent");
    drop(samba);
    rig.finish();
}

// claim: A94
fn two_smb_clients_at_once_are_replicated(commit: Commit) {
    let rig = Rig::start(commit);
    let samba = Samba::start(&rig);
    let sent = ["one", "two"].map(|name| {
        let dir = rig.home().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), name.repeat(300_000)).unwrap();
        dir
    });
    samba.run(&sent[0], "mkdir common");
    let work = &|which: usize| {
        let mut commands = format!("mkdir own{which}");
        for n in 0..40 {
            let step = format!(
                ";put file own{which}/f{n};rename own{which}/f{n} common/{which}-{n};put file common/both;get common/both got;\
                 put file own{which}/gone;del own{which}/gone"
            );
            commands.push_str(&step);
        }
        samba.run(&sent[which], &commands);
    };
    std::thread::scope(|scope| {
        for which in [0, 1] {
            scope.spawn(move || work(which));
        }
    });
    let common: Vec<_> = fs::read_dir(samba.share.join("common")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(common.len(), 2 * 40 + 1, "{common:?}");
    drop(samba);
    rig.finish();
}

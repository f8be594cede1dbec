//! Without a target, and while it is silent.

use super::{TIMEOUT, TOGETHER, linked, mode, refused, target_back};
use replfs_tests::mapping::Mapping;
use replfs_tests::rig::Rig;
use replfs_tests::rig::status::Source;
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

// claim: A178
#[test]
fn without_a_target_nothing_changes_and_it_goes_on_by_itself() {
    let mut rig = linked(TIMEOUT);
    fs::write(rig.mnt().join("file"), b"content").unwrap();
    let before = rig.status().target().reconnects;
    rig.kill_target();
    let start = Instant::now();
    refused(fs::write(rig.mnt().join("new"), b"x"), Errno::IO);
    assert!(start.elapsed() < TOGETHER, "it took {:?}", start.elapsed());
    rig.wait_status("the link to be known as down", |status| status.target().state == "accumulating");
    let start = Instant::now();
    refused(fs::write(rig.mnt().join("file"), b"other"), Errno::IO);
    refused(fs::rename(rig.mnt().join("file"), rig.mnt().join("moved")), Errno::IO);
    let file = File::open(rig.mnt().join("file")).unwrap();
    refused(file.sync_all(), Errno::IO);
    assert!(start.elapsed() < Duration::from_secs(1), "with the link down at once, but it took {:?}", start.elapsed());
    assert_eq!(fs::read(rig.src().join("file")).unwrap(), b"content");
    assert_eq!(fs::read_dir(rig.src()).unwrap().count(), 1);
    assert!(rig.replfs("status", &[]).ok().contains("refused: nothing is changed"));
    drop(file);
    target_back(&mut rig, before);
    fs::write(rig.mnt().join("new"), b"x").unwrap();
    rig.assert_replica_equals(&rig.src());
    rig.finish();
}

// claim: A178
#[test]
fn all_that_waits_fails_together_and_is_told_to_be_undecided() {
    let rig = linked(TIMEOUT);
    let files: Vec<File> = (0..6).map(|n| File::create(rig.mnt().join(format!("file{n}"))).unwrap()).collect();
    rig.settle();
    rig.link().cut();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| refused(file.write_all_at(b"x", 0), Errno::IO));
        }
    });
    assert!(start.elapsed() < TOGETHER, "six writers waited {:?} together", start.elapsed());
    let status = rig.status();
    assert!(!status.target().undecided.is_empty() && status.target().degraded, "{status:?}");
    assert!(rig.replfs("status", &[]).ok().contains("unknown until reconnection, and then put back: file"));
    rig.link().mend();
    rig.assert_equal();
    assert!(rig.status().target().undecided.is_empty());
    assert!(files.iter().all(|file| file.metadata().unwrap().len() == 0));
    drop(files);
    rig.finish();
}

/// Has the target do something whose verdict never arrives.
fn done_and_not_heard(rig: &Rig, operation: impl FnOnce() -> io::Result<()> + Send, there: impl Fn() -> bool) {
    rig.settle();
    rig.link().deafen();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(operation);
        until("the target to have done it", PATIENCE, || there().then_some(()));
        refused(waiting.join().unwrap(), Errno::IO);
    });
}

// claim: A178
#[test]
fn what_the_target_did_unheard_is_put_back_when_it_is_connected_again() {
    let rig = linked(TIMEOUT);
    let content = Random::new(3).bytes(2 << 20);
    fs::write(rig.mnt().join("file"), &content).unwrap();
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    fs::write(rig.mnt().join("dir/big"), Random::new(5).bytes(5 << 20)).unwrap();
    let (mnt, replica) = (rig.mnt(), rig.replica());
    done_and_not_heard(&rig, || fs::create_dir(mnt.join("new")), || replica.join("new").exists());
    assert_eq!(rig.status().target().undecided, ["new"]);
    rig.link().mend();
    rig.assert_equal();
    assert!(!replica.join("new").exists());
    done_and_not_heard(&rig, || fs::remove_file(mnt.join("file")), || !replica.join("file").exists());
    rig.link().mend();
    rig.assert_equal();
    assert_eq!(fs::read(replica.join("file")).unwrap(), content);
    let before = rig.link().bytes_there();
    done_and_not_heard(&rig, || fs::rename(mnt.join("dir"), mnt.join("moved")), || replica.join("moved").exists());
    rig.link().mend();
    rig.assert_equal();
    let sent = rig.link().bytes_there() - before;
    assert!(sent < 2 << 20, "{sent} bytes travelled for a directory that was only to move back");
    let file = File::options().write(true).open(mnt.join("file")).unwrap();
    let there = || fs::read(replica.join("file")).unwrap()[100..103] == *b"new";
    done_and_not_heard(&rig, || file.write_all_at(b"new", 100), there);
    rig.link().mend();
    rig.assert_equal();
    assert_eq!(fs::read(replica.join("file")).unwrap(), content);
    let aside = fs::read_dir(rig.root().join(".replfs/tree/aside")).map_or(0, Iterator::count);
    assert_eq!(aside, 0, "what was put back is not set aside");
    let exchange = || {
        rustix::fs::renameat_with(CWD, mnt.join("file"), CWD, mnt.join("dir"), RenameFlags::EXCHANGE)
            .map_err(io::Error::from)
    };
    done_and_not_heard(&rig, exchange, || replica.join("dir").is_file());
    rig.link().mend();
    drop(file);
    rig.finish();
}

// claim: A178
#[test]
fn commands_work_while_calls_wait() {
    let rig = linked("60s");
    fs::write(rig.mnt().join("file"), b"content").unwrap();
    rig.settle();
    rig.link().delay(Duration::from_millis(1500));
    let mnt = rig.mnt();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fs::rename(mnt.join("file"), mnt.join("moved")));
        rig.wait_status("a call that waits", |status| status.target().lag.operations > 0);
        let start = Instant::now();
        assert!(rig.replfs("status", &[]).ok().contains("commit   remote"));
        mode(&rig, "real");
        assert!(start.elapsed() < TOGETHER, "the commands waited {:?}", start.elapsed());
        rig.link().delay(Duration::ZERO);
        waiting.join().unwrap().unwrap();
    });
    rig.finish();
}

// claim: A178
#[test]
fn an_unmount_does_not_wait_for_calls_that_do() {
    let mut rig = linked("60s");
    fs::write(rig.mnt().join("file"), b"content").unwrap();
    rig.settle();
    rig.link().cut();
    let (mnt, pid) = (rig.mnt(), rig.source_pid());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fs::rename(mnt.join("file"), mnt.join("moved")));
        rig.wait_status("a call that waits", |status| status.target().lag.operations > 0);
        let start = Instant::now();
        let outcome = rig.replfs("umount", &[mnt.to_str().unwrap(), "--lazy", "--timeout", "100ms"]);
        assert_eq!(outcome.code, 43, "{outcome:?}");
        assert!(start.elapsed() < TOGETHER, "it waited {:?}", start.elapsed());
        rig.link().mend();
        // Done, or refused because the connection was lost meanwhile.
        let _either = waiting.join().unwrap();
    });
    rig.wait_for_end(pid);
    rig.mount();
    rig.finish();
}

// claim: A178
#[test]
fn mapped_pages_are_written_back_without_waiting_and_synced_with_the_target() {
    let rig = linked(TIMEOUT);
    let file = File::options().read(true).write(true).create_new(true).open(rig.mnt().join("file")).unwrap();
    file.set_len(8192).unwrap();
    let mut mapping = Mapping::shared(&file, 8192).unwrap();
    mapping.bytes()[..5].copy_from_slice(b"first");
    mapping.sync().unwrap();
    assert_eq!(fs::read(rig.replica().join("file")).unwrap()[..5], *b"first");
    rig.settle();
    rig.link().cut();
    mapping.bytes()[..5].copy_from_slice(b"other");
    refused(mapping.sync(), Errno::IO);
    rig.link().mend();
    rig.wait_status("the target to be back", Source::is_settled);
    mapping.sync().unwrap();
    drop(mapping);
    drop(file);
    rig.finish();
}

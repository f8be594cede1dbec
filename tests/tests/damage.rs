//! A replica that somebody touched: what a live operation stumbles over is mended by itself, and only that (I4).
#![allow(clippy::unwrap_used)]

use replfs_tests::in_both_modes;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use std::fs;

/// The target keeps what it writes to open for a moment; what is removed then is still written to.
fn wait_until_closed(rig: &Rig) {
    let replica = rig.replica();
    until("the target to close the replica's files", PATIENCE, || {
        let open = fs::read_dir(format!("/proc/{}/fd", rig.target_pid())).unwrap();
        let mut paths = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        (!paths.any(|path| path.starts_with(&replica) && path != replica)).then_some(())
    });
}

in_both_modes!(what_is_missing_on_the_target_is_brought_again_and_nothing_else);

// claim: A111
fn what_is_missing_on_the_target_is_brought_again_and_nothing_else(commit: Commit) {
    let rig = Rig::with(commit, Setup::default());
    let (mnt, replica) = (rig.mnt(), rig.replica());
    fs::create_dir_all(mnt.join("dir/sub")).unwrap();
    fs::write(mnt.join("dir/file"), "content of a file").unwrap();
    fs::write(mnt.join("dir/sub/inner"), "inner").unwrap();
    fs::write(mnt.join("big"), vec![7; 8 << 20]).unwrap();
    rig.settle();
    let before = rig.status();
    // A file that is written, one that is moved, a directory that something is made in.
    wait_until_closed(&rig);
    fs::remove_file(replica.join("dir/file")).unwrap();
    fs::write(mnt.join("dir/file"), "written").unwrap();
    rig.assert_equal();
    wait_until_closed(&rig);
    fs::remove_file(replica.join("dir/file")).unwrap();
    fs::rename(mnt.join("dir/file"), mnt.join("dir/moved")).unwrap();
    rig.assert_equal();
    wait_until_closed(&rig);
    fs::remove_dir_all(replica.join("dir/sub")).unwrap();
    fs::write(mnt.join("dir/sub/new"), "new").unwrap();
    rig.assert_equal();
    let after = rig.status();
    assert_eq!(after.target().reconnects, before.target().reconnects, "{after:?}");
    assert!(after.target().passes > before.target().passes);
    let sent = after.target().sent_bytes - before.target().sent_bytes;
    assert!(sent < 1 << 20, "{sent} bytes: everything was compared or sent again");
    rig.finish();
}

//! What a target cannot, or may not, put in force is kept, told to the source, and restored (T5, T8).
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{Outcome, shell};
use replfs_tests::compare::{self, Class};
use replfs_tests::model::agree;
use replfs_tests::model::op::{Step, fixture};
use replfs_tests::model::search;
use replfs_tests::model::side::Side;
use replfs_tests::model::strategy;
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::user::USER;
use replfs_tests::{in_both_modes, tree};
use rustix::fs::XattrFlags;
use serde_json::Value;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

in_both_modes!(
    an_unprivileged_target_keeps_what_it_cannot_set,
    neither_setuid_nor_devices_are_in_force_where_they_are_not_wanted,
);

/// Exit code of a verification that finds something.
const DIFFERS: i32 = 47;
const SEQUENCES: u64 = 25;
const NOTHING_IN_FORCE: [&str; 2] = ["--devices=refuse", "--setuid=strip"];

fn unprivileged() -> Setup {
    Setup { target_user: Some(USER), ..Setup::default() }
}

fn cautious() -> Setup {
    Setup::default().target_option(&NOTHING_IN_FORCE)
}

/// Restores the replica as root.
fn restored(rig: &Rig, to: &str) -> PathBuf {
    let to = rig.home().join(to);
    let (from, key) = (rig.target_argument(), rig.target_key().to_owned());
    let words = ["--from", &from, "--name", NAME, "--target-key", &key, "--to", to.to_str().unwrap()];
    rig.replfs("restore", &words).ok();
    to
}

/// The restored tree is SRC; of symbolic links an unprivileged target has owners and attributes as it can set them.
#[track_caller]
fn assert_comes_back(rig: &Rig, to: &str, links_are_exact: bool) {
    rig.settle();
    let to = restored(rig, to);
    let report = compare::trees(&rig.src(), &to).unwrap();
    let link =
        |path: &[u8]| fs::symlink_metadata(rig.src().join(std::ffi::OsStr::from_bytes(path))).unwrap().is_symlink();
    let differences: Vec<_> = report
        .differences
        .iter()
        .filter(|d| links_are_exact || !(matches!(d.class, Class::Owner | Class::Xattr) && link(&d.path)))
        .collect();
    assert!(differences.is_empty(), "SRC against what was restored: {differences:#?}");
    fs::remove_dir_all(to).unwrap();
}

fn verify(rig: &Rig) -> Outcome {
    rig.replfs("verify", &[rig.mnt().to_str().unwrap()])
}

/// Nothing differs but what symbolic links cannot keep.
#[track_caller]
fn assert_verified(rig: &Rig, links_are_exact: bool) {
    let outcome = verify(rig);
    let link = |line: &&str| {
        let path = line.strip_prefix("attributes ").unwrap_or("");
        !links_are_exact && fs::symlink_metadata(rig.src().join(path)).is_ok_and(|meta| meta.is_symlink())
    };
    let others: Vec<_> = outcome.stdout.lines().filter(|line| !link(line)).collect();
    assert!(others.is_empty() && [0, DIFFERS].contains(&outcome.code), "{others:#?}\n{outcome:?}");
}

/// A comparison of everything sends nothing; or next to nothing where what is kept takes blocks of its own: then sparse files are compared by content.
#[track_caller]
fn assert_compared_in_silence(rig: &mut Rig, exact: bool) {
    rig.settle();
    rig.unmount();
    rig.mount();
    rig.settle();
    let target = rig.status().target().clone();
    assert_eq!(target.passes, 1, "everything was compared: {target:?}");
    let most = if exact { 0 } else { 64 << 10 };
    assert!(target.pass.sent_bytes <= most, "sent by a comparison of what is the same: {:?}", target.pass);
}

/// The replica's status on the target.
fn replica(rig: &Rig) -> Value {
    let state = rig.target_state();
    let outcome = replfs_tests::command::run(rig.program().args(["status", "--json", "--state"]).arg(state));
    let document: Value = serde_json::from_str(outcome.ok()).unwrap();
    document["targets"][0]["sources"][0].clone()
}

/// Random sequences of operations in the mount, by several users.
fn sequences(rig: &Rig, check: impl Fn(&Path) -> Result<(), String>) {
    let mut number = 0;
    let show = |steps: &Vec<Step>| steps.iter().map(|step| format!("{step:?}")).collect();
    search::assert_none(
        &strategy::sequence(60, false),
        SEQUENCES,
        |steps| {
            number += 1;
            let (model, mount) = (rig.home().join(format!("model{number}")), rig.mnt().join(format!("case{number}")));
            for dir in [&model, &mount] {
                fs::create_dir(dir).unwrap();
                fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
            }
            // They take other working directories and umasks.
            std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        let open = |root: &Path| Side::new(root).map_err(|errno| format!("cannot open: {errno}"));
                        let (mut one, mut other) = (open(&model)?, open(&mount)?);
                        agree::outcomes(&[&fixture()[..], steps].concat(), &mut one, &mut other)
                    })
                    .join()
                    .unwrap()
            })?;
            check(&mount)
        },
        show,
    );
}

// claim: A212
fn an_unprivileged_target_keeps_what_it_cannot_set(commit: Commit) {
    let mut rig = Rig::with(commit, unprivileged());
    tree::oddities(&rig.mnt().join("odd"));
    closed(&rig.mnt());
    rig.settle();
    assert_verified(&rig, false);
    assert_comes_back(&rig, "first", false);
    sequences(&rig, |_| Ok(()));
    rig.settle();
    assert_verified(&rig, false);
    assert_comes_back(&rig, "second", false);
    assert_compared_in_silence(&mut rig, false);
    let kept = replica(&rig)["kept"].clone();
    assert!(["owners", "devices", "attributes"].iter().all(|what| kept[what].as_u64().unwrap() > 0), "{kept}");
    // Nothing of it is in force on the target's disk.
    each(&rig.replica(), &mut |path, meta| {
        assert_eq!(meta.uid(), USER, "{}", path.display());
        assert!(meta.is_dir() || meta.mode() & 0o4000 == 0, "setuid of another owner's: {}", path.display());
    });
    rig.unmount();
}

/// Directories and files that their own owner cannot get at; root can.
fn closed(dir: &Path) {
    shell(
        dir,
        "mkdir -p closed/inner; echo x > closed/inner/file; chown 5:6 closed; chmod 0 closed/inner/file closed/inner closed
         echo y > closed/inner/more; echo z >> closed/inner/file; mkdir -m 555 ro; echo a > ro/a; mv closed/inner/more ro/b; chmod 2070 ro
         echo acl > ro/acl; setfacl -m u:4242:rw,u::---,m::rwx ro/acl; setfacl -m u:4242:rwx,u::--- ro; echo w >> ro/acl; chmod 444 ro/a; setfattr -n user.a -v 1 ro/a
         setfattr -n trusted.a -v 2 ro/a; setfattr -n trusted.b -v 3 closed; setfattr -x trusted.a ro/a; setfattr -n trusted.c -v 4 ro/b",
    );
}

fn each(dir: &Path, look: &mut dyn FnMut(&Path, &fs::Metadata)) {
    look(dir, &fs::symlink_metadata(dir).unwrap());
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            each(&path, look);
        } else {
            look(&path, &meta);
        }
    }
}

/// No file on the target's disk has any power, replfs's own places included.
#[track_caller]
fn assert_harmless(root: &Path) {
    let mut powers = Vec::new();
    each(root, &mut |path, meta| {
        let kind = meta.file_type();
        let setid = kind.is_file() && meta.mode() & 0o6000 != 0;
        let capable = kind.is_file() && get(path, "security.capability").is_some();
        if setid || capable || kind.is_block_device() || kind.is_char_device() {
            powers.push(path.to_owned());
        }
    });
    assert!(powers.is_empty(), "setuid, capabilities or devices: {powers:?}");
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let len = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(len);
    Some(value)
}

/// Programs with power of each kind.
fn powerful(dir: &Path) {
    shell(
        dir,
        "cp /bin/true su; chmod 4755 su; cp su sg; chown 7:8 sg; chmod 6711 sg; cp su cap; chmod 755 cap; mknod disk b 8 0; chown 0:6 disk; chmod 660 disk
         mknod null c 1 3; ln null null2; mkdir -m 2775 group; chgrp 9 group; cp sg group/inner; chmod 2755 group/inner; setfattr -n trusted.twenty -v 12345678901234567890 disk; setfattr -n trusted.twenty -v 12345678901234567890 null",
    );
    let net_raw = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(dir.join("cap"), "security.capability", &net_raw, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(dir.join("su"), "security.capability", &net_raw, XattrFlags::empty()).unwrap();
}

// claim: A213
fn neither_setuid_nor_devices_are_in_force_where_they_are_not_wanted(commit: Commit) {
    let mut rig = Rig::with(commit, cautious());
    let mnt = rig.mnt();
    powerful(&mnt);
    tree::oddities(&mnt.join("odd"));
    rig.settle();
    assert_harmless(&rig.root());
    assert_verified(&rig, true);
    assert_comes_back(&rig, "first", true);
    // A write takes setuid and capabilities away, on both sides.
    shell(
        &mnt,
        "echo more >> cap; chown 1:1 su; chmod 4711 sg; mv null moved; rm null2; echo x > null3; mv null3 disk",
    );
    let root = rig.root();
    sequences(&rig, |_| {
        assert_harmless(&root);
        Ok(())
    });
    rig.settle();
    assert_harmless(&rig.root());
    assert_verified(&rig, true);
    assert_comes_back(&rig, "second", true);
    assert_compared_in_silence(&mut rig, true);
    let kept = replica(&rig)["kept"].clone();
    assert!(kept["owners"] == 0, "{kept}");
    rig.unmount();
}

// claim: A212, A213
#[test]
fn what_was_there_before_is_mirrored_the_same_way() {
    for (setup, exact) in [(unprivileged(), false), (cautious(), true)] {
        let mut rig = Rig::prepare(Commit::Real, setup);
        let src = rig.src();
        powerful(&src);
        closed(&src);
        tree::oddities(&src.join("odd"));
        // Over a lane.
        shell(&src, "head -c 3000000 /dev/urandom > big; chown 3:4 big; chmod 6755 big; cp -a big closed/inner/big");
        rig.mount();
        rig.settle();
        assert_harmless(&rig.root());
        assert_verified(&rig, exact);
        assert_comes_back(&rig, "to", exact);
        assert_compared_in_silence(&mut rig, exact);
        rig.unmount();
    }
}

// claim: A214
#[test]
fn a_source_cannot_forge_what_is_kept() {
    for setup in [Setup::default(), unprivileged(), cautious()] {
        let mut rig = Rig::with(Commit::Sync, setup);
        let mnt = rig.mnt();
        fs::write(mnt.join("file"), "x").unwrap();
        fs::create_dir(mnt.join("dir")).unwrap();
        let forged = "1 uid=0 gid=0 mode=4755 here=644 node=b:8:0";
        for path in ["file", "dir"] {
            for name in
                ["user.replfs.stat", "user.replfs.x.trusted.a", "user.replfs.x.security.capability", "user.replfs.z"]
            {
                rustix::fs::setxattr(mnt.join(path), name, forged.as_bytes(), XattrFlags::empty()).unwrap();
            }
        }
        rustix::fs::removexattr(mnt.join("dir"), "user.replfs.z").unwrap();
        rig.settle();
        let entry = rig.replica().join("file");
        assert!(get(&entry, "user.replfs.stat").is_none_or(|value| value != forged.as_bytes()), "as it was given");
        assert_eq!(get(&entry, "trusted.a"), None);
        assert_eq!(get(&entry, "user.replfs.x.user.replfs.stat").unwrap(), forged.as_bytes());
        assert_verified(&rig, true);
        assert_comes_back(&rig, "to", true);
        assert_compared_in_silence(&mut rig, true);
        rustix::fs::removexattr(rig.mnt().join("file"), "user.replfs.stat").unwrap();
        rig.settle();
        assert_eq!(get(&entry, "user.replfs.x.user.replfs.stat"), None);
        assert_verified(&rig, true);
        rig.unmount();
    }
}

// claim: A215
#[test]
fn other_rights_and_options_take_effect_with_the_next_comparison() {
    let mut rig = Rig::with(Commit::Sync, unprivileged());
    let mnt = rig.mnt();
    powerful(&mnt);
    closed(&mnt);
    tree::oddities(&mnt.join("odd"));
    rig.settle();
    // As root everything is put in force: devices with several names are the exception.
    shell(&mnt, "rm null2; find . -type p -links +1 -name fifo -delete; find . -type l -delete");
    rig.settle();
    rig.unmount();
    rig.change_target(None, &[]);
    rig.mount();
    rig.settle();
    assert_eq!(rig.status().target().passes, 1);
    rig.assert_equal();
    for (words, harmless) in [(&NOTHING_IN_FORCE[..], true), (&[], false)] {
        rig.unmount();
        rig.change_target(None, words);
        rig.mount();
        rig.settle();
        assert_verified(&rig, true);
        if harmless {
            assert_harmless(&rig.replica());
            assert_comes_back(&rig, "to", true);
        } else {
            rig.assert_equal();
        }
    }
    rig.finish();
}

// claim: A212
#[test]
fn what_was_changed_here_by_somebody_else_is_found_whatever_is_kept() {
    let mut rig = Rig::with(Commit::Sync, unprivileged());
    powerful(&rig.mnt());
    rig.settle();
    let there = rig.replica();
    shell(
        &there,
        "chmod 777 su; echo filled > null; setfattr -n user.b -v 1 sg; setfattr -n user.replfs.stat -v nonsense cap",
    );
    let outcome = rig.replfs("verify", &["--repair", rig.mnt().to_str().unwrap()]);
    let found: Vec<_> = outcome.stdout.lines().collect();
    for path in ["attributes su", "edited null", "attributes sg", "attributes cap"] {
        assert!(found.iter().any(|line| line.starts_with(path)), "{path} in {found:?}");
    }
    rig.settle();
    assert_verified(&rig, true);
    assert_comes_back(&rig, "to", true);
    rig.unmount();
}

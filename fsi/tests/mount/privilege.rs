//! Who owns what is made, and what happens to setuid and setgid.

use crate::rig::{NOBODY, Rig, permissions};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

#[test]
fn what_a_user_makes_is_the_users() {
    let rig = Rig::new();
    fs::set_permissions(&rig.mnt, permissions(0o777)).unwrap();
    let output = rig.as_nobody("umask 027; echo x > f; mkdir d; ln -s f l; mkfifo p; chmod 711 d; touch -d @5 f");
    assert!(output.status.success(), "{output:?}");
    for name in ["f", "d", "l", "p"] {
        let meta = fs::symlink_metadata(rig.below(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY, NOBODY), "{name}");
    }
    assert_eq!(fs::metadata(rig.below("f")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(rig.at("f")).unwrap().mtime(), 5);
    fs::write(rig.at("roots"), "").unwrap();
    assert_eq!(fs::metadata(rig.below("roots")).unwrap().uid(), 0);
    assert!(!rig.as_nobody("echo x > roots").status.success());
    assert!(!rig.as_nobody("chown 0 f").status.success());
    fs::set_permissions(&rig.mnt, permissions(0o1777)).unwrap();
    assert!(!rig.as_nobody("rm -f roots").status.success(), "the directory is sticky");
}

#[test]
fn a_setgid_directory_hands_on_its_group() {
    let rig = Rig::new();
    fs::create_dir(rig.at("d")).unwrap();
    chown(rig.at("d"), None, Some(1234)).unwrap();
    fs::set_permissions(rig.at("d"), permissions(0o2777)).unwrap();
    let output = rig.as_nobody("umask 022; : > d/f; mkdir d/sub; ln -s x d/l");
    assert!(output.status.success(), "{output:?}");
    let meta = |name: &str| fs::symlink_metadata(rig.below(name)).unwrap();
    assert_eq!((meta("d/f").gid(), meta("d/sub").gid(), meta("d/l").gid()), (1234, 1234, 1234));
    assert_eq!((meta("d/f").mode() & 0o7777, meta("d/sub").mode() & 0o7777), (0o644, 0o2755));
    assert_eq!(meta("d/f").uid(), NOBODY);
}

#[test]
fn a_users_change_of_content_clears_setuid_and_setgid() {
    let rig = Rig::new();
    for (n, script) in
        ["echo x >> f", "echo x 1<> f", "truncate -s 3 f", ": > f", "fallocate -l 9000 f"].iter().enumerate()
    {
        for (mode, left) in [(0o6777, 0o777), (0o2767, 0o767), (0o4666, 0o666)] {
            fs::write(rig.at("f"), "0123456789").unwrap();
            fs::set_permissions(rig.at("f"), permissions(mode)).unwrap();
            let output = rig.as_nobody(script);
            assert!(output.status.success(), "{output:?}");
            let now = fs::metadata(rig.below("f")).unwrap().mode() & 0o7777;
            assert_eq!(now, left, "{n}: {script}, from {mode:o}");
            assert_eq!(fs::metadata(rig.at("f")).unwrap().mode() & 0o7777, left, "{n}: {script}, from {mode:o}");
        }
    }
    fs::set_permissions(rig.at("f"), permissions(0o6777)).unwrap();
    fs::write(rig.at("f"), "root may").unwrap();
    assert_eq!(fs::metadata(rig.at("f")).unwrap().mode() & 0o7777, 0o6777);
    chown(rig.at("f"), Some(1), Some(1)).unwrap();
    assert_eq!(fs::metadata(rig.at("f")).unwrap().mode() & 0o7777, 0o777);
}

#[test]
fn a_setuid_program_runs_as_its_owner_until_somebody_writes_to_it() {
    let rig = Rig::new();
    fs::copy("/usr/bin/id", rig.at("id")).unwrap();
    fs::set_permissions(rig.at("id"), permissions(0o4777)).unwrap();
    assert_eq!(rig.as_nobody("./id -u").stdout, b"0\n");
    // Straight after the write, with nobody asking for the mode in between.
    assert_eq!(rig.as_nobody("echo >> id; ./id -u").stdout, format!("{NOBODY}\n").as_bytes());
}

//! The program under the names that mount(8) and umount(8) call it by.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, Outcome, run};
use std::os::unix::fs::symlink;
use std::process::Command;

fn called(home: &Home, name: &str, words: &str) -> Outcome {
    let link = home.at(name);
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_replfs"), &link).unwrap();
    }
    let place = |word: &str| word.replace('@', &home.at("").to_string_lossy());
    run(Command::new(link).args(words.split(' ').map(place)))
}

#[test]
fn fake_checks_everything_and_makes_nothing() {
    let home = Home::new();
    let before = std::fs::read_dir(home.at("")).unwrap().count();
    for name in ["mount.replfs", "mount.fuse.replfs"] {
        called(&home, name, "@src @mnt -f -o rw,target=@root,state=@state").is(0, &[]);
        called(&home, name, "@src @missing -f -o rw,target=@root,state=@state").is(34, &["missing"]);
    }
    assert_eq!(std::fs::read_dir(home.at("")).unwrap().count(), before + 2, "the two names only");
}

#[test]
fn the_flags_and_options_of_an_fstab_line_are_taken() {
    let home = Home::new();
    let options = "rw,nosuid,nodev,noexec,noatime,_netdev,nofail,noauto,users,x-systemd.requires=b.service,x-initrd.mount,\
                   comment=hello,target=@root,state=@state,commit=real,name=other,degrade-after=500ms,connect-timeout=1m,\
                   drain-timeout=2h,backlog=1GiB,adopt";
    called(&home, "mount.replfs", &format!("@src @mnt -sfnv -t replfs -o {options}")).is(0, &[]);
}

#[test]
fn options_may_be_given_in_several_lists_and_as_long_options() {
    let home = Home::new();
    called(&home, "mount.replfs", "-o target=@root @src -o state=@state @mnt --commit real -f").is(0, &[]);
}

#[test]
fn an_unknown_option_is_refused_by_name_and_passed_over_when_sloppy() {
    let home = Home::new();
    called(&home, "mount.replfs", "@src @mnt -f -o target=@root,state=@state,frobnicate=2").is(1, &["'frobnicate'"]);
    let outcome = called(&home, "mount.replfs", "@src @mnt -fs -o target=@root,state=@state,frobnicate=2");
    outcome.is(0, &["'frobnicate'"]);
}

#[test]
fn umount_helper_ends_with_44_where_nothing_is_mounted() {
    let home = Home::new();
    for name in ["umount.replfs", "umount.fuse.replfs"] {
        called(&home, name, "@mnt -v -t fuse.replfs").is(44, &["mnt"]);
    }
}

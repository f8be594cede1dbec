//! Replication sets: what is refused, with the documented exit code and the place of the error, before anything is touched.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, run};
use std::path::PathBuf;

fn written(home: &Home, text: &str) -> PathBuf {
    let path = home.at("set.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn check_says_what_a_file_has_and_what_is_wrong_with_it() {
    let home = Home::new();
    let check = |text: &str| run(home.command("set").arg("check").arg(written(&home, text)));
    let good = check("version = 1\ndefault = \"exclude\"\n[[rule]]\ninclude = \"*.txt\"\n");
    assert!(good.is(0, &[]).stdout.ends_with("set.toml: 1 rule, default = \"exclude\"\n"), "{good:?}");
    check("version = 1\n[[rule]]\nexclude = \"*.tmp\"\nkind = \"fil\"\n")
        .is(46, &["set.toml: line 4, column 8: ", "'fil'"]);
    check("version = 1\n[[rule]\n").is(46, &["line 2, column "]);
    check("").is(46, &["line 1, column 1: ", "version = 1"]);
    run(home.command("set").arg("check").arg(home.at("missing"))).is(46, &["missing", "no such file"]);
    run(home.command("set").arg("check").arg(home.at("src"))).is(46, &["src", "not a regular file"]);
    assert!(!home.at("state").exists(), "nothing was made");
}

#[test]
fn a_mount_with_a_broken_set_ends_with_46() {
    let home = Home::new();
    let path = written(&home, "version = 1\n[[rule]]\nexclude = \"a**\"\n");
    let path = path.to_str().unwrap();
    for more in [vec!["--set", path], vec!["-f", "--set", path], vec!["-o", &format!("set={path}")]] {
        home.mount(&more).is(46, &["set.toml: line 3, column 11: ", "**"]);
    }
    home.mount(&["--set", "/no/such/file"]).is(46, &["/no/such/file"]);
    assert!(!home.at("root").exists(), "the target was not touched");
}

#[test]
fn what_must_not_be_replicated_may_lie_in_the_source_where_the_set_leaves_it_out() {
    let home = Home::new();
    let set = written(&home, "version = 1\n[[rule]]\nexclude = \"/apart/\"\n");
    let (src, mnt, set) = (home.at("src"), home.at("mnt"), set.to_str().unwrap().to_owned());
    let mount = |target: &str, state: &str, more: &[&str]| {
        let mut command = common::replfs();
        command.arg("mount").arg("-f").args([&src, &mnt]).arg("--target").arg(home.at(target));
        run(command.arg("--state").arg(home.at(state)).args(more))
    };
    mount("src/apart/root", "state", &[]).is(1, &["inside the source", "leave '/apart/root' out"]);
    mount("src/apart/root", "state", &["--set", &set]).is(0, &[]);
    mount("root", "src/apart/state", &["--set", &set]).is(0, &[]);
    mount("root", "src/other", &["--set", &set]).is(1, &["inside the source", "leave '/other' out"]);
    let inside = home.at("src/x.toml");
    std::fs::write(&inside, "version = 1\n").unwrap();
    mount("root", "state", &["--set", inside.to_str().unwrap()]).is(1, &["x.toml", "inside the source"]);
}

#[test]
fn commands_on_what_is_not_mounted_end_with_44_and_wrong_words_with_1() {
    let home = Home::new();
    let set = |words: &[&str]| run(home.command("set").args(words));
    for words in [
        &["show", "nowhere"][..],
        &["add", "nowhere", "--exclude", "a"],
        &["remove", "nowhere", "1"],
        &["test", "nowhere", "a"],
        &["reload", "nowhere"],
    ] {
        set(words).is(44, &["nowhere"]);
    }
    set(&[]).is(1, &[]);
    set(&["add", "nowhere"]).is(1, &["--include"]);
    set(&["add", "nowhere", "--exclude", "a", "--larger", "1MB"]).is(1, &["256MiB"]);
    set(&["reload", "nowhere", "--on-remove", "burn"]).is(1, &["keep"]);
    for words in [&["--help"][..], &["show", "--help"], &["add", "--help"], &["reload", "--help"]] {
        assert!(set(words).is(0, &[]).stdout.contains("--state <DIR>"));
    }
}

//! The replication set of a mount (S1) as its commands see it: shown, tested, edited, read again; a file that is wrong changes
//! nothing. What is replicated by it is not looked at here.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::Outcome;
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::user::{USER, his_own};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;

const RULES: &str = "# first\nversion = 1\n\n# no scratch files\n[[rule]]\nexclude = \"*.tmp\" # anywhere\n";

/// Exit code of a set that cannot be used.
const BROKEN: i32 = 46;

/// A rig whose set is in a file of its own.
fn with_rules(text: &str) -> (Rig, PathBuf) {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let path = rig.home().join("set.toml");
    fs::write(&path, text).unwrap();
    rig.try_mount(&["--set", path.to_str().unwrap()]).ok();
    (rig, path)
}

fn set(rig: &Rig, words: &[&str]) -> Outcome {
    rig.replfs("set", words)
}

fn json(rig: &Rig, words: &[&str]) -> Value {
    serde_json::from_str(set(rig, &[words, &["--json"]].concat()).ok()).unwrap()
}

/// The patterns in force.
fn patterns(rig: &Rig) -> Vec<String> {
    let document = json(rig, &["show", NAME]);
    let rules = document["rules"].as_array().unwrap();
    rules.iter().map(|rule| rule["pattern"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rules_are_added_removed_and_shown_and_comments_stay() {
    let (rig, path) = with_rules(RULES);
    let mnt = rig.mnt();
    let mnt = mnt.to_str().unwrap();
    let shown = set(&rig, &["show", mnt]);
    assert!(
        shown.ok().contains("set.toml: 1 rule, default = \"include\"\n   1  exclude = \"*.tmp\"  (line 5)"),
        "{shown:?}"
    );

    let added = set(&rig, &["add", mnt, "--exclude", "/cache/", "--at", "1"]);
    assert_eq!(added.ok(), "+ exclude = \"/cache/\"");
    let words = ["add", NAME, "--include", "*", "--extension", "iso", "--kind", "file", "--larger", "1MiB"];
    let added = set(&rig, &[&words[..], &["--on-remove", "delete"]].concat());
    assert_eq!(added.ok(), "+ include = \"*\", kind = \"file\", extension = \"iso\", larger = \"1MiB\"");
    assert_eq!(patterns(&rig), ["/cache/", "*.tmp", "*"]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# no scratch files\n[[rule]]\nexclude = \"*.tmp\" # anywhere\n"), "{text}");

    assert_eq!(set(&rig, &["remove", mnt, "*.tmp"]).ok(), "- exclude = \"*.tmp\"");
    assert_eq!(set(&rig, &["remove", mnt, "1"]).ok(), "- exclude = \"/cache/\"");
    assert_eq!(patterns(&rig), ["*"]);
    set(&rig, &["remove", mnt, "2"]).expect(1);
    set(&rig, &["add", mnt, "--exclude", "a", "--at", "3"]).expect(1);
    assert_eq!(patterns(&rig), ["*"]);
}

#[test]
fn a_file_that_is_wrong_keeps_the_old_rules_in_force() {
    let (rig, path) = with_rules(RULES);
    fs::write(&path, format!("{RULES}[[rule]]\nexclude = \"a\"\nkind = \"fil\"\n")).unwrap();
    let outcome = set(&rig, &["reload", NAME]);
    outcome.expect(BROKEN);
    assert!(outcome.stderr.contains("set.toml: line 9, column 8: 'fil'"), "{outcome:?}");
    set(&rig, &["add", NAME, "--exclude", "b"]).expect(BROKEN);
    assert_eq!(patterns(&rig), ["*.tmp"]);
    assert!(
        set(&rig, &["show", NAME])
            .ok()
            .ends_with("the file has changed since; 'replfs set reload MNT' puts it in force")
    );
    fs::remove_file(&path).unwrap();
    set(&rig, &["reload", NAME]).expect(BROKEN);
    assert_eq!(patterns(&rig), ["*.tmp"]);

    fs::write(&path, RULES).unwrap();
    let outcome = set(&rig, &["add", NAME, "--exclude", "a**b"]);
    assert!(outcome.expect(BROKEN).stderr.contains("with this change it would be wrong"), "{outcome:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), RULES);
}

#[test]
fn a_reload_says_what_changes() {
    let (rig, path) = with_rules(RULES);
    assert_eq!(set(&rig, &["reload", NAME]).ok(), "nothing changes");
    fs::write(&path, format!("\n{RULES}")).unwrap();
    assert_eq!(set(&rig, &["reload", NAME]).ok(), "nothing changes");
    assert_eq!(json(&rig, &["show", NAME])["rules"][0]["line"], 6, "the file was read all the same");
    fs::write(&path, "version = 1\ndefault = \"exclude\"\n[[rule]]\ninclude = \"/docs/\"\n").unwrap();
    let changes = set(&rig, &["reload", NAME, "--on-remove", "keep"]);
    let expected =
        ["- default = \"include\"", "+ default = \"exclude\"", "- exclude = \"*.tmp\"", "+ include = \"/docs/\""];
    assert_eq!(changes.ok(), expected.join("\n"));
    assert!(rig.source_log().contains("the replication set changed"), "{}", rig.source_log());
}

#[test]
fn a_path_is_tested_with_the_rule_that_decides() {
    let rules = "version = 1\n[[rule]]\nexclude = \"build/\"\n[[rule]]\ninclude = \"build/keep\"\n\
        [[rule]]\nexclude = \"*\"\nkind = \"symlink\"\n[[rule]]\nexclude = \"*\"\nlarger = 3\n";
    let (rig, _) = with_rules(rules);
    fs::create_dir_all(rig.src().join("build/x")).unwrap();
    fs::write(rig.src().join("large"), "1234").unwrap();
    fs::write(rig.src().join("small"), "123").unwrap();
    symlink("small", rig.src().join("link")).unwrap();
    let absolute = rig.mnt().join("build/x");
    let below = rig.src().join("small");
    let (absolute, below) = (absolute.to_str().unwrap(), below.to_str().unwrap());
    let said = set(&rig, &["test", NAME, "build", absolute, "build/keep", "large", below, "link", "gone/build/", "."]);
    let expected = [
        "build: visible: rule 1 (line 2): exclude = \"build/\"; leads to rule 2 (line 4): include = \"build/keep\"",
        "build/x: left out: rule 1 (line 2): exclude = \"build/\", which matches 'build'",
        "build/keep (not there): taken: rule 2 (line 4): include = \"build/keep\"",
        "large: left out: rule 4 (line 9): exclude = \"*\", larger = \"3\"",
        "small: taken: no rule matches, default = \"include\"",
        "link: left out: rule 3 (line 6): exclude = \"*\", kind = \"symlink\"",
        "gone/build (not there): left out: rule 1 (line 2): exclude = \"build/\"",
        ".: taken: it is the source itself",
    ];
    assert_eq!(said.ok().lines().collect::<Vec<_>>(), expected);
    let document = json(&rig, &["test", NAME, "large"]);
    let tested = &document["paths"][0];
    assert_eq!((document["version"].as_u64(), tested["size"].as_u64()), (Some(1), Some(4)));
    assert_eq!((&tested["verdict"], &tested["rule"]["number"]), (&Value::from("left-out"), &Value::from(4)));
    symlink(rig.mnt(), rig.home().join("way")).unwrap();
    let by_link = rig.home().join("way/small");
    assert!(set(&rig, &["test", NAME, by_link.to_str().unwrap()]).ok().starts_with("small: taken"));
    set(&rig, &["test", NAME, "/etc"]).expect(1);
    set(&rig, &["test", NAME, "a/../b"]).expect(1);
}

#[test]
fn an_ordinary_user_has_his_set_among_his_other_configuration() {
    his_own(
        Commit::Real,
        |_| {},
        |rig| {
            let document = json(&rig, &["show", NAME]);
            assert_eq!((&document["everything"], &document["default"]), (&Value::from(true), &Value::from("include")));
            let path = PathBuf::from(document["path"].as_str().unwrap());
            assert!(path.ends_with(format!("replfs/{NAME}.toml")), "{path:?}");
            assert_eq!(path, rig.home().join(".config/replfs").join(format!("{NAME}.toml")));
            set(&rig, &["add", NAME, "--exclude", "*.tmp"]).expect(BROKEN);
            assert!(!path.exists(), "his home is not his");
            fs::create_dir(rig.home().join(".config")).unwrap();
            chown(rig.home().join(".config"), Some(USER), Some(USER)).unwrap();
            assert_eq!(set(&rig, &["add", NAME, "--exclude", "*.tmp"]).ok(), "+ exclude = \"*.tmp\"");
            assert!(fs::read_to_string(&path).unwrap().ends_with("\n[[rule]]\nexclude = \"*.tmp\"\n"));
            assert_eq!(patterns(&rig), ["*.tmp"]);
            // Where it is gone everything is replicated, as at a mount.
            fs::remove_file(&path).unwrap();
            assert_eq!(set(&rig, &["reload", NAME]).ok(), "- exclude = \"*.tmp\"");
        },
    );
}

//! What a set says: verdicts, explanations, changes. What all tests of sets use.
#![allow(clippy::unwrap_used, clippy::panic)]

mod patterns;
mod random;
mod wrong;

use super::*;

fn set(rules: &str) -> Set {
    Set::parse(&format!("version = 1\n{rules}")).unwrap_or_else(|error| panic!("{rules}: {error}"))
}

/// A set of excluded patterns.
fn excluding(pattern: &str) -> Set {
    set(&format!("[[rule]]\nexclude = '{pattern}'\n"))
}

fn path(bytes: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(bytes.as_ref()).unwrap()
}

/// Takes a path as it is written: with a slash behind it it is a directory.
fn takes(set: &Set, text: &str) -> bool {
    match text.strip_suffix('/') {
        Some(dir) => set.takes(&path(dir), Kind::Directory, 0),
        None => set.takes(&path(text), Kind::File, 0),
    }
}

#[test]
fn the_last_rule_that_matches_an_entry_or_a_directory_above_it_decides() {
    let set = set("[[rule]]\nexclude = 'build/'\n[[rule]]\ninclude = '/build/keep'\n[[rule]]\nexclude = '*.o'\n");
    for (text, taken) in [
        ("build/", true),
        ("build/x", false),
        ("build/x/", false),
        ("build/keep", true),
        ("build/keep/", true),
        ("build/keep/y", true),
        ("build/keep/y.o", false),
        ("a/build/", false),
        ("a/build/keep", false),
        ("a.o", false),
        ("a.c", true),
    ] {
        assert_eq!(takes(&set, text), taken, "{text}");
    }
    let verdict = |text: &str| set.explain(&path(text), Kind::Directory, 0).verdict;
    assert_eq!(
        (verdict("build"), verdict("build/x"), verdict("src")),
        (Verdict::Visible, Verdict::LeftOut, Verdict::Taken)
    );
}

#[test]
fn a_name_may_be_taken_with_another_size() {
    let set = set("[[rule]]\nexclude = '*'\nkind = 'file'\nlarger = '1KiB'\n\
        [[rule]]\nexclude = '*.tmp'\n[[rule]]\ninclude = '*.tmp'\nlarger = '1MiB'\nsmaller = '2MiB'\n[[rule]]\nexclude = 'no'\n");
    for (text, taken) in [("a", true), ("a.tmp", true), ("no", false), ("no/a", false), ("d/a", true)] {
        assert_eq!(set.takes_some_size(&path(text)), taken, "{text}");
    }
    assert!(!takes(&set, "a.tmp"));
}

#[test]
fn a_directory_is_visible_when_a_later_rule_leads_below_it() {
    let verdict = |rules: &str, text: &str| set(rules).explain(&path(text), Kind::Directory, 0).verdict;
    let all_but = "default = 'exclude'\n[[rule]]\ninclude = ";
    for (pattern, visible, left_out) in [
        ("'a/*/c/d'", &["a", "a/x", "a/x/c"][..], &["b", "a/x/b", "a/x/c/e", "x/a"][..]),
        ("'a/**/z'", &["a", "a/x", "a/x/y"], &["b", "ab"]),
        ("'**/y/z'", &["a", "a/b", "y"], &[]),
        ("'*.txt'", &["a", "a/b"], &[]),
        ("'/top'", &[], &["a", "top2"]),
        ("'a/**'", &["a"], &["b"]),
    ] {
        for text in visible {
            assert_eq!(verdict(&format!("{all_but}{pattern}"), text), Verdict::Visible, "{pattern} {text}");
        }
        for text in left_out {
            assert_eq!(verdict(&format!("{all_but}{pattern}"), text), Verdict::LeftOut, "{pattern} {text}");
        }
    }
    let earlier = "[[rule]]\ninclude = 'a/b'\n[[rule]]\nexclude = 'a'\n";
    assert_eq!(verdict(earlier, "a"), Verdict::LeftOut, "what stands before has no say");
    assert!(!set(earlier).takes(&path("a/b"), Kind::File, 0));
    assert!(!set(all_but.trim_end_matches("[[rule]]\ninclude = ")).takes(&path("a"), Kind::Directory, 0));
}

#[test]
fn the_examples_of_the_documentation_mean_what_it_says() {
    let document = include_str!("../../../../docs/set.md");
    let blocks: Vec<Set> = document
        .split("```toml\n")
        .skip(1)
        .map(|rest| Set::parse(rest.split("```").next().unwrap()).unwrap())
        .collect();
    let [clauses, build] = blocks.as_slice() else { panic!("two examples") };
    let larger = |kind, size| clauses.takes(&path("a/b.ISO"), kind, size);
    assert!(larger(Kind::File, 1 << 30) && !larger(Kind::File, (1 << 30) + 1) && larger(Kind::Symlink, 2 << 30));
    assert!(!takes(clauses, "a.tmp") && takes(clauses, "important/a.tmp"));
    assert!(takes(build, "app/build/dist/x") && !takes(build, "app/build/obj") && !takes(build, "lib/build/"));
    assert_eq!(build.explain(&path("app/build"), Kind::Directory, 0).verdict, Verdict::Visible);
}

#[test]
fn clauses_narrow_a_rule() {
    let set = set("[[rule]]\nexclude = '*'\nkind = ['symlink', 'special']\n\
         [[rule]]\nexclude = '*'\nextension = ['iso', 'tar.gz']\nlarger = '1KiB'\n\
         [[rule]]\nexclude = 'small'\nsmaller = 10\n");
    let takes = |text: &str, kind, size| set.takes(&path(text), kind, size);
    assert!(!takes("l", Kind::Symlink, 0) && !takes("d/p", Kind::Special, 0) && takes("l", Kind::File, 0));
    assert!(takes("a.iso", Kind::File, 1024) && !takes("a.iso", Kind::File, 1025) && !takes("A.ISO", Kind::File, 1025));
    assert!(takes("a.gz", Kind::File, 9999) && !takes("a.tar.gz", Kind::File, 9999) && takes(".iso", Kind::File, 9999));
    assert!(takes("a.iso", Kind::Directory, 9999) && takes("a.iso/b", Kind::File, 9999), "sizes are of files");
    assert!(!takes("small", Kind::File, 9) && takes("small", Kind::File, 10));
    assert!(set.depends_on_size() && !set.is_everything());
}

#[test]
fn the_root_is_always_taken_and_no_rules_take_everything() {
    let nothing = set("default = 'exclude'");
    assert!(nothing.takes(&RelPath::root(), Kind::Directory, 0) && !takes(&nothing, "a") && !nothing.is_everything());
    assert!(excluding("**").takes(&RelPath::root(), Kind::Directory, 0));
    assert!(Set::everything().is_everything() && takes(&Set::everything(), "a/b"));
    assert_eq!(set(""), Set::everything());
    assert!(set("[[rule]]\ninclude = '*'").is_everything(), "nothing can be left out");
}

#[test]
fn a_verdict_is_explained_by_the_rule_that_decides() {
    let set = set("\n[[rule]]\nexclude = 'build/'\n\n[[rule]]\ninclude = 'build/keep' # this\n");
    let said = |text: &str, kind| set.explain(&path(text), kind, 0).to_string();
    assert_eq!(said("build/a/b", Kind::File), "left out: rule 1 (line 3): exclude = \"build/\", which matches 'build'");
    assert_eq!(
        said("build", Kind::Directory),
        "visible: rule 1 (line 3): exclude = \"build/\"; leads to rule 2 (line 6): include = \"build/keep\""
    );
    assert_eq!(said("build/keep", Kind::File), "taken: rule 2 (line 6): include = \"build/keep\"");
    assert_eq!(said("x", Kind::File), "taken: no rule matches, default = \"include\"");
    assert_eq!(said("", Kind::Directory), "taken: it is the source itself");
}

#[test]
fn rules_are_shown_as_they_would_be_written() {
    let lines = [
        "exclude = \"*.iso\"",
        "kind = [\"file\", \"symlink\"]",
        "extension = \"a\"",
        "larger = \"1GiB\"",
        "smaller = \"5000000000\"",
    ];
    assert_eq!(set(&format!("[[rule]]\n{}", lines.join("\n"))).rules()[0].to_string(), lines.join(", "));
    for pattern in [r"a\*b", "a'b\\\\", "tab\t\"q\"", "two\nlines\\\\", "ä"] {
        let quoted = Rule { pattern: pattern.to_owned(), ..excluding("x").rules()[0].clone() }.to_string();
        assert!(!quoted.contains('\n'), "{quoted}");
        let again = Set::parse(&format!("version = 1\n[[rule]]\n{quoted}")).unwrap();
        assert_eq!(again.rules()[0].pattern, pattern);
    }
}

#[test]
fn changes_are_what_one_has_and_the_other_has_not() {
    let of = |patterns: &str| {
        let rules: Vec<_> = patterns.chars().map(|c| format!("[[rule]]\nexclude = '{c}'\n")).collect();
        set(&rules.concat())
    };
    let lines = |a: &str, b: &str| changes(&of(a), &of(b)).join(" ").replace("exclude = ", "").replace('"', "");
    assert_eq!(lines("abc", "abc"), "");
    assert_eq!(lines("abc", "axc"), "- b + x");
    assert_eq!(lines("", "ab"), "+ a + b");
    assert_eq!(lines("abcd", "bd"), "- a - c");
    assert_eq!(lines("ab", "ba"), "- a + a");
    let other = set("default = 'exclude'\n# a comment changes nothing");
    assert_eq!(changes(&Set::everything(), &other), ["- default = \"include\"", "+ default = \"exclude\""]);
    assert_ne!(Set::everything(), other);
}

//! What is refused: with its place, and beyond which bounds.

use super::{excluding, set, takes};
use crate::set::{LONGEST, MOST_RULES, Set};

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, line, column, words) in [
        ("", 1, 1, "version = 1"),
        ("version = 2", 1, 11, "version 2"),
        ("version = 1\ndefault = \"maybe\"", 2, 11, "include"),
        ("version = 1\n\n[[rule]]\nexlude = \"a\"", 4, 1, "exlude"),
        ("version = 1\nrules = 1", 2, 1, "rules"),
        ("version = 1\n[rule]\nexclude = \"a\"", 2, 1, "[[rule]]"),
        ("version = 1\n[[rule]]\nkind = \"file\"", 2, 1, "no pattern"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\ninclude = \"b\"", 4, 1, "once"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\nexclude = \"b\"", 4, 1, "duplicate"),
        ("version = 1\n[[rule]]\nexclude = [\"a\"]", 3, 11, "between quotes"),
        ("version = 1\n[[rule]]\nexclude = \"a**b\"", 3, 11, "**"),
        ("version = 1\n[[rule]]\nexclude = \"a[b\"", 3, 11, "not closed"),
        ("version = 1\n[[rule]]\nexclude = 'a\\'", 3, 11, "backslash"),
        ("version = 1\n[[rule]]\nexclude = 'a\\/'", 3, 11, "backslash"),
        ("version = 1\n[[rule]]\nexclude = \"[z-a]\"", 3, 11, "upside down"),
        ("version = 1\n[[rule]]\nexclude = \"[[:no:]]\"", 3, 11, "[[:alpha:]]"),
        ("version = 1\n[[rule]]\nexclude = \"[ä]\"", 3, 11, "ASCII"),
        ("version = 1\n[[rule]]\nexclude = \"[.]/../x\"", 3, 11, "never part"),
        ("version = 1\n[[rule]]\nexclude = \"a//b\"", 3, 11, "empty part"),
        ("version = 1\n[[rule]]\nexclude = \"/\"", 3, 11, "names nothing"),
        ("version = 1\n[[rule]]\nexclude = \"\"", 3, 11, "names nothing"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\nkind = [\"file\", \"fil\"]", 4, 17, "'fil'"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\nextension = \".iso\"", 4, 13, "without its dot"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\nextension = []", 4, 13, "empty"),
        ("version = 1\n[[rule]]\nexclude = \"ä\"\nlarger = \"1MB\"", 4, 10, "256MiB"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\nlarger = -1", 4, 10, "-1"),
        ("version = 1\n[[rule]]\nexclude = \"a/\"\nkind = \"file\"", 2, 1, "matches nothing"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\nkind = \"symlink\"\nlarger = 1", 2, 1, "matches nothing"),
        ("version = 1\n[[rule]]\nexclude = \"a\"\nlarger = 5\nsmaller = 6", 2, 1, "matches nothing"),
        ("version = 1\n# ä\na = = 1", 3, 5, "`=`"),
    ] {
        let error = Set::parse(text).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        assert!(error.what.contains(words), "'{words}' is missing: {text}: {error}");
        assert!(
            error.to_string().starts_with(&format!("line {line}, column {column}: ")) && !error.what.contains('\n')
        );
    }
}

#[test]
fn a_file_that_is_not_utf8_is_refused_with_its_place() {
    let error = Set::parse_bytes(b"version = 1\n# \xff").unwrap_err();
    assert_eq!((error.line, error.column), (2, 3), "{error}");
    assert_eq!(Set::parse_bytes(b"version = 1").unwrap(), Set::everything());
}

#[test]
fn sets_are_bounded() {
    let rule = |n: usize| format!("[[rule]]\nexclude = '{n}-?'\n");
    let many: String = (0..MOST_RULES).map(rule).collect();
    let full = set(&many);
    assert_eq!(full.rules().len(), MOST_RULES);
    assert!(!takes(&full, "a/17-x") && takes(&full, "a/17-"));
    let error = Set::parse(&format!("version = 1\n{many}{}", rule(1))).unwrap_err();
    assert!(error.what.contains("4096") && error.line == 2 + 2 * MOST_RULES, "{error}");
    let large = format!("version = 1\n#{}", "x".repeat(LONGEST));
    assert!(Set::parse(&large).unwrap_err().what.contains("larger than"));
    let long = format!("version = 1\n[[rule]]\nexclude = '{}'", "x".repeat(5000));
    assert!(Set::parse(&long).unwrap_err().what.contains("4096 bytes"));
    let deep = format!("version = 1\n[[rule]]\nexclude = '{}x'", "*/".repeat(64));
    assert!(Set::parse(&deep).unwrap_err().what.contains("64 parts"));
    assert!(!takes(&excluding(&format!("{}x", "*/".repeat(63))), &format!("{}x", "y/".repeat(63))));
    let costly: Vec<_> = (0..200).map(|n| format!("[[rule]]\nexclude = '{n}{}'\n", "*a".repeat(2000))).collect();
    assert!(takes(&set(&costly.concat()), "b"), "wildcards cost no more than their length");
}

//! What patterns match, by a table that `git check-ignore` agrees with, and rsync but for a slash inside, which anchors here.

use super::{excluding, path, takes};
use crate::set::Kind;

/// Pattern, what it matches, what it does not.
type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

const PATTERNS: &[Case] = &[
    // Without a slash: names, at any depth.
    ("foo", &["foo", "foo/", "a/foo", "a/b/foo/", "foo/x", "a/foo/b/c"], &["foo2", "a/xfoo", "fo", "Foo"]),
    ("*.tmp", &["a.tmp", ".tmp", "d/x.tmp", "d.tmp/x", "d.tmp/"], &["a.tmp2", "tmp", "a.TMP"]),
    ("*", &["a", ".a", "a/b", "a/"], &[]),
    ("?", &["a", "b/c", "bb/c"], &["ab", "bb/cc"]),
    ("a*b*c", &["abc", "axxbyyc", "abbcc"], &["ab", "acb", "xabc"]),
    (".*", &[".git", ".a/b", "x/.y"], &["a", "a.b"]),
    ("**", &["a", "a/b/c"], &[]),
    // With a slash inside or in front: places.
    ("/foo", &["foo", "foo/", "foo/x"], &["a/foo", "xfoo"]),
    ("a/b", &["a/b", "a/b/", "a/b/c"], &["a", "a/", "x/a/b", "a/bb"]),
    ("/a/b", &["a/b"], &["x/a/b"]),
    ("a/*", &["a/b", "a/b/c", "a/.b"], &["a", "a/", "b/a/c"]),
    ("a/*/c", &["a/b/c", "a/b/c/d"], &["a/c", "a/b/b/c"]),
    ("/*.c", &["a.c"], &["d/a.c"]),
    // A slash at the end: directories only, and what is in them.
    ("foo/", &["foo/", "a/foo/", "foo/x", "a/foo/b/c"], &["foo", "a/foo"]),
    ("a/b/", &["a/b/", "a/b/c"], &["a/b", "x/a/b/"]),
    ("/foo/", &["foo/", "foo/x"], &["foo", "a/foo/"]),
    // ** crosses slashes.
    ("**/foo", &["foo", "a/foo", "a/b/foo/c"], &["xfoo", "a/xfoo"]),
    ("**/a/b", &["a/b", "x/a/b", "x/y/a/b/c"], &["a/x/b", "xa/b"]),
    ("a/**", &["a/b", "a/b/c"], &["a", "a/", "b/a/c"]),
    ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "b", "x/a/b"]),
    ("a/**/*.o", &["a/x.o", "a/b/c/x.o"], &["x.o", "a/x.c"]),
    ("a/**/", &["a/b/", "a/b/c"], &["a/", "a/b"]),
    ("/**", &["a", "a/b"], &[]),
    // Classes.
    ("[abc]x", &["ax", "cx"], &["dx", "x", "abx"]),
    ("[a-c]", &["b"], &["d", "-"]),
    ("[!a-c]", &["d", "-"], &["b"]),
    ("[^a-c]", &["d"], &["b"]),
    ("[]-]x", &["]x", "-x"], &["ax"]),
    ("[!]]", &["a"], &["]"]),
    ("[a-]", &["a", "-"], &["b"]),
    ("[[:digit:]]*", &["1", "1a", "d/9x"], &["a1"]),
    ("[![:upper:]_]", &["a", "1"], &["A", "_"]),
    (r"[\]x]", &["]", "x"], &["\\"]),
    ("a[!x]b", &["acb"], &["a/b", "axb", "ab"]),
    ("/a[!x]b", &["acb"], &["a/b"]),
    ("/a?b", &["acb"], &["a/b"]),
    // Escapes, and what is special elsewhere only.
    (r"\*", &["*"], &["a"]),
    (r"a\?", &["a?"], &["ab"]),
    (r"\[a\]", &["[a]"], &["a"]),
    (r"\\", &["\\"], &["a"]),
    (r"\a", &["a"], &["\\a"]),
    ("{a,b}", &["{a,b}"], &["a", "b"]),
    ("a.b", &["a.b"], &["axb"]),
    ("a+(b)|^$", &["a+(b)|^$"], &["ab"]),
    ("!a", &["!a"], &["a"]),
    ("#a", &["#a"], &[]),
    ("a b ", &["a b "], &["a b"]),
    ("ä?", &["äx"], &["ä", "äxx"]),
];

#[test]
fn patterns_match_what_they_match_in_a_gitignore() {
    for (pattern, matched, others) in PATTERNS {
        let set = excluding(pattern);
        for text in *matched {
            assert!(!takes(&set, text), "'{pattern}' matches '{text}'");
        }
        for text in *others {
            assert!(takes(&set, text), "'{pattern}' does not match '{text}'");
        }
    }
}

#[test]
fn names_are_bytes() {
    let set = excluding("*\\?x");
    assert!(!set.takes(&path(b"\xff?x"), Kind::File, 0));
    let set = excluding("a?b");
    assert!(!set.takes(&path(b"a\xffb"), Kind::File, 0));
    assert!(!set.takes(&path(b"a\nb"), Kind::File, 0));
    assert!(set.takes(&path("aäb"), Kind::File, 0), "two bytes");
    assert!(!excluding("[!a]").takes(&path(b"\xfe"), Kind::File, 0));
    assert!(!excluding("d/**/x").takes(&path(b"d/\n/\xff/x"), Kind::File, 0));
}

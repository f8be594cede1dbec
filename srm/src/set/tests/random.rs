//! That verdicts are consistent, by rules and entries at random.

use super::{path, set};
use crate::set::{Kind, Set, Verdict};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A rule over few names, so that rules and paths meet.
fn any_rule() -> impl Strategy<Value = String> {
    let part = select(vec!["a", "b", "c", "a*", "?", "*", "**", "[ab]", "[!a]", "a.b"]);
    let pattern = (any::<bool>(), vec(part, 1..5), any::<bool>()).prop_map(|(front, parts, back)| {
        let (front, back) = (if front { "/" } else { "" }, if back { "/" } else { "" });
        format!("{front}{}{back}", parts.join("/"))
    });
    let clause = prop_oneof![
        5 => Just(""),
        1 => Just("kind = 'directory'\n"),
        1 => Just("kind = ['file', 'symlink']\n"),
        1 => Just("extension = 'b'\n"),
        1 => Just("larger = 5\n"),
    ];
    (any::<bool>(), pattern, clause).prop_map(|(include, pattern, clause)| {
        let clause = if pattern.ends_with('/') { "" } else { clause };
        format!("[[rule]]\n{} = '{pattern}'\n{clause}", if include { "include" } else { "exclude" })
    })
}

fn any_path() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "c", "ab", "a.b", "x"]), 1..6).prop_map(|parts| parts.join("/"))
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn no_pattern_and_no_file_does_harm() {
    let pattern = vec(select(b"*?[]\\/!^-:abz.\xc3\xa4\"'=\n".to_vec()), 0..16);
    let entry = path("a/b.z/-");
    runner(3000)
        .run(&pattern, |bytes| {
            let pattern = String::from_utf8_lossy(&bytes);
            let text = format!("version = 1\n[[rule]]\nexclude = {}\n", toml_edit::Value::from(pattern.as_ref()));
            for text in [text, format!("version = 1\n{pattern}")] {
                match Set::parse(&text) {
                    Ok(set) => assert_eq!(set.takes(&entry, Kind::File, 0), set.takes(&entry, Kind::File, 0)),
                    Err(error) => assert!(error.line > 0 && !error.what.contains('\n'), "{error}"),
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_directory_above_what_is_taken_is_taken() {
    let given = (vec(any_rule(), 0..7), any::<bool>(), vec((any_path(), select(&Kind::ALL[..]), 0..10_u64), 1..12));
    runner(2000)
        .run(&given, |(rules, include, entries)| {
            let default = if include { "include" } else { "exclude" };
            let set = set(&format!("default = '{default}'\n{}", rules.concat()));
            for (text, kind, size) in entries {
                let entry = path(&text);
                let mut above = entry.split_last();
                while let Some((dir, _)) = above.filter(|_| set.takes(&entry, kind, size)) {
                    assert!(set.takes(&dir, Kind::Directory, 0), "{text} is taken and {dir} is not: {set:?}");
                    above = dir.split_last();
                }
                let explained = set.explain(&entry, kind, size);
                assert_eq!(explained.verdict != Verdict::LeftOut, set.takes(&entry, kind, size));
                assert!(explained.verdict != Verdict::Visible || kind == Kind::Directory);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_the_same_below_two_directories_is() {
    let dirs = (any_path(), any_path());
    let given = (vec(any_rule(), 0..4), dirs, vec((any_path(), select(&Kind::ALL[..]), 0..10_u64), 1..20));
    let same = std::cell::Cell::new(0);
    runner(4000)
        .run(&given, |(rules, (one, two), below)| {
            let set = set(&rules.concat());
            if !set.is_same_below(&path(&one), &path(&two)) {
                return Ok(());
            }
            for (text, kind, size) in below {
                let takes = |dir: &str| set.takes(&path(format!("{dir}/{text}")), kind, size);
                assert_eq!(takes(&one), takes(&two), "{text} below {one} and {two}: {set:?}");
            }
            Ok(())
        })
        .unwrap();
    runner(1000)
        .run(&given, |(rules, (one, two), _)| {
            same.set(same.get() + u32::from(set(&rules.concat()).is_same_below(&path(&one), &path(&two))));
            Ok(())
        })
        .unwrap();
    let same = same.get();
    assert!(same > 100, "only {same} of 1000 are known to be the same");
}

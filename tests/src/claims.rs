//! Whether docs/semantics.md and the tests belong together: every claim has a number of its own and a test that carries
//! it.
//!
//! In the document a claim is a list item `- **A17** text` or a table row `| **A17** | ... |`. Other mentions of a
//! number (`see A17`) must be of a claim that exists. In a suite (`tests/tests/**/*.rs`, and what else the test names) a line `// claim: A17` or `//
//! claim: A17, A18` stands right above the test that shows it: above the function, with nothing but attributes and
//! comments between. A function that the test harness does not run (it has no `#[test]` and is not listed in
//! `in_both_modes!`) shows nothing, and is a fault.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The number of a claim, `17` of `A17`.
pub type Number = u32;

/// The words that open a line which names claims.
const MARK: &str = "// claim:";

/// What is wrong with a document and its tests, one line each; empty where nothing is. Errors: a file cannot be read.
pub fn faults(document: &Path, suites: &[&Path]) -> Result<Vec<String>> {
    let text = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let mut carried = Vec::new();
    for suite in suites {
        let mut files = Vec::new();
        sources(suite, &mut files)?;
        for file in files {
            let name = file.strip_prefix(suite).unwrap_or(&file).display().to_string();
            carried.push((name, text(&file)?));
        }
    }
    Ok(check(&text(document)?, &carried))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

fn check(document: &str, suites: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut claims = BTreeSet::new();
    for (line, text) in document.lines().enumerate() {
        if let Some(number) = claimed(text)
            && !claims.insert(number)
        {
            faults.push(format!("the document, line {}: A{number} is claimed twice", line + 1));
        }
    }
    for (line, text) in document.lines().enumerate() {
        for number in mentioned(text).difference(&claims) {
            faults.push(format!("the document, line {}: there is no claim A{number}", line + 1));
        }
    }
    let mut shown: BTreeMap<Number, usize> = BTreeMap::new();
    for (name, text) in suites {
        for number in marks(name, text, &mut faults) {
            *shown.entry(number).or_default() += 1;
            if !claims.contains(&number) {
                faults.push(format!("{name}: a test names A{number}, which is no claim"));
            }
        }
    }
    for number in claims.iter().filter(|number| !shown.contains_key(number)) {
        faults.push(format!("A{number} has no test"));
    }
    if claims.is_empty() {
        faults.push("the document claims nothing".into());
    }
    faults
}

/// The claim that a line of the document makes.
fn claimed(line: &str) -> Option<Number> {
    let line = line.trim_start();
    let text = line.strip_prefix("- **").or_else(|| line.strip_prefix("| **"))?;
    number(text.split_once("**")?.0)
}

/// Every number of a claim in a line.
fn mentioned(line: &str) -> BTreeSet<Number> {
    line.split(|c: char| !c.is_alphanumeric()).filter_map(number).collect()
}

fn number(word: &str) -> Option<Number> {
    let digits = word.strip_prefix('A')?;
    // `A01` would be a second way to write A1.
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The claims that a suite's tests carry.
fn marks(name: &str, text: &str, faults: &mut Vec<String>) -> Vec<Number> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let listed = listed(text);
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(numbers) = line.strip_prefix(MARK) else { continue };
        for word in numbers.split(',').map(str::trim) {
            match number(word) {
                Some(number) => found.push(number),
                None => faults.push(format!("{name}, line {}: {word:?} is no number of a claim", at + 1)),
            }
        }
        if let Err(fault) = is_run(&lines[at + 1..], &listed) {
            faults.push(format!("{name}, line {}: {fault}", at + 1));
        }
    }
    found
}

/// Whether a test that is run follows.
fn is_run(lines: &[&str], listed: &BTreeSet<&str>) -> std::result::Result<(), String> {
    let mut test = false;
    for line in lines {
        if line.starts_with("//") || line.starts_with("#[") {
            test |= *line == "#[test]" || line.starts_with("#[tokio::test");
            continue;
        }
        let plain = line.strip_prefix("pub ").unwrap_or(line);
        let plain = plain.strip_prefix("async ").unwrap_or(plain);
        let named = plain.strip_prefix("fn ").and_then(|rest| rest.split_once('('));
        return match named {
            Some((function, _)) if test || listed.contains(function) => Ok(()),
            Some((function, _)) => Err(format!("{function} is not run as a test")),
            None => Err("no test follows".into()),
        };
    }
    Err("no test follows".into())
}

/// The functions that `in_both_modes!` makes tests of.
fn listed(text: &str) -> BTreeSet<&str> {
    let lists = text.split("in_both_modes!(").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.flat_map(|(list, _)| list.split(',').map(str::trim)).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Claims\n- **A1** first\n  - **A2** second, see A1\n\n| **A10** | in a table |\n";

    fn check_one(document: &str, suite: &str) -> Vec<String> {
        check(document, &[("suite.rs".to_owned(), suite.to_owned())])
    }

    /// Every claim of [`DOCUMENT`] has a test here.
    fn suite() -> String {
        "in_both_modes!(\n    one,\n    two,\n);\n\n// claim: A1, A10\n/// Text.\nfn one(commit: Commit) {}\n\n    // claim: A2\n#[test]\n\
         fn two() {}\n"
            .to_owned()
    }

    #[test]
    fn a_document_whose_claims_all_have_tests_has_no_fault() {
        assert_eq!(check_one(DOCUMENT, &suite()), [""; 0]);
    }

    #[test]
    fn a_claim_without_a_test_is_a_fault() {
        let faults = check_one(&format!("{DOCUMENT}- **A3** third\n"), &suite());
        assert_eq!(faults, ["A3 has no test"]);
        assert_eq!(check_one("# Nothing\n", ""), ["the document claims nothing"]);
    }

    #[test]
    fn a_test_of_a_claim_that_does_not_exist_is_a_fault() {
        let faults = check_one(DOCUMENT, &suite().replace("A10", "A10, A11"));
        assert_eq!(faults, ["suite.rs: a test names A11, which is no claim"]);
        let faults = check_one(DOCUMENT, &suite().replace("A10", "A10, F3"));
        assert_eq!(faults, ["suite.rs, line 6: \"F3\" is no number of a claim"]);
    }

    #[test]
    fn a_number_that_occurs_twice_or_not_at_all_is_a_fault() {
        let faults = check_one(&format!("{DOCUMENT}- **A2** once more, see A99\n"), &suite());
        assert_eq!(
            faults,
            ["the document, line 6: A2 is claimed twice", "the document, line 6: there is no claim A99"]
        );
    }

    #[test]
    fn a_mark_above_what_is_not_run_is_a_fault() {
        let faults = check_one(DOCUMENT, &suite().replace("    one,\n", ""));
        assert_eq!(faults, ["suite.rs, line 5: one is not run as a test"]);
        let faults = check_one(DOCUMENT, &format!("{}// claim: A1\nconst X: u32 = 1;\n", suite()));
        assert_eq!(faults, ["suite.rs, line 13: no test follows"]);
    }

    #[test]
    fn only_whole_numbers_are_numbers() {
        assert_eq!(number("A7"), Some(7));
        for word in ["A", "A07", "a7", "A7b", "B7", "A-7", "A+7"] {
            assert_eq!(number(word), None, "{word}");
        }
        assert_eq!(mentioned("(A7), A8. SAX9 _A10_"), BTreeSet::from([7, 8, 10]));
    }
}

//! Every promise of docs/semantics.md has a test that carries its number (`replfs_tests::claims` says how).
#![allow(clippy::unwrap_used)]

use replfs_tests::claims;
use std::path::Path;

#[test]
fn every_claim_has_a_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // What a hostile source tries, it tries at a target alone, and a stranger at a listener.
    let suites = [here.join("tests"), here.join("../target/tests"), here.join("../scm/tests")];
    let suites = suites.each_ref().map(std::path::PathBuf::as_path);
    let faults = claims::faults(&here.join("../docs/semantics.md"), &suites).unwrap();
    assert!(faults.is_empty(), "docs/semantics.md and the tests do not belong together:\n{}", faults.join("\n"));
}

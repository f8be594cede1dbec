//! Every promise of docs/semantics.md has a test that carries its number (`replfs_tests::claims` says how).
#![allow(clippy::unwrap_used)]

use replfs_tests::claims;
use std::path::Path;

#[test]
fn every_claim_has_a_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let faults = claims::faults(&here.join("../docs/semantics.md"), &here.join("tests")).unwrap();
    assert!(faults.is_empty(), "docs/semantics.md and tests/tests do not belong together:\n{}", faults.join("\n"));
}

//! Replication sets: the text that a user writes, and the verdicts of what was read.

use protocol::RelPath;
use srm::set::{Kind, Set};

/// Paths that verdicts are asked for.
const PATHS: [&[u8]; 5] = [b"a", b"a/b.txt", b"a/.git/x", b"\xff/ \n", b"mail/cur/1:2,S"];

/// The bytes of the file.
pub fn set(bytes: &[u8]) {
    let set = match Set::parse_bytes(bytes) {
        Ok(set) => set,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && said.lines().count() <= 8, "an error for people: {said}");
            return;
        }
    };
    let again = Set::parse(set.text()).unwrap_or_else(|error| panic!("what was read does not parse again: {error}"));
    assert_eq!(set.rules().len(), again.rules().len());
    for path in PATHS.iter().filter_map(|path| RelPath::new(path).ok()) {
        for (kind, size) in [(Kind::File, 0), (Kind::File, u64::MAX), (Kind::Directory, 0)] {
            let taken = set.takes(&path, kind, size);
            assert_eq!(taken, again.takes(&path, kind, size), "{path}");
            assert!(taken || !set.is_everything(), "everything is taken");
        }
    }
}

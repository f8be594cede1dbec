//! What a source parses of small files that an earlier daemon left, as functions for those who try any bytes at all (`tests/fuzzed`). Each
//! gives the file as it would be written again, and `None` for what is none. Nothing else uses them, and no parser lives here.

use crate::{held_file, hot, remote, stand};
use protocol::RelPath;

/// What is held of names (`held_file`).
pub fn held(bytes: &[u8]) -> Option<Vec<u8>> {
    let (behind, steps) = held_file::decode(bytes)?;
    held_file::encode(&behind, &steps)
}

/// The hot set (`hot::file`).
pub fn hot_set(bytes: &[u8]) -> Option<Vec<u8>> {
    hot::file::rewritten(bytes)
}

/// Where a source stood (`stand`).
pub fn stand(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(stand::Stand::decode(bytes)?.encode().to_vec())
}

/// A slot of a proposal that was not settled (`remote::slots`), written in this boot: the paths that it names.
pub fn proposed(boot: [u8; 16], slot: &[u8]) -> Option<Vec<RelPath>> {
    remote::left_in(boot, slot)
}

/// A slot that names these paths.
pub fn propose(boot: [u8; 16], paths: &[RelPath]) -> Vec<u8> {
    remote::slot_of(boot, paths)
}

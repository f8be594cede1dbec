//! What a replica says that it is, where its target could not put everything in force: read from `user.replfs.stat` and `user.replfs.x.NAME` by a reader of its own
//! (docs/semantics.md, A212).

use super::scan::Node;
use rustix::fs::{FileType, makedev};

const STAT: &[u8] = b"user.replfs.stat";
const UNDER: &[u8] = b"user.replfs.x.";

/// The node as its source has it.
pub(super) fn told(node: &mut Node) {
    let under: Vec<Vec<u8>> = node.xattrs.keys().filter(|name| name.starts_with(UNDER)).cloned().collect();
    for name in under {
        if let Some(value) = node.xattrs.remove(&name) {
            node.xattrs.entry(name[UNDER.len()..].to_vec()).or_insert(value);
        }
    }
    let Some(text) = node.xattrs.remove(STAT).and_then(|value| String::from_utf8(value).ok()) else { return };
    let word = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let octal = |key: &str| word(key).and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let id = |key: &str| word(key).and_then(|digits| digits.parse().ok());
    if let (Some(uid), Some(gid)) = (id("uid"), id("gid")) {
        node.owner = (uid, gid);
    }
    if octal("here") == Some(node.mode)
        && let Some(mode) = octal("mode")
    {
        node.mode = mode;
    }
    let Some(mut parts) = word("node").map(|node| node.split(':')) else { return };
    node.kind = match parts.next() {
        Some("c") => FileType::CharacterDevice,
        Some("b") => FileType::BlockDevice,
        Some("p") => FileType::Fifo,
        Some("s") => FileType::Socket,
        _ => node.kind,
    };
    let mut number = || parts.next().and_then(|digits| digits.parse().ok());
    if let (Some(major), Some(minor)) = (number(), number()) {
        node.device = Some(makedev(major, minor));
    }
}

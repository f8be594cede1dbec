//! What a difference is: a name as the source has it against the target's entry. Access times, allocated blocks and holes are
//! no difference, and numbers of links neither: `links` looks at those.

use super::FindingKind;
use platform::sys::attr;
use platform::sys::xattr;
use platform::tree::Snapshot;
use protocol::{Attrs, Entry, NodeKind};

/// What is compared of a name on the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mine {
    pub kind: NodeKind,
    pub attrs: Attrs,
    /// Of a regular file; zero for all others.
    pub size: u64,
    pub xattrs: [u8; 16],
}

impl Mine {
    pub fn of(snapshot: &Snapshot) -> Self {
        let is_file = snapshot.kind == NodeKind::File;
        Self {
            kind: snapshot.kind.clone(),
            attrs: attr::attrs(&snapshot.stat),
            size: if is_file { snapshot.stat.st_size.cast_unsigned() } else { 0 },
            xattrs: xattr::digest(&snapshot.xattrs),
        }
    }
}

/// In what way the target's entry differs. `same`: whether the content is the same, where that is known.
pub(super) fn judge(mine: &Mine, theirs: &Entry, same: Option<bool>) -> Option<(FindingKind, String)> {
    if theirs.kind != mine.kind {
        let detail = if theirs.kind.same_kind(&mine.kind) {
            format!("{} that points elsewhere", word(&mine.kind))
        } else {
            format!("{} on the target, {} on the source", word(&theirs.kind), word(&mine.kind))
        };
        return Some((FindingKind::Edited, detail));
    }
    if mine.kind == NodeKind::File && theirs.size != mine.size {
        let detail = format!("{} bytes on the target, {} on the source", theirs.size, mine.size);
        return Some((FindingKind::Edited, detail));
    }
    if same == Some(false) {
        return Some(if theirs.attrs.mtime == mine.attrs.mtime {
            (FindingKind::Rotten, "other content with the same size and time".to_owned())
        } else {
            (FindingKind::Edited, "other content and another time".to_owned())
        });
    }
    attributes(mine, &theirs.attrs, theirs.xattrs)
}

/// In what way attributes differ.
pub(super) fn attributes(mine: &Mine, attrs: &Attrs, xattrs: [u8; 16]) -> Option<(FindingKind, String)> {
    let differ: Vec<&str> = [
        (attrs.owner != mine.attrs.owner, "owner"),
        (attrs.mode != mine.attrs.mode, "permissions"),
        (xattrs != mine.xattrs, "extended attributes"),
        (attrs.mtime != mine.attrs.mtime, "modification time"),
    ]
    .into_iter()
    .filter_map(|(differs, word)| differs.then_some(word))
    .collect();
    (!differ.is_empty()).then(|| (FindingKind::Attributes, differ.join(", ")))
}

pub(super) fn word(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::File => "a file",
        NodeKind::Directory => "a directory",
        NodeKind::Symlink(_) => "a symbolic link",
        NodeKind::Fifo => "a named pipe",
        NodeKind::Socket => "a socket",
        NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Name, Owner, Time};

    fn attrs() -> Attrs {
        Attrs { mode: 0o644, owner: Owner { uid: 1, gid: 2 }, mtime: Time { secs: 5, nanos: 6 } }
    }

    fn both(kind: NodeKind) -> (Mine, Entry) {
        let entry = Entry {
            name: Name::new(b"n").expect("a name"),
            kind: kind.clone(),
            attrs: attrs(),
            size: 7,
            blocks: 8,
            links: 1,
            inode: 3,
            xattrs: [0; 16],
            suspect: false,
            content: None,
        };
        (Mine { kind, attrs: attrs(), size: 7, xattrs: [0; 16] }, entry)
    }

    fn kind_of(change: impl FnOnce(&mut Entry), same: Option<bool>) -> Option<FindingKind> {
        let (mine, mut entry) = both(NodeKind::File);
        change(&mut entry);
        judge(&mine, &entry, same).map(|(kind, _)| kind)
    }

    #[test]
    fn what_is_the_same_is_no_finding() {
        assert_eq!(kind_of(|_| {}, None), None);
        assert_eq!(kind_of(|_| {}, Some(true)), None);
        // Holes, links that are counted elsewhere, and what only the target knows.
        assert_eq!(kind_of(|e| (e.blocks, e.links, e.inode, e.suspect) = (99, 7, 8, true), Some(true)), None);
    }

    #[test]
    fn content_is_rotten_where_size_and_time_say_nothing() {
        use FindingKind::{Edited, Rotten};
        assert_eq!(kind_of(|_| {}, Some(false)), Some(Rotten));
        assert_eq!(kind_of(|e| e.attrs.mtime.secs = 9, Some(false)), Some(Edited));
        assert_eq!(kind_of(|e| e.size = 9, Some(false)), Some(Edited));
        assert_eq!(kind_of(|e| e.size = 9, None), Some(Edited));
        assert_eq!(kind_of(|e| e.kind = NodeKind::Fifo, None), Some(Edited));
    }

    #[test]
    fn attributes_are_named() {
        let (mine, mut entry) = both(NodeKind::Directory);
        entry.attrs.mode = 0;
        entry.attrs.mtime.nanos = 0;
        entry.xattrs = [1; 16];
        let found = judge(&mine, &entry, None);
        let text = "permissions, extended attributes, modification time".to_owned();
        assert_eq!(found, Some((FindingKind::Attributes, text)));
    }

    #[test]
    fn a_link_that_points_elsewhere_is_edited() {
        let (mine, mut entry) = both(NodeKind::Symlink(b"a".to_vec()));
        assert_eq!(judge(&mine, &entry, None), None);
        entry.kind = NodeKind::Symlink(b"b".to_vec());
        assert!(matches!(judge(&mine, &entry, None), Some((FindingKind::Edited, text)) if text.contains("points")));
    }
}

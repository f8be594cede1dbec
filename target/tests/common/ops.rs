//! Operations in short words; what a test does not care about is filled in.

use protocol::{At, Attrs, Incarnation, Name, NodeId, NodeKind, Op, Owner, Place, RelPath, RenameKind, Replaced, Time};

/// Any time that is not now.
pub const T: Time = Time { secs: 1_234_567_890, nanos: 987_654_321 };
/// Another one: directories get it from every change.
pub const D: Time = Time { secs: 1_111_111_111, nanos: 123_456_789 };

pub fn incarnation(n: u8) -> Incarnation {
    Incarnation::from_bytes([n; 16])
}

pub fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub fn at(node: u64, text: &str) -> Place {
    Place { node: NodeId::new(node), at: At::Path(path(text)) }
}

pub fn orphan(node: u64) -> Place {
    Place { node: NodeId::new(node), at: At::Orphan }
}

pub fn attrs(mode: u32) -> Attrs {
    Attrs { mode, owner: me(), mtime: T }
}

pub fn me() -> Owner {
    Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn create(node: u64, text: &str) -> Op {
    make(node, text, NodeKind::File, 0o644)
}

pub fn mkdir(node: u64, text: &str) -> Op {
    make(node, text, NodeKind::Directory, 0o755)
}

pub fn make(node: u64, text: &str, kind: NodeKind, mode: u32) -> Op {
    Op::Create { path: path(text), node: NodeId::new(node), kind, attrs: attrs(mode), parent_mtime: D }
}

pub fn write(place: Place, offset: u64) -> Op {
    Op::Write { place, offset, mtime: T, mode: None, durable: false }
}

pub fn unlink(node: u64, text: &str) -> Op {
    Op::Unlink { path: path(text), gone: gone(node, false), directory: false, parent_mtime: D }
}

pub fn rmdir(node: u64, text: &str) -> Op {
    Op::Unlink { path: path(text), gone: gone(node, false), directory: true, parent_mtime: D }
}

pub fn gone(node: u64, orphan: bool) -> Replaced {
    Replaced { node: NodeId::new(node), orphan }
}

pub fn rename(node: u64, from: &str, to: &str, replaced: Option<Replaced>) -> Op {
    Op::Rename {
        from: path(from),
        to: path(to),
        kind: RenameKind::Replace,
        node: NodeId::new(node),
        replaced,
        from_parent_mtime: D,
        to_parent_mtime: D,
    }
}

pub fn exchange(node: u64, from: &str, to: &str) -> Op {
    Op::Rename {
        from: path(from),
        to: path(to),
        kind: RenameKind::Exchange,
        node: NodeId::new(node),
        replaced: None,
        from_parent_mtime: D,
        to_parent_mtime: D,
    }
}

pub fn link(from: Place, to: &str) -> Op {
    Op::Link { from, to: path(to), parent_mtime: D }
}

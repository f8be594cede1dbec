//! What a record or a piece must be before anything is touched because of it: bounds that the types of the protocol do not hold.

use platform::parts::Parts;
use protocol::record::{Content, Op};
use protocol::{At, Attrs, CHUNK_BYTES, Ensure, NodeKind, Owner, Phase, PieceOp, Record, Time};

const MAX_XATTR_BYTES: usize = 64 << 10;
const MAX_LINK_BYTES: usize = 4095;
const NANOS: u32 = 1_000_000_000;
/// Bytes of a block's hash.
const HASH_BYTES: u64 = 16;
/// Names of extended attributes of a node, each with a zero behind it: what the kernel lists at most.
const MAX_XATTR_NAMES_BYTES: usize = 64 << 10;
/// Bytes that one record copies: more than the kernel copies in one call. More would keep the applier from noticing that it is to
/// stop.
const MAX_COPY_BYTES: u64 = 4 << 30;

type Checked = Result<(), &'static str>;

fn that(holds: bool, or: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(or) }
}

/// Whether `record` can be asked of a target at all; the reason where not.
pub(crate) fn check(record: &Record, payload: &Parts) -> Checked {
    phase(record)?;
    match &record.op {
        _ if record.phase == Phase::Settled => that(payload.is_empty(), "content that was proposed before")?,
        Op::Write { .. } => that(!payload.is_empty(), "a write without data")?,
        Op::SetXattr { .. } => that(payload.len() <= MAX_XATTR_BYTES, "an attribute's value over 64 KiB")?,
        Op::Ensure(ensure) => content(ensure, payload)?,
        _ => that(payload.is_empty(), "a payload where none belongs")?,
    }
    match &record.op {
        Op::Write { offset, mtime, mode, .. } => {
            span(*offset, payload.len() as u64)?;
            time(*mtime)?;
            perm(*mode)
        }
        Op::SetAttr { size, owner, mode, atime, mtime, .. } => {
            span(size.unwrap_or(0), 0)?;
            owner.map_or(Ok(()), ids)?;
            perm(*mode)?;
            atime.map_or(Ok(()), time)?;
            mtime.map_or(Ok(()), time)
        }
        Op::Allocate { offset, len, mtime, perm: mode, .. } => {
            that(*len > 0, "an allocation of nothing")?;
            span(*offset, *len)?;
            time(*mtime)?;
            perm(*mode)
        }
        Op::CopyRange { from_offset, to_offset, len, mtime, perm: mode, .. } => {
            that((1..=MAX_COPY_BYTES).contains(len), "a copy of nothing or of too much")?;
            span(*from_offset, *len)?;
            span(*to_offset, *len)?;
            time(*mtime)?;
            perm(*mode)
        }
        Op::SetXattr { name, mode, .. } | Op::RemoveXattr { name, mode, .. } => {
            xattr_name(name)?;
            perm(*mode)
        }
        Op::Create { path, kind: node, attrs: with, parent_mtime, .. } => {
            that(!path.is_root(), "the root as a new name")?;
            kind(node)?;
            attrs(with)?;
            time(*parent_mtime)
        }
        Op::Link { from, to, parent_mtime } => {
            that(!to.is_root(), "the root as a new name")?;
            that(!matches!(&from.at, At::Path(path) if path.is_root()), "a link to the root")?;
            time(*parent_mtime)
        }
        Op::Unlink { path, parent_mtime, .. }
        | Op::SetAside { path, parent_mtime }
        | Op::Remove { path, parent_mtime } => {
            that(!path.is_root(), "the root as a name that goes")?;
            time(*parent_mtime)
        }
        Op::Rename { from, to, from_parent_mtime, to_parent_mtime, .. } => {
            that(!from.is_root() && !to.is_root(), "a rename of the root")?;
            time(*from_parent_mtime)?;
            time(*to_parent_mtime)
        }
        Op::Ensure(wanted) => ensure(wanted),
        Op::Compare { offset, len, block_bytes, hashes, .. } => compare(*offset, *len, *block_bytes, hashes),
        Op::Reap { .. } | Op::Fsync { .. } | Op::List { .. } | Op::Look { .. } | Op::Mark(_) => Ok(()),
    }
}

/// Whether the operation is one that can be proposed, or settled.
fn phase(record: &Record) -> Checked {
    let proposes = match &record.op {
        Op::Write { .. }
        | Op::SetAttr { .. }
        | Op::Allocate { .. }
        | Op::CopyRange { .. }
        | Op::SetXattr { .. }
        | Op::RemoveXattr { .. }
        | Op::Create { .. }
        | Op::Link { .. }
        | Op::Unlink { .. }
        | Op::Rename { .. } => true,
        Op::Fsync { .. } => record.phase == Phase::Proposed,
        Op::Reap { .. }
        | Op::Ensure(_)
        | Op::SetAside { .. }
        | Op::Remove { .. }
        | Op::List { .. }
        | Op::Look { .. }
        | Op::Compare { .. }
        | Op::Mark(_) => false,
    };
    that(proposes || record.phase == Phase::Plain, "a proposal of what cannot be proposed")
}

/// Whether a piece can be asked of a target at all; the reason where not.
pub(crate) fn check_piece(op: &PieceOp, payload: &Parts) -> Checked {
    match op {
        PieceOp::Data { offset, .. } => {
            that((1..=CHUNK_BYTES).contains(&(payload.len() as u64)), "a piece of no or too much data")?;
            return span(*offset, payload.len() as u64);
        }
        _ => that(payload.is_empty(), "a payload where none belongs")?,
    }
    match op {
        PieceOp::Open { size, .. } => span(*size, 0),
        PieceOp::Hole { offset, len, .. } => {
            that(*len > 0, "a hole of nothing")?;
            span(*offset, *len)
        }
        PieceOp::Compare { offset, len, block_bytes, hashes, .. } => compare(*offset, *len, *block_bytes, hashes),
        PieceOp::Chunks { path, offset, .. } => {
            that(!path.is_root(), "chunks of a directory")?;
            span(*offset, 0)
        }
        PieceOp::CopyFrom { offset, len, path, from, .. } => {
            that(!path.is_root(), "a copy of a directory")?;
            that((1..=CHUNK_BYTES).contains(len), "a copy of nothing or of too much")?;
            span(*offset, *len)?;
            span(*from, *len)
        }
        PieceOp::Data { .. } | PieceOp::Drop { .. } => Ok(()),
    }
}

fn compare(offset: u64, len: u64, block_bytes: u32, hashes: &[u8]) -> Checked {
    span(offset, len)?;
    that(len <= CHUNK_BYTES && block_bytes > 0, "a comparison out of bounds")?;
    let blocks = len.div_ceil(u64::from(block_bytes));
    that(hashes.len() as u64 == blocks * HASH_BYTES, "a comparison with too many or too few hashes")
}

fn content(ensure: &Ensure, payload: &Parts) -> Checked {
    match ensure.content {
        Content::Keep => that(payload.is_empty(), "a payload where none belongs"),
        Content::Whole => {
            that(ensure.kind == NodeKind::File, "content for what is no file")?;
            that(payload.len() as u64 == ensure.size, "content that is not of the file's size")
        }
        Content::Staged(_) => {
            that(ensure.kind == NodeKind::File, "content for what is no file")?;
            that(payload.is_empty(), "a payload where none belongs")
        }
    }
}

fn ensure(ensure: &Ensure) -> Checked {
    kind(&ensure.kind)?;
    attrs(&ensure.attrs)?;
    time(ensure.atime)?;
    ensure.parent_mtime.map_or(Ok(()), time)?;
    span(ensure.size, 0)?;
    that(ensure.size == 0 || ensure.kind == NodeKind::File, "a size for what is no file")?;
    that(!ensure.path.is_root() || ensure.kind == NodeKind::Directory, "a root that is no directory")?;
    let names: usize = ensure.xattrs.iter().map(|(name, _)| name.len() + 1).sum();
    that(names <= MAX_XATTR_NAMES_BYTES, "more extended attributes than a node can have")?;
    for (name, value) in &ensure.xattrs {
        xattr_name(name)?;
        that(value.len() <= MAX_XATTR_BYTES, "an attribute's value over 64 KiB")?;
    }
    Ok(())
}

fn span(offset: u64, len: u64) -> Checked {
    that(offset.checked_add(len).is_some_and(|end| i64::try_from(end).is_ok()), "a place beyond the largest file")
}

fn time(time: Time) -> Checked {
    that(time.nanos < NANOS, "a time with too many nanoseconds")
}

fn perm(mode: Option<u32>) -> Checked {
    that(mode.is_none_or(|mode| mode <= 0o7777), "permissions with other bits")
}

fn ids(owner: Owner) -> Checked {
    // The largest number means "leave it" to chown(2).
    that(owner.uid != u32::MAX && owner.gid != u32::MAX, "an owner that is no id")
}

fn attrs(attrs: &Attrs) -> Checked {
    perm(Some(attrs.mode))?;
    ids(attrs.owner)?;
    time(attrs.mtime)
}

fn kind(kind: &NodeKind) -> Checked {
    match kind {
        NodeKind::Symlink(to) => {
            that((1..=MAX_LINK_BYTES).contains(&to.len()) && !to.contains(&0), "a symbolic link to no path")
        }
        _ => Ok(()),
    }
}

fn xattr_name(name: &[u8]) -> Checked {
    that((1..=255).contains(&name.len()) && !name.contains(&0), "an attribute without a proper name")
}

//! What a node is on the source and cannot, or may not, be here (T5, T8): kept in extended attributes of the node, told to the source as if it were so.
//!
//! - `user.replfs.stat` has owner, permissions and kind: `1 uid=0 gid=0 mode=4755 here=755`. The first word is the version. `mode` and `here` are octal:
//!   the permissions on the source, and those that the node was given here. Where these have been changed since, by somebody else, `mode` does not count. A node that
//!   could not be made is an empty file with a word more: `node=c:1:3` (a character device, major and minor number), `node=b:8:0` (a block device), `node=p` (a named
//!   pipe), `node=s` (a socket).
//! - `user.replfs.x.NAME` has the attribute NAME: one that cannot be set here, or that begins with `user.replfs.` itself. So a source cannot forge either.
//!
//! Only what is text stands here. Whether anything is kept is known by `marker`; what is in force is decided by `apply::force`.

mod marker;

pub(crate) use marker::Marker;

use platform::sys::attr;
use platform::sys::xattr::{self, Pair};
use protocol::{NodeKind, Owner};
use rustix::fs::{FileType, Stat, major, makedev, minor};
use std::io;
use std::os::fd::BorrowedFd;

/// The attribute for owner, permissions and kind.
pub(crate) const STAT: &[u8] = b"user.replfs.stat";
/// What no attribute of a source's may begin with here.
const OWN: &[u8] = b"user.replfs.";
/// What an attribute's name has before it that is kept.
const UNDER: &[u8] = b"user.replfs.x.";
/// Capabilities of a program file.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";
const ACL: &[u8] = b"system.posix_acl_access";
const VERSION: &str = "1";

/// What a node is to its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Truth {
    pub owner: Owner,
    pub mode: u32,
    /// What it is, where it is something else here.
    pub special: Option<NodeKind>,
}

impl Truth {
    /// By what it is here, and what is kept of it. A placeholder that somebody has filled is a file.
    pub fn of(stat: &Stat, kept: Option<&Kept>) -> Self {
        let perm = attr::perm(stat);
        let Some(kept) = kept else {
            return Self { owner: Owner { uid: stat.st_uid, gid: stat.st_gid }, mode: perm, special: None };
        };
        let empty = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0;
        let mode = if kept.here == perm { kept.mode } else { perm };
        Self { owner: kept.owner, mode, special: kept.special.clone().filter(|_| empty) }
    }
}

/// What is kept of a node in [`STAT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub owner: Owner,
    pub mode: u32,
    /// The permissions that the node has here.
    pub here: u32,
    /// What it is, where that could not be made.
    pub special: Option<NodeKind>,
}

impl Kept {
    pub fn text(&self) -> String {
        let Owner { uid, gid } = self.owner;
        let node = match &self.special {
            Some(NodeKind::CharDevice(number)) => format!(" node=c:{}:{}", major(*number), minor(*number)),
            Some(NodeKind::BlockDevice(number)) => format!(" node=b:{}:{}", major(*number), minor(*number)),
            Some(NodeKind::Fifo) => " node=p".to_owned(),
            Some(NodeKind::Socket) => " node=s".to_owned(),
            Some(NodeKind::File | NodeKind::Directory | NodeKind::Symlink(_)) | None => String::new(),
        };
        format!("{VERSION} uid={uid} gid={gid} mode={:o} here={:o}{node}", self.mode, self.here)
    }

    /// `None`: it was written by somebody else, or by a later version, and counts for nothing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        (words.next()? == VERSION).then_some(())?;
        let mut word = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let id = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX);
        let perm = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        let owner = Owner { uid: id(word("uid")?)?, gid: id(word("gid")?)? };
        let (mode, here) = (perm(word("mode")?)?, perm(word("here")?)?);
        let special = match words.next() {
            Some(node) => Some(special(node.strip_prefix("node=")?)?),
            None => None,
        };
        words.next().is_none().then_some(Self { owner, mode, here, special })
    }

    /// Of what is kept here at all: regular files and directories. An error is one of the disk.
    pub fn read(fd: BorrowedFd<'_>, stat: &Stat) -> io::Result<Option<Self>> {
        if !takes(stat) {
            return Ok(None);
        }
        match xattr::get(fd, STAT) {
            Ok(value) => Ok(Self::parse(&value)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn special(text: &str) -> Option<NodeKind> {
    let mut parts = text.split(':');
    let kind = parts.next()?;
    let mut number = || parts.next()?.parse::<u32>().ok();
    let node = match kind {
        "c" => NodeKind::CharDevice(makedev(number()?, number()?)),
        "b" => NodeKind::BlockDevice(makedev(number()?, number()?)),
        "p" => NodeKind::Fifo,
        "s" => NodeKind::Socket,
        _ => return None,
    };
    parts.next().is_none().then_some(node)
}

/// Whether such a node can have attributes of the namespace `user`.
pub(crate) fn takes(stat: &Stat) -> bool {
    matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory)
}

/// Under which name an attribute is kept.
pub(crate) fn under(name: &[u8]) -> Vec<u8> {
    [UNDER, name].concat()
}

/// The name of the attribute that is kept under this one.
pub(crate) fn plain(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(UNDER)
}

/// Whether a source's attribute has a name that stands for something else here.
pub(crate) fn is_own(name: &[u8]) -> bool {
    name.starts_with(OWN)
}

/// The attributes of a node as its source knows them, out of those that it has here; what is kept in [`STAT`].
pub(crate) fn shown(pairs: Vec<Pair>, here: u32) -> (Vec<Pair>, Option<Kept>) {
    let mut kept = None;
    let mut out: Vec<Pair> = Vec::with_capacity(pairs.len());
    let mut under = Vec::new();
    for (name, value) in pairs {
        match name.strip_prefix(UNDER) {
            Some(name) => under.push((name.to_vec(), value)),
            None if name == STAT => kept = Kept::parse(&value),
            None => out.push((name, value)),
        }
    }
    // What is in force is what the node has.
    under.retain(|(name, _)| !out.iter().any(|(there, _)| there == name));
    out.append(&mut under);
    if let Some(kept) = &kept
        && kept.here == here
        && kept.mode != here
    {
        for (_, value) in out.iter_mut().filter(|(name, _)| name == ACL) {
            acl_of(value, kept.mode);
        }
    }
    (out, kept)
}

/// The entries of an ACL that are the node's permissions become those of `mode`.
fn acl_of(value: &mut [u8], mode: u32) {
    const HEADER: usize = 4;
    let Some(entries) = value.get_mut(HEADER..) else { return };
    let tag = |entry: &[u8]| u16::from_le_bytes([entry[0], entry[1]]);
    let (user, group, mask, other) = (0x01, 0x04, 0x10, 0x20);
    let masked = entries.chunks_exact(8).any(|entry| tag(entry) == mask);
    for entry in entries.chunks_exact_mut(8) {
        let perm = match tag(entry) {
            t if t == user => mode >> 6,
            t if t == mask || t == group && !masked => mode >> 3,
            t if t == other => mode,
            _ => continue,
        };
        // Three bits.
        entry[2] = u8::try_from(perm & 7).unwrap_or(0);
        entry[3] = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn kept(special: Option<NodeKind>) -> Kept {
        Kept { owner: Owner { uid: 0, gid: 4242 }, mode: 0o4755, here: 0o755, special }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        assert_eq!(kept(None).text(), "1 uid=0 gid=4242 mode=4755 here=755");
        let device = NodeKind::BlockDevice(makedev(259, 70_000));
        assert_eq!(kept(Some(device.clone())).text(), "1 uid=0 gid=4242 mode=4755 here=755 node=b:259:70000");
        for node in [
            None,
            Some(device),
            Some(NodeKind::CharDevice(makedev(1, 3))),
            Some(NodeKind::Fifo),
            Some(NodeKind::Socket),
        ] {
            assert_eq!(Kept::parse(kept(node.clone()).text().as_bytes()), Some(kept(node)));
        }
    }

    #[test]
    fn what_somebody_else_wrote_counts_for_nothing() {
        let bad = [
            "",
            "1",
            "2 uid=0 gid=0 mode=0 here=0",
            "1 uid=0 gid=0 mode=8 here=0",
            "1 uid=0 gid=0 mode=17777 here=0",
            "1 uid=4294967295 gid=0 mode=0 here=0",
            "1 uid=-1 gid=0 mode=0 here=0",
            "1 uid=0 gid=0 mode=0",
            "1 uid=0 gid=0 mode=0 here=0 node=x",
            "1 uid=0 gid=0 mode=0 here=0 node=c:1",
            "1 uid=0 gid=0 mode=0 here=0 node=c:1:3:4",
            "1 uid=0 gid=0 mode=0 here=0 node=p more",
            "1 uid=0  gid=0 mode=0 here=0",
        ];
        for text in bad {
            assert_eq!(Kept::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Kept::parse(b"1 uid=\xff"), None);
    }

    #[test]
    fn a_source_is_told_its_own_attributes() {
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        let stored = vec![
            pair(STAT, kept(None).text().as_bytes()),
            pair(&under(b"user.replfs.stat"), b"forged"),
            pair(b"user.a", b"1"),
            pair(&under(b"trusted.t"), b"2"),
            pair(&under(CAPABILITY), b"old"),
            pair(CAPABILITY, b"new"),
        ];
        let (pairs, found) = shown(stored, 0o755);
        let told = vec![
            pair(b"user.a", b"1"),
            pair(CAPABILITY, b"new"),
            pair(b"user.replfs.stat", b"forged"),
            pair(b"trusted.t", b"2"),
        ];
        assert_eq!((pairs, found), (told, Some(kept(None))));
    }

    #[test]
    fn an_acl_is_told_with_the_kept_permissions() {
        let entry = |tag: u8, perm: u8| [tag, 0, perm, 0, 255, 255, 255, 255];
        let acl = |user: u8, mask: u8| {
            let mut value = vec![2, 0, 0, 0];
            for part in [entry(0x01, user), entry(0x02, 7), entry(0x04, 5), entry(0x10, mask), entry(0x20, 5)] {
                value.extend(part);
            }
            value
        };
        let stat = Kept { mode: 0o055, here: 0o755, ..kept(None) }.text().into_bytes();
        let (told, _) = shown(vec![(STAT.to_vec(), stat.clone()), (ACL.to_vec(), acl(7, 5))], 0o755);
        assert_eq!(told, [(ACL.to_vec(), acl(0, 5))]);
        let (told, _) = shown(vec![(STAT.to_vec(), stat), (ACL.to_vec(), acl(7, 5))], 0o700);
        assert_eq!(told, [(ACL.to_vec(), acl(7, 5))], "somebody changed the permissions: what is there counts");
    }
}

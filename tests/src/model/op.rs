//! What a program may do, as data: operations on a small universe of names and a few open files. Carried out elsewhere;
//! `Debug` of a step is what a failure prints.

use super::user::User;
use rustix::fs::{Access, FallocateFlags, FileType, OFlags, RenameFlags, XattrFlags};
use std::fmt;

/// Open files that a sequence has at a time.
pub const SLOTS: usize = 3;

/// A path relative to the root of a side, without `..`.
#[derive(Clone, PartialEq, Eq)]
pub struct Path(pub String);

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Permission bits, shown as everybody writes them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bits(pub u32);

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06o}", self.0)
    }
}

impl From<Bits> for rustix::fs::Mode {
    fn from(bits: Bits) -> Self {
        Self::from_raw_mode(bits.0)
    }
}

/// Which open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub usize);

/// What an operation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// A name; symbolic links are followed.
    Name(Path),
    /// A name; a symbolic link is meant itself.
    Link(Path),
    /// An open file, whatever became of its name.
    Open(Slot),
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `UTIME_OMIT`.
    Omit,
    /// `UTIME_NOW`.
    Now,
    /// Seconds and nanoseconds, long ago (see `outcome::When`).
    At(i64, u32),
}

/// How content repeats: no two positions near each other have the same byte, so misplaced bytes show.
pub fn pattern(start: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| start.wrapping_add(u8::try_from(i % 251).unwrap_or(0))).collect()
}

/// An access control list (acl(5)): owner, one user, the group, one group, mask, others. Left out: both `None` and no mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Rights of the owner, the owning group, others: 0 to 7.
    pub base: [u16; 3],
    /// A user by name and its rights.
    pub user: Option<(User, u16)>,
    /// The rights of the group that two users share.
    pub team: Option<u16>,
    /// The mask; without one, an ACL that names somebody is refused.
    pub mask: Option<u16>,
}

impl Acl {
    /// As `linux/posix_acl_xattr.h` has it.
    pub fn encoded(&self) -> Vec<u8> {
        const NOBODY_IN_PARTICULAR: u32 = u32::MAX;
        let entries = [
            Some((0x01, self.base[0], NOBODY_IN_PARTICULAR)),
            self.user.map(|(user, perm)| (0x02, perm, user.uid())),
            Some((0x04, self.base[1], NOBODY_IN_PARTICULAR)),
            self.team.map(|perm| (0x08, perm, super::user::TEAM)),
            self.mask.map(|perm| (0x10, perm, NOBODY_IN_PARTICULAR)),
            Some((0x20, self.base[2], NOBODY_IN_PARTICULAR)),
        ];
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries.into_iter().flatten() {
            value.extend_from_slice(&u16::to_le_bytes(tag));
            value.extend_from_slice(&u16::to_le_bytes(perm));
            value.extend_from_slice(&u32::to_le_bytes(id));
        }
        value
    }
}

/// Where `lseek` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// `SEEK_SET`.
    Set(u64),
    /// `SEEK_CUR`.
    Current(i64),
    /// `SEEK_END`.
    End(i64),
}

/// One operation. Where an open file is missing, nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the system call of its name, its fields are that call's
pub enum Op {
    Stat { on: On },
    Access { path: Path, how: Access },
    Readlink { path: Path },
    ListDir { path: Path },
    ListOpenDir { slot: Slot },
    Open { slot: Slot, path: Path, flags: OFlags, mode: Bits },
    Close { slot: Slot },
    Read { slot: Slot, at: Option<u64>, len: usize },
    Write { slot: Slot, at: Option<u64>, len: usize, start: u8 },
    Seek { slot: Slot, to: Seek },
    FindData { slot: Slot, from: u64 },
    FindHole { slot: Slot, from: u64 },
    Truncate { on: On, len: u64 },
    Fsync { slot: Slot, data_only: bool },
    Fallocate { slot: Slot, mode: FallocateFlags, offset: u64, len: u64 },
    CopyRange { from: Slot, from_offset: u64, to: Slot, to_offset: u64, len: usize },
    MapWrite { slot: Slot, at: usize, len: usize, start: u8 },
    Mkdir { path: Path, mode: Bits },
    Mknod { path: Path, kind: FileType, mode: Bits },
    Symlink { target: String, path: Path },
    Link { from: Path, to: Path },
    Unlink { path: Path },
    Rmdir { path: Path },
    Rename { from: Path, to: Path, flags: RenameFlags },
    Chmod { on: On, mode: Bits },
    Chown { on: On, uid: Option<u32>, gid: Option<u32> },
    Utimens { on: On, atime: Time, mtime: Time },
    SetXattr { on: On, name: &'static str, len: usize, start: u8, flags: XattrFlags },
    SetAcl { on: On, default: bool, acl: Acl },
    GetXattr { on: On, name: &'static str, room: usize },
    ListXattr { on: On },
    RemoveXattr { on: On, name: &'static str },
}

/// An operation and who does it.
#[derive(Clone, PartialEq, Eq)]
pub struct Step {
    /// Whose rights count.
    pub user: User,
    /// What is done.
    pub op: Op,
    /// Whether all that it was about, and all open files, are looked at afterwards (`agree`). That finds what is wrong sooner,
    /// and fills the kernel's caches, where what is out of date can be found later; without it they stay as programs leave them.
    pub look: bool,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}{}", self.user, self.op, if self.look { ", and look" } else { "" })
    }
}

/// A step of somebody.
pub fn step(user: User, op: Op) -> Step {
    Step { user, op, look: false }
}

impl Op {
    /// The names that it is about.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Stat { on }
            | Self::Truncate { on, .. }
            | Self::Chmod { on, .. }
            | Self::Chown { on, .. }
            | Self::Utimens { on, .. }
            | Self::SetXattr { on, .. }
            | Self::SetAcl { on, .. }
            | Self::GetXattr { on, .. }
            | Self::ListXattr { on }
            | Self::RemoveXattr { on, .. } => match on {
                On::Name(path) | On::Link(path) => vec![path],
                On::Open(_) => Vec::new(),
            },
            Self::Access { path, .. }
            | Self::Readlink { path }
            | Self::ListDir { path }
            | Self::Open { path, .. }
            | Self::Mkdir { path, .. }
            | Self::Mknod { path, .. }
            | Self::Symlink { path, .. }
            | Self::Unlink { path }
            | Self::Rmdir { path } => vec![path],
            Self::Link { from, to } | Self::Rename { from, to, .. } => vec![from, to],
            _ => Vec::new(),
        }
    }
}

/// What every sequence begins with: open directories, one of a shared group with setgid, one sticky, a symbolic link, and a
/// file of each user; two files and a directory are open.
pub fn fixture() -> Vec<Step> {
    let path = |text: &str| Path(text.to_owned());
    let mkdir = |name: &str, mode| {
        let mode = Bits(mode);
        let on = On::Name(path(name));
        [Op::Mkdir { path: path(name), mode }, Op::Chmod { on, mode }].map(|op| step(User::Root, op))
    };
    let file = |user, name: &str, mode, slot| {
        let mode = Bits(mode);
        let flags = OFlags::CREATE | OFlags::RDWR;
        [Op::Open { slot, path: path(name), flags, mode }, Op::Write { slot, at: Some(0), len: 5000, start: 1 }]
            .map(|op| step(user, op))
    };
    let own = |name: &str, user: User| {
        let op = Op::Chown { on: On::Name(path(name)), uid: Some(user.uid()), gid: Some(user.gid()) };
        [step(User::Root, op)]
    };
    let xattr = |name: &str| {
        let (on, flags) = (On::Name(path(name)), XattrFlags::empty());
        step(User::Root, Op::SetXattr { on, name: "user.one", len: 20, start: 65, flags })
    };
    let setgid = Op::Chmod { on: On::Name(path("b")), mode: Bits(0o2775) };
    let link = Op::Symlink { target: "b".to_owned(), path: path("a/c") };
    let listed = Op::Open { slot: Slot(2), path: path("a"), flags: OFlags::RDONLY, mode: Bits(0) };
    [
        &[mkdir("a", 0o777), mkdir("a/a", 0o775), mkdir("b", 0o777), mkdir("c", 0o1777)].concat()[..],
        &own("a/a", User::Alice),
        &own("b", User::Alice),
        &[step(User::Root, setgid), step(User::Alice, link)],
        &file(User::Bob, "c/b", 0o640, Slot(0)),
        &file(User::Root, "d", 0o666, Slot(0)),
        &file(User::Alice, "a/b", 0o664, Slot(1)),
        &[step(User::Root, listed), xattr("d"), xattr("a")],
    ]
    .concat()
}

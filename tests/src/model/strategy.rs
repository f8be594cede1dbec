//! Which sequences are made: proptest strategies over the small universe of `op`. Everything shrinks towards short sequences,
//! root, the first name, small numbers.
//!
//! Left out, because a FUSE file system cannot be the same there (docs/semantics.md, "Limits"):
//! - `O_TMPFILE`, `FALLOC_FL_COLLAPSE_RANGE`, `FALLOC_FL_INSERT_RANGE`, ioctls: A77, A79, A80;
//! - positions in directories: each file system's own (`side::content`);
//! - a chown that names nobody: A97 (`semantics::privilege` has what holds);
//! - `O_EXCL` without `O_CREAT`: open(2) leaves it undefined.
//!
//! Not made here, although the mount can: `O_PATH`, `RENAME_WHITEOUT`, `O_DIRECT`, locks, devices other than one, `..` in paths.

use super::op::{Acl, Bits, On, Op, Path, SLOTS, Seek, Slot, Step, Time};
use super::user::{TEAM, User};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rustix::fs::{Access, FallocateFlags, FileType, OFlags, RenameFlags, XattrFlags};

/// Names in every directory.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Those that a sequence begins with (`op::fixture`), so that most operations find something.
const KNOWN: [&str; 8] = ["d", "a/b", "c/b", "a/c", "a", "a/a", "b", "c"];
const FILES: [&str; 3] = ["d", "a/b", "c/b"];
const DIRS: [&str; 4] = ["a", "b", "c", "a/a"];

const XATTRS: [&str; 6] =
    ["user.one", "user.two", "trusted.one", "security.model", "system.posix_acl_access", "system.posix_acl_default"];

/// Sequences of up to `longest` steps. Without mappings where others may cut the file short meanwhile: the kernel ends a
/// process (`SIGBUS`) that touches what is gone.
pub fn sequence(longest: usize, mappings: bool) -> impl Strategy<Value = Vec<Step>> {
    vec(step(mappings), 1..=longest)
}

/// One step of somebody.
pub fn step(mappings: bool) -> impl Strategy<Value = Step> {
    (user(), op(mappings), any::<bool>()).prop_map(|(user, op, look)| Step { user, op, look })
}

fn user() -> impl Strategy<Value = User> {
    select(vec![User::Root, User::Alice, User::Root, User::Alice, User::Bob])
}

fn depth(n: usize) -> impl Strategy<Value = Path> {
    vec(select(NAMES.to_vec()), n).prop_map(|names| Path(names.join("/")))
}

fn one_of(paths: &[&'static str]) -> impl Strategy<Value = Path> {
    select(paths.to_vec()).prop_map(|path| Path(path.to_owned()))
}

/// Of something that is there, mostly.
fn path() -> BoxedStrategy<Path> {
    prop_oneof![6 => one_of(&KNOWN), 1 => depth(1), 3 => in_a_directory(), 1 => depth(3)].boxed()
}

/// Of something that can be made, mostly.
fn fresh() -> BoxedStrategy<Path> {
    prop_oneof![1 => depth(1), 5 => in_a_directory(), 1 => one_of(&KNOWN)].boxed()
}

fn in_a_directory() -> impl Strategy<Value = Path> {
    (one_of(&DIRS), depth(1)).prop_map(|(dir, name)| Path(format!("{}/{}", dir.0, name.0)))
}

fn slot() -> impl Strategy<Value = Slot> {
    // The last one begins as a directory.
    select(vec![0, 1, 0, 1, SLOTS - 1]).prop_map(Slot)
}

fn on() -> BoxedStrategy<On> {
    prop_oneof![4 => path().prop_map(On::Name), 2 => slot().prop_map(On::Open), 1 => path().prop_map(On::Link)].boxed()
}

/// What chmod, truncate can be about: they have no form for a symbolic link itself.
fn on_followed() -> impl Strategy<Value = On> {
    let name = prop_oneof![one_of(&FILES), path()].prop_map(On::Name);
    prop_oneof![2 => name, 1 => slot().prop_map(On::Open)]
}

/// A position or length: small, or around a border of blocks and requests.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => 0_u64..12_000,
        9 => select(vec![0, 1, 4095, 4096, 4097, 8192, 16_384, 65_536, 131_071, 131_073]),
        3 => 0_u64..300_000,
        // The largest request to a FUSE file system.
        1 => (1_u64 << 20) - 1..(1 << 20) + 2,
    ]
}

fn length() -> impl Strategy<Value = usize> {
    number().prop_map(|n| usize::try_from(n).unwrap_or(0))
}

fn mode() -> BoxedStrategy<Bits> {
    prop_oneof![
        4 => select(vec![0o644, 0o666, 0o777, 0o777, 0o755, 0o600, 0o700, 0o444, 0]),
        2 => select(vec![0o4755, 0o2755, 0o6777, 0o2644, 0o2666, 0o2775, 0o1777, 0o3777, 0o2060]),
        1 => 0_u32..0o10000,
    ]
    .prop_map(Bits)
    .boxed()
}

fn flags() -> BoxedStrategy<OFlags> {
    let access = select(vec![OFlags::RDWR, OFlags::RDWR, OFlags::WRONLY, OFlags::RDONLY]);
    let none = OFlags::empty();
    let create = select(vec![none, OFlags::CREATE, none, OFlags::CREATE, none, OFlags::CREATE | OFlags::EXCL]);
    let rare = |flag: OFlags, once_in: usize| {
        let mut choice = vec![OFlags::empty(); once_in];
        choice[once_in - 1] = flag;
        select(choice)
    };
    let others = (
        rare(OFlags::TRUNC, 4),
        rare(OFlags::APPEND, 5),
        rare(OFlags::SYNC, 8),
        rare(OFlags::DSYNC, 12),
        rare(OFlags::NOFOLLOW, 12),
        rare(OFlags::DIRECTORY, 12),
        rare(OFlags::NOATIME, 12),
    );
    (access, create, others)
        .prop_map(|(access, create, (a, b, c, d, e, f, g))| access | create | a | b | c | d | e | f | g)
        .boxed()
}

fn time() -> impl Strategy<Value = Time> {
    let set = vec![(0, 0), (1, 1), (-1, 999_999_999), (1_000_000_000, 123_456_789), (1_234_567_890, 999_999_999)];
    prop_oneof![2 => select(set).prop_map(|(s, n)| Time::At(s, n)), 1 => Just(Time::Now), 1 => Just(Time::Omit)]
}

fn acl() -> impl Strategy<Value = Acl> {
    let perm = || 0_u16..8;
    let somebody = (select(vec![User::Alice, User::Bob]), perm());
    let mask = prop_oneof![7 => perm().prop_map(Some), 1 => Just(None)];
    ([perm(), perm(), perm()], option::of(somebody), option::of(perm()), mask)
        .prop_map(|(base, user, team, mask)| Acl { base, user, team, mask })
}

fn op(mappings: bool) -> BoxedStrategy<Op> {
    prop_oneof![
        18 => looks(),
        24 => names(),
        16 => open(),
        28 => content(mappings),
        14 => attributes(),
        12 => xattrs(),
    ]
    .boxed()
}

fn looks() -> BoxedStrategy<Op> {
    let how = select(vec![Access::EXISTS, Access::READ_OK, Access::WRITE_OK, Access::EXEC_OK]);
    prop_oneof![
        6 => on().prop_map(|on| Op::Stat { on }),
        2 => (path(), how).prop_map(|(path, how)| Op::Access { path, how }),
        1 => prop_oneof![one_of(&["a/c"]), path()].prop_map(|path| Op::Readlink { path }),
        3 => prop_oneof![one_of(&DIRS), path()].prop_map(|path| Op::ListDir { path }),
        1 => Just(Slot(SLOTS - 1)).prop_map(|slot| Op::ListOpenDir { slot }),
    ]
    .boxed()
}

fn names() -> BoxedStrategy<Op> {
    let kind = select(vec![FileType::Fifo, FileType::RegularFile, FileType::Socket, FileType::CharacterDevice]);
    let plain = RenameFlags::empty();
    let flags = select(vec![plain, plain, plain, RenameFlags::NOREPLACE, RenameFlags::EXCHANGE]);
    // None has `..`, which could lead out of a side.
    let target = select(vec!["a", "b", "a/b", "c/b", "none", "."]).prop_map(str::to_owned);
    prop_oneof![
        4 => (fresh(), mode()).prop_map(|(path, mode)| Op::Mkdir { path, mode }),
        2 => (fresh(), kind, mode()).prop_map(|(path, kind, mode)| Op::Mknod { path, kind, mode }),
        2 => (target, fresh()).prop_map(|(target, path)| Op::Symlink { target, path }),
        4 => (prop_oneof![one_of(&FILES), path()], fresh()).prop_map(|(from, to)| Op::Link { from, to }),
        4 => path().prop_map(|path| Op::Unlink { path }),
        2 => path().prop_map(|path| Op::Rmdir { path }),
        7 => (path(), prop_oneof![path(), fresh()], flags).prop_map(|(from, to, flags)| Op::Rename { from, to, flags }),
    ]
    .boxed()
}

fn open() -> BoxedStrategy<Op> {
    prop_oneof![
        5 => (slot(), prop_oneof![path(), fresh()], flags(), mode())
            .prop_map(|(slot, path, flags, mode)| Op::Open { slot, path, flags, mode }),
        1 => slot().prop_map(|slot| Op::Close { slot }),
    ]
    .boxed()
}

fn content(mappings: bool) -> BoxedStrategy<Op> {
    let at = || option::of(number());
    let seek = prop_oneof![
        number().prop_map(Seek::Set),
        (-5000_i64..5000).prop_map(Seek::Current),
        (-5000_i64..5000).prop_map(Seek::End),
    ];
    let keep = FallocateFlags::KEEP_SIZE;
    let modes = select(vec![
        FallocateFlags::empty(),
        keep,
        FallocateFlags::PUNCH_HOLE | keep,
        FallocateFlags::PUNCH_HOLE | keep,
        FallocateFlags::ZERO_RANGE,
        FallocateFlags::ZERO_RANGE | keep,
        // Refused: a hole keeps the size.
        FallocateFlags::PUNCH_HOLE,
    ]);
    let mapped = (slot(), 0_usize..5000, 1_usize..5000, any::<u8>());
    prop_oneof![
        7 => (slot(), at(), length(), any::<u8>())
            .prop_map(|(slot, at, len, start)| Op::Write { slot, at, len, start }),
        4 => (slot(), at(), length()).prop_map(|(slot, at, len)| Op::Read { slot, at, len }),
        1 => (slot(), seek).prop_map(|(slot, to)| Op::Seek { slot, to }),
        1 => (slot(), number()).prop_map(|(slot, from)| Op::FindData { slot, from }),
        1 => (slot(), number()).prop_map(|(slot, from)| Op::FindHole { slot, from }),
        3 => (on_followed(), number()).prop_map(|(on, len)| Op::Truncate { on, len }),
        1 => (slot(), any::<bool>()).prop_map(|(slot, data_only)| Op::Fsync { slot, data_only }),
        3 => (slot(), modes, number(), number())
            .prop_map(|(slot, mode, offset, len)| Op::Fallocate { slot, mode, offset, len }),
        2 => (slot(), number(), slot(), number(), length()).prop_map(|(from, from_offset, to, to_offset, len)| {
            Op::CopyRange { from, from_offset, to, to_offset, len }
        }),
        if mappings { 3 } else { 0 } => mapped
            .prop_map(|(slot, at, len, start)| Op::MapWrite { slot, at, len, start }),
    ]
    .boxed()
}

fn attributes() -> BoxedStrategy<Op> {
    let uid = select(vec![User::Alice.uid(), User::Bob.uid(), 0]);
    let gid = select(vec![TEAM, User::Bob.gid(), 0]);
    let owner = prop_oneof![
        2 => gid.clone().prop_map(|gid| (None, Some(gid))),
        2 => uid.clone().prop_map(|uid| (Some(uid), None)),
        1 => (uid, gid).prop_map(|(uid, gid)| (Some(uid), Some(gid))),
    ];
    prop_oneof![
        4 => (on_followed(), mode()).prop_map(|(on, mode)| Op::Chmod { on, mode }),
        3 => (on(), owner).prop_map(|(on, (uid, gid))| Op::Chown { on, uid, gid }),
        3 => (on(), time(), time()).prop_map(|(on, atime, mtime)| Op::Utimens { on, atime, mtime }),
    ]
    .boxed()
}

fn xattrs() -> BoxedStrategy<Op> {
    let name = || prop_oneof![Just(XATTRS[0]), select(XATTRS.to_vec())];
    let default = (prop_oneof![2 => one_of(&DIRS).prop_map(On::Name), 1 => on()], acl());
    let plain = XattrFlags::empty();
    let flags = select(vec![plain, plain, plain, XattrFlags::CREATE, XattrFlags::REPLACE]);
    let len = select(vec![1_usize, 0, 20, 20, 1000, 3000]);
    let room = select(vec![8192_usize, 0, 5]);
    prop_oneof![
        4 => (on(), name(), len, any::<u8>(), flags)
            .prop_map(|(on, name, len, start, flags)| Op::SetXattr { on, name, len, start, flags }),
        3 => (on(), acl()).prop_map(|(on, acl)| Op::SetAcl { on, default: false, acl }),
        2 => default.prop_map(|(on, acl)| Op::SetAcl { on, default: true, acl }),
        3 => (on(), name(), room).prop_map(|(on, name, room)| Op::GetXattr { on, name, room }),
        1 => on().prop_map(|on| Op::ListXattr { on }),
        2 => (on(), name()).prop_map(|(on, name)| Op::RemoveXattr { on, name }),
    ]
    .boxed()
}

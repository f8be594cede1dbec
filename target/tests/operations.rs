//! Every operation arrives as itself: what the source said is what the replica shows.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use protocol::{AllocateMode, Content, Ensure, Mark, NodeId, NodeKind, Op, Owner, RenameKind, Time};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

#[tokio::test]
async fn files_are_created_written_and_truncated_with_exact_attributes() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    assert!(source.welcome.empty && !source.welcome.clean && source.welcome.position.is_none());
    source.ok(mkdir(2, "d")).await;
    source.ok(make(3, "d/f", NodeKind::File, 0o4751)).await;
    assert_eq!((mode(&rig.at("d/f")), mtime(&rig.at("d/f")), mtime(&rig.at("d"))), (0o4751, T, D));
    let later = Time { secs: T.secs + 1, nanos: 5 };
    let op = Op::Write { place: at(3, "d/f"), offset: 3, mtime: later, mode: Some(0o751), durable: true };
    source.ok_with(op, b"hello").await;
    assert_eq!(fs::read(rig.at("d/f")).unwrap(), b"\0\0\0hello");
    assert_eq!((mode(&rig.at("d/f")), mtime(&rig.at("d/f"))), (0o751, later));
    let owner = if is_root() { Owner { uid: 1234, gid: 4321 } } else { me() };
    source
        .ok(Op::SetAttr {
            place: at(3, "d/f"),
            size: Some(5),
            owner: Some(owner),
            mode: Some(0o6750),
            atime: Some(D),
            mtime: Some(T),
        })
        .await;
    let meta = fs::metadata(rig.at("d/f")).unwrap();
    assert_eq!((meta.len(), meta.uid(), meta.gid(), meta.atime()), (5, owner.uid, owner.gid, D.secs));
    assert_eq!((mode(&rig.at("d/f")), mtime(&rig.at("d/f"))), (0o6750, T));
    source.ok(Op::Fsync { place: at(3, "d/f"), data_only: false }).await;
    source.ok(Op::Fsync { place: at(2, "d"), data_only: true }).await;
    source.ok(unlink(3, "d/f")).await;
    assert_eq!(mtime(&rig.at("d")), D);
    source.ok(rmdir(2, "d")).await;
    assert!(!rig.at("d").exists());
    let status = rig.target.status();
    let entry = &status.sources[0];
    assert_eq!((entry.name.as_str(), entry.owner.as_str(), entry.connected, entry.applied), (NAME, PEER, true, 8));
    assert_eq!(entry.operations["write"], 1);
    assert_eq!(entry.bytes_received, 5);
    assert!(serde_json::to_string(&status).unwrap().contains("\"version\":1"));
}

#[tokio::test]
async fn every_kind_of_node_can_be_made() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(make(2, "link", NodeKind::Symlink(b"/no/where\xff".to_vec()), 0o777)).await;
    source.ok(make(3, "fifo", NodeKind::Fifo, 0o640)).await;
    source.ok(make(4, "socket", NodeKind::Socket, 0o600)).await;
    assert_eq!(mtime(&rig.at("link")), T);
    assert!(fs::metadata(rig.at("fifo")).unwrap().file_type().is_fifo());
    assert!(fs::metadata(rig.at("socket")).unwrap().file_type().is_socket());
    assert_eq!((mode(&rig.at("fifo")), mtime(&rig.at("fifo"))), (0o640, T));
    if is_root() {
        let number = rustix::fs::makedev(1, 3);
        source.ok(make(5, "null", NodeKind::CharDevice(number), 0o666)).await;
        source.ok(make(6, "disk", NodeKind::BlockDevice(rustix::fs::makedev(7, 99)), 0o660)).await;
        assert_eq!(fs::metadata(rig.at("null")).unwrap().rdev(), number);
        assert!(fs::metadata(rig.at("disk")).unwrap().file_type().is_block_device());
        let owner = Some(Owner { uid: 7, gid: 8 });
        let op = Op::SetAttr { place: at(2, "link"), size: None, owner, mode: None, atime: None, mtime: Some(D) };
        source.ok(op).await;
        let meta = fs::symlink_metadata(rig.at("link")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), mtime(&rig.at("link"))), (7, 8, D));
    }
}

#[tokio::test]
async fn names_move_as_on_the_source() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for (node, name) in [(2, "a"), (3, "b"), (4, "c")] {
        source.ok(create(node, name)).await;
        source.ok_with(write(at(node, name), 0), name.as_bytes()).await;
    }
    source.ok(mkdir(5, "d")).await;
    source.ok(mkdir(6, "d/e")).await;
    source.ok(link(at(2, "a"), "d/a2")).await;
    assert_eq!(fs::metadata(rig.at("a")).unwrap().nlink(), 2);
    source.ok(rename(3, "b", "c", Some(gone(4, false)))).await;
    assert_eq!(fs::read(rig.at("c")).unwrap(), b"b");
    source.ok(exchange(2, "a", "c")).await;
    assert_eq!((fs::read(rig.at("a")).unwrap(), fs::read(rig.at("c")).unwrap()), (b"b".to_vec(), b"a".to_vec()));
    // A directory above an open file is renamed; the file is written on.
    source.ok(create(7, "d/e/f")).await;
    source.ok(rename(5, "d", "g", None)).await;
    source.ok_with(write(at(7, "g/e/f"), 0), b"1").await;
    source.ok(create(8, "g/e/h")).await;
    source.ok(mkdir(9, "d")).await;
    source.ok(create(10, "d/e")).await;
    assert_eq!(fs::read(rig.at("g/e/f")).unwrap(), b"1");
    assert!(rig.at("g/e/h").exists() && rig.at("d/e").is_file());
    assert_eq!(mtime(&rig.tree()), D);
    let no_replace = Op::Rename {
        from: path("a"),
        to: path("z"),
        kind: RenameKind::NoReplace,
        node: NodeId::new(3),
        replaced: None,
        from_parent_mtime: D,
        to_parent_mtime: D,
    };
    source.ok(no_replace).await;
    assert!(rig.at("z").exists() && !rig.at("a").exists());
}

#[tokio::test]
async fn a_file_without_a_name_is_kept_until_it_is_reaped() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(create(2, "a")).await;
    source.ok(create(3, "b")).await;
    source.ok(create(4, "c")).await;
    let op = Op::Unlink { path: path("a"), gone: gone(2, true), directory: false, parent_mtime: D };
    source.ok(op).await;
    source.ok(rename(3, "b", "c", Some(gone(4, true)))).await;
    assert!(!rig.at("a").exists() && !rig.at("b").exists());
    source.ok_with(write(orphan(2), 0), b"two").await;
    source.ok_with(write(orphan(4), 0), b"four").await;
    assert_eq!(fs::read(rig.meta().join("orphan/2")).unwrap(), b"two");
    assert_eq!(fs::read(rig.meta().join("orphan/4")).unwrap(), b"four");
    assert_eq!(fs::read(rig.at("c")).unwrap(), b"");
    source.ok(link(orphan(4), "back")).await;
    for node in [2, 4, 99] {
        source.ok(Op::Reap { node: NodeId::new(node) }).await;
    }
    assert_eq!(fs::read_dir(rig.meta().join("orphan")).unwrap().count(), 0);
    assert_eq!(fs::read(rig.at("back")).unwrap(), b"four");
}

#[tokio::test]
async fn holes_allocations_and_copies_are_made_where_the_source_made_them() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(create(2, "f")).await;
    source.ok_with(write(at(2, "f"), 0), &vec![7; 65536]).await;
    let allocate = |mode, offset, len| Op::Allocate { place: at(2, "f"), mode, offset, len, mtime: D, perm: None };
    source.ok(allocate(AllocateMode::Punch, 4096, 8192)).await;
    source.ok(allocate(AllocateMode::Allocate, 65536, 4096)).await;
    source.ok(allocate(AllocateMode::KeepSize, 100_000, 4096)).await;
    source.ok(allocate(AllocateMode::ZeroKeepSize, 0, 100)).await;
    source.ok(allocate(AllocateMode::Zero, 69_000, 1000)).await;
    let content = fs::read(rig.at("f")).unwrap();
    assert_eq!(content.len(), 70_000);
    assert!(content[..100].iter().all(|b| *b == 0) && content[100..4096].iter().all(|b| *b == 7));
    assert!(content[4096..12288].iter().all(|b| *b == 0) && content[12288..65536].iter().all(|b| *b == 7));
    assert_eq!(mtime(&rig.at("f")), D);
    source.ok(create(3, "g")).await;
    let copy = Op::CopyRange {
        from: at(2, "f"),
        from_offset: 12000,
        to: at(3, "g"),
        to_offset: 10,
        len: 1000,
        mtime: T,
        perm: Some(0o600),
    };
    source.ok(copy).await;
    let mut expected = vec![0; 10];
    expected.extend_from_slice(&content[12000..13000]);
    assert_eq!(fs::read(rig.at("g")).unwrap(), expected);
    assert_eq!((mode(&rig.at("g")), mtime(&rig.at("g"))), (0o600, T));
}

#[tokio::test]
async fn extended_attributes_and_acls_come_and_go() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(create(2, "f")).await;
    let set = |name: &[u8], mode| Op::SetXattr { place: at(2, "f"), name: name.to_vec(), mode };
    source.ok_with(set(b"user.a", None), b"1").await;
    source.ok_with(set(b"user.a", None), b"22").await;
    source.ok_with(set(b"user.empty", None), b"").await;
    // user::rw- user:1000:r-- group::r-- mask::r-- other::---
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&perm.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    source.ok_with(set(b"system.posix_acl_access", Some(0o640)), &acl).await;
    assert_eq!(mode(&rig.at("f")), 0o640);
    let fd = fs::File::open(rig.at("f")).unwrap();
    let stored = platform::sys::xattr::get(std::os::fd::AsFd::as_fd(&fd), b"system.posix_acl_access").unwrap();
    assert_eq!(stored, acl);
    for name in [&b"system.posix_acl_access"[..], b"user.a", b"user.gone"] {
        source.ok(Op::RemoveXattr { place: at(2, "f"), name: name.to_vec(), mode: Some(0o604) }).await;
    }
    assert_eq!(mode(&rig.at("f")), 0o604);
    let fd = fs::File::open(rig.at("f")).unwrap();
    let left = platform::sys::xattr::all(std::os::fd::AsFd::as_fd(&fd)).unwrap();
    assert_eq!(left, [(b"user.empty".to_vec(), Vec::new())]);
    source.ok(make(3, "l", NodeKind::Symlink(b"f".to_vec()), 0o777)).await;
    if is_root() {
        let op = Op::SetXattr { place: at(3, "l"), name: b"trusted.x".to_vec(), mode: None };
        source.ok_with(op, b"on the link").await;
        let page = source.list("", None, None, false).await;
        assert_ne!(page.entries[1].xattrs, [0; 16]);
    }
}

#[tokio::test]
async fn a_default_acl_and_a_setgid_directory_give_what_the_source_said() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(make(2, "d", NodeKind::Directory, 0o2775)).await;
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1u16, 7u16, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&perm.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let op = Op::SetXattr { place: at(2, "d"), name: b"system.posix_acl_default".to_vec(), mode: Some(0o2775) };
    source.ok_with(op, &acl).await;
    source.ok(make(3, "d/f", NodeKind::File, 0o660)).await;
    source.ok(make(4, "d/e", NodeKind::Directory, 0o2770)).await;
    assert_eq!((mode(&rig.at("d/f")), mode(&rig.at("d/e"))), (0o660, 0o2770));
    let fd = fs::File::open(rig.at("d/f")).unwrap();
    let names = platform::sys::xattr::names(std::os::fd::AsFd::as_fd(&fd)).unwrap();
    assert_eq!(names, [b"system.posix_acl_access".to_vec()]);
}

#[tokio::test]
async fn a_barrier_is_acknowledged_as_durable_at_once() {
    let rig = Rig::in_memory();
    let mut source = rig.connect().await;
    source.ok(create(2, "f")).await;
    let began = std::time::Instant::now();
    for _ in 0..20 {
        let seq = source.send(Op::Mark(Mark::Barrier), b"").await;
        source.until(|s| s.ack.durable.get() >= seq).await.unwrap();
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "twenty barriers do not wait for twenty ticks");
    // Without one it becomes durable by itself.
    source.ok(create(3, "g")).await;
    let seq = source.seq;
    source.until(|s| s.ack.durable.get() >= seq).await.unwrap();
    assert_eq!(rig.target.status().sources[0].durable, seq);
}

#[tokio::test]
async fn many_files_stay_within_the_bound_of_open_descriptors() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for node in 2..1002 {
        source.send(create(node, &format!("f{node}")), b"").await;
        source.send(write(at(node, &format!("f{node}")), 0), b"x").await;
    }
    let seq = source.seq;
    source.applied(seq).await;
    // The oldest ones were closed and are opened again.
    for node in 2..10 {
        source.ok_with(write(at(node, &format!("f{node}")), 1), b"y").await;
        assert_eq!(fs::read(rig.at(&format!("f{node}"))).unwrap(), b"xy");
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 600, "{open} descriptors");
}

#[tokio::test]
async fn ensure_on_the_root_sets_attributes_only() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(create(2, "f")).await;
    let ensure = Ensure {
        path: path(""),
        node: NodeId::new(1),
        kind: NodeKind::Directory,
        fresh: false,
        attrs: attrs(0o1770),
        atime: D,
        size: 0,
        content: Content::Keep,
        xattrs: vec![(b"user.k".to_vec().into(), b"v".to_vec().into())],
        parent_mtime: None,
    };
    source.ok(Op::Ensure(Box::new(ensure))).await;
    assert_eq!((mode(&rig.tree()), mtime(&rig.tree())), (0o1770, T));
    assert!(rig.at("f").exists());
}

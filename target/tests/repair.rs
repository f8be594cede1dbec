//! Repair: nothing that is in the way is lost, everything can be asked, and damage is reported and not guessed around.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use protocol::{Answer, Attrs, Content, Ensure, NodeId, NodeKind, Op, RenameKind, TroubleKind};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

fn ensure(node: u64, text: &str, kind: NodeKind) -> Ensure {
    Ensure {
        path: path(text),
        node: NodeId::new(node),
        kind,
        fresh: false,
        attrs: attrs(0o740),
        atime: D,
        size: 0,
        content: Content::Keep,
        xattrs: Vec::new(),
        parent_mtime: Some(D),
    }
}

fn whole(node: u64, text: &str, content: &[u8]) -> Op {
    let size = content.len() as u64;
    Op::Ensure(Box::new(Ensure { content: Content::Whole, size, ..ensure(node, text, NodeKind::File) }))
}

/// Everything that can be at a path, by name.
const SHAPES: [&str; 8] =
    ["nothing", "short file", "long file", "linked file", "empty dir", "full dir", "symlink", "fifo"];

fn put(rig: &Rig, text: &str, shape: &str) {
    let at = rig.at(text);
    match shape {
        "nothing" => {}
        "short file" => fs::write(at, "s").unwrap(),
        "long file" => fs::write(at, [b'l'; 10_000]).unwrap(),
        "linked file" => {
            fs::write(&at, "linked").unwrap();
            fs::hard_link(&at, rig.at(&format!("{text}-other"))).unwrap();
        }
        "empty dir" => fs::create_dir(at).unwrap(),
        "full dir" => {
            fs::create_dir(&at).unwrap();
            fs::write(at.join("inside"), "theirs").unwrap();
        }
        "symlink" => symlink("/etc/passwd", at).unwrap(),
        "fifo" => {
            rustix::fs::mknodat(rustix::fs::CWD, &at, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn ensure_gives_what_is_wanted_whatever_is_there_and_loses_nothing() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let wanted = ["whole", "keep", "fresh", "dir", "link", "fifo"];
    let mut node = 10;
    for shape in SHAPES {
        for want in wanted {
            let text = format!("{shape}-{want}").replace(' ', "_");
            put(&rig, &text, shape);
            node += 1;
            let mut payload = &b""[..];
            let op = match want {
                "whole" => {
                    payload = b"whole";
                    whole(node, &text, payload)
                }
                "keep" => Op::Ensure(Box::new(Ensure { size: 3, ..ensure(node, &text, NodeKind::File) })),
                "fresh" => Op::Ensure(Box::new(Ensure { size: 2, fresh: true, ..ensure(node, &text, NodeKind::File) })),
                "dir" => Op::Ensure(Box::new(ensure(node, &text, NodeKind::Directory))),
                "link" => Op::Ensure(Box::new(ensure(node, &text, NodeKind::Symlink(b"elsewhere".to_vec())))),
                _ => Op::Ensure(Box::new(ensure(node, &text, NodeKind::Fifo))),
            };
            let had = rig.aside().len();
            source.tolerant(op.clone(), payload).await;
            // Before anything here reads it.
            let meta = fs::symlink_metadata(rig.at(&text)).unwrap();
            let after = snapshot(&rig.at(&text));
            let content = || fs::read(rig.at(&text)).unwrap();
            match (want, shape) {
                ("whole", _) => assert_eq!(content(), b"whole"),
                ("keep", "short file") => assert_eq!(content(), b"s\0\0"),
                ("keep", "long file") => assert_eq!(content(), b"lll"),
                ("keep", "linked file") => assert_eq!(content(), b"lin"),
                ("keep", _) => assert_eq!(content(), [0; 3]),
                ("fresh", _) => {
                    assert_eq!((content(), meta.nlink()), (vec![0; 2], 1));
                }
                ("dir", "full dir") => assert!(rig.at(&text).join("inside").exists(), "its entries stay"),
                ("dir", _) => assert!(meta.is_dir()),
                ("link", _) => assert_eq!(fs::read_link(rig.at(&text)).unwrap().to_str(), Some("elsewhere")),
                _ => assert!(std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type())),
            }
            if want != "link" {
                assert_eq!(mode(&rig.at(&text)), 0o740);
            }
            assert_eq!((mtime(&rig.at(&text)), mtime(&rig.tree()), meta.atime()), (T, D, D.secs), "{text}");
            // What went is in the index and still there; what was usable, or has other names, is not.
            let is_file = matches!(want, "whole" | "keep");
            let usable = match shape {
                // The content of a linked one is under its other name.
                "nothing" | "linked file" => true,
                "short file" | "long file" => is_file,
                "empty dir" | "full dir" => want == "dir",
                "fifo" => want == "fifo",
                _ => false,
            };
            let aside = rig.aside();
            assert_eq!(aside.len() - had, usize::from(!usable), "{text}");
            if !usable {
                let (from, to) = aside.last().unwrap();
                assert_eq!(from, &text);
                assert!(fs::symlink_metadata(to).is_ok(), "{}", to.display());
                if shape == "full dir" {
                    assert_eq!(fs::read(to.join("inside")).unwrap(), b"theirs");
                }
            }
            if shape == "linked file" {
                assert!(rig.at(&format!("{text}-other")).exists());
            }
            // Once more changes nothing, except where a new file was asked for.
            if want != "fresh" {
                source.tolerant(op, payload).await;
                assert_eq!(snapshot(&rig.at(&text)), after);
            }
        }
    }
    assert_eq!(rig.target.status().sources[0].aside_entries, rig.aside().len() as u64);
    let entries = rig.aside().len() as u64;
    source.hang_up().await;
    let rig = rig.restart().await;
    assert_eq!(rig.target.status().sources[0].aside_entries, entries);
}

#[tokio::test]
async fn ensure_sets_exactly_the_attributes_of_the_source() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    fs::write(rig.at("f"), "x").unwrap();
    let fd = fs::File::open(rig.at("f")).unwrap();
    let fd = std::os::fd::AsFd::as_fd(&fd);
    let none = rustix::fs::XattrFlags::empty();
    for (name, value) in [(&b"user.keep"[..], &b"1"[..]), (b"user.change", b"2"), (b"user.go", b"3")] {
        platform::sys::xattr::set(fd, name, value, none).unwrap();
    }
    let xattrs = vec![
        (b"user.keep".to_vec().into(), b"1".to_vec().into()),
        (b"user.change".to_vec().into(), b"two".to_vec().into()),
        (b"user.new".to_vec().into(), Vec::new().into()),
    ];
    let owner = if is_root() { protocol::Owner { uid: 55, gid: 66 } } else { me() };
    let attrs = Attrs { mode: 0o6755, owner, mtime: T };
    let op = Ensure { xattrs, size: 1, attrs, ..ensure(2, "f", NodeKind::File) };
    source.tolerant(Op::Ensure(Box::new(op)), b"").await;
    let mut found = platform::sys::xattr::all(fd).unwrap();
    found.sort();
    let expected: [(&[u8], &[u8]); 3] = [(b"user.change", b"two"), (b"user.keep", b"1"), (b"user.new", b"")];
    assert_eq!(found, expected.map(|(n, v)| (n.to_vec(), v.to_vec())));
    let meta = fs::metadata(rig.at("f")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), mode(&rig.at("f"))), (owner.uid, owner.gid, 0o6755));
    assert_eq!((mtime(&rig.at("f")), fs::read(rig.at("f")).unwrap()), (T, b"x".to_vec()));
}

#[tokio::test]
async fn while_under_repair_what_is_in_the_way_is_set_aside_and_what_is_gone_is_gone() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for name in ["file", "dir", "linkname", "newname"] {
        put(&rig, name, "full dir");
    }
    source.tolerant(create(2, "file"), b"").await;
    source.tolerant(mkdir(3, "dir"), b"").await;
    source.tolerant(link(at(2, "file"), "linkname"), b"").await;
    source.tolerant(create(4, "oldname"), b"").await;
    source.tolerant(rename(4, "oldname", "newname", None), b"").await;
    assert_eq!(rig.aside().iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["file", "dir", "linkname", "newname"]);
    assert!(rig.aside().iter().all(|(_, to)| to.join("inside").exists()));
    // Linked already: nothing is in the way.
    source.tolerant(link(at(2, "file"), "linkname"), b"").await;
    source.tolerant(unlink(9, "gone"), b"").await;
    source.tolerant(unlink(9, "no/where/gone"), b"").await;
    source.tolerant(rmdir(9, "gone"), b"").await;
    put(&rig, "full", "full dir");
    source.tolerant(rmdir(9, "full"), b"").await;
    put(&rig, "isdir", "full dir");
    source.tolerant(unlink(9, "isdir"), b"").await;
    put(&rig, "replaced", "full dir");
    source.tolerant(rename(4, "newname", "replaced", Some(gone(9, true))), b"").await;
    assert!(fs::metadata(rig.at("replaced")).unwrap().is_file());
    assert_eq!(rig.aside().len(), 7);
    source.tolerant(Op::SetAside { path: path("replaced"), parent_mtime: D }, b"").await;
    source.tolerant(Op::SetAside { path: path("replaced"), parent_mtime: D }, b"").await;
    source.tolerant(Op::SetAside { path: path("no/where"), parent_mtime: D }, b"").await;
    assert!(!rig.at("replaced").exists());
    assert_eq!((rig.aside().len(), mtime(&rig.tree())), (8, D));
    // These cannot be right, repair or not.
    source.damaged(true, write(at(8, "gone"), 0), b"x").await;
    source.damaged(true, create(8, "no/where"), b"").await;
    // This may come with what is still to be looked at.
    source.tolerant(rename(8, "gone", "x", None), b"").await;
    source.ok(create(10, "after")).await;
}

#[tokio::test]
async fn what_does_not_fit_the_replica_is_damage_and_the_stream_goes_on() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(create(2, "f")).await;
    source.ok(mkdir(3, "d")).await;
    source.ok(create(4, "d/x")).await;
    source.ok(make(5, "fifo", NodeKind::Fifo, 0o600)).await;
    let before = snapshot(&rig.tree());
    let no_replace = Op::Rename {
        from: path("d/x"),
        to: path("f"),
        kind: RenameKind::NoReplace,
        node: NodeId::new(4),
        replaced: None,
        from_parent_mtime: D,
        to_parent_mtime: D,
    };
    for (op, payload) in [
        (create(9, "f"), &b""[..]),
        (mkdir(9, "d"), b""),
        (create(9, "f/x"), b""),
        (create(9, "gone/x"), b""),
        (unlink(9, "gone"), b""),
        (unlink(9, "d"), b""),
        (rmdir(9, "f"), b""),
        (rmdir(9, "d"), b""),
        (link(at(9, "gone"), "y"), b""),
        (link(at(9, "d"), "y"), b""),
        (link(at(2, "f"), "d/x"), b""),
        (rename(9, "gone", "y", None), b""),
        (rename(2, "f", "d", Some(gone(3, false))), b""),
        (rename(3, "d", "d/y", None), b""),
        // Nothing was replaced on the source: nothing is replaced here.
        (rename(4, "d/x", "f", None), b""),
        (no_replace, b""),
        (exchange(2, "f", "gone"), b""),
        (write(at(9, "gone"), 0), b"x"),
        (write(at(9, "d"), 0), b"x"),
        (write(at(9, "fifo"), 0), b"x"),
        (Op::SetXattr { place: at(9, "gone"), name: b"user.x".to_vec(), mode: None }, b"x"),
    ] {
        let word = op.word();
        let path = op.path().cloned();
        let trouble = source.damaged(false, op, payload).await;
        assert!(trouble.text.starts_with(word) && trouble.path == path, "{trouble:?}");
        assert_eq!(snapshot(&rig.tree()), before, "{trouble:?}");
    }
    let entry = rig.target.status().sources.remove(0);
    assert!(entry.last_error.unwrap().contains("damaged") && !entry.coherent);
    assert!(rig.aside().is_empty());
    source.ok(create(10, "after")).await;
    // Deleted on the source before the target heard of it: nobody misses what is written to it, but a question is
    // answered.
    source.ok_with(write(orphan(9), 0), b"x").await;
    let ask =
        Op::Compare { place: orphan(9), offset: 0, len: 10, block_bytes: 4096, hashes: vec![0; 16], as_read: false };
    source.damaged(false, ask, b"").await;
    assert_eq!(source.answers.remove(&source.seq), Some(Answer::Differs(vec![0])));
}

#[tokio::test]
async fn a_symbolic_link_in_the_replica_is_never_followed() {
    let rig = Rig::new();
    let outside = rig.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "safe").unwrap();
    let mut source = rig.connect().await;
    source.ok(make(2, "way", NodeKind::Symlink(outside.as_os_str().as_encoded_bytes().to_vec()), 0o777)).await;
    let victim = outside.join("victim").as_os_str().as_encoded_bytes().to_vec();
    source.ok(make(3, "direct", NodeKind::Symlink(victim), 0o777)).await;
    source.ok(create(4, "f")).await;
    // One that stays inside, too: what it points to has a path of its own.
    source.ok(mkdir(10, "real")).await;
    source.ok(mkdir(14, "real/sub")).await;
    source.ok(create(11, "real/sub/file")).await;
    source.ok(make(12, "inner", NodeKind::Symlink(b"real".to_vec()), 0o777)).await;
    let inside = snapshot(&rig.at("real"));
    for way in ["inner", "inner/sub"] {
        source.damaged(false, create(13, &format!("{way}/new")), b"").await;
        source.damaged(true, write(at(13, &format!("{way}/file")), 0), b"x").await;
        source.damaged(false, unlink(13, &format!("{way}/file")), b"").await;
        assert!(!source.list(way, None, None, false).await.exists);
    }
    assert_eq!(snapshot(&rig.at("real")), inside);
    let before = snapshot(&outside);
    for tolerant in [false, true] {
        let set =
            |place| Op::SetAttr { place, size: None, owner: None, mode: Some(0o777), atime: None, mtime: Some(T) };
        let truncate =
            Op::SetAttr { place: at(8, "direct"), size: Some(0), owner: None, mode: None, atime: None, mtime: None };
        for (op, payload) in [
            (write(at(8, "way/victim"), 0), &b"owned"[..]),
            (write(at(8, "direct"), 0), b"owned"),
            (truncate, b""),
            (set(at(8, "way/victim")), b""),
            (create(8, "way/new"), b""),
            (rename(4, "f", "way/f", None), b""),
            (link(at(4, "f"), "way/f"), b""),
            (link(at(8, "way/victim"), "stolen"), b""),
            (whole(8, "way/victim", b"owned"), b"owned"),
        ] {
            let trouble = source.damaged(tolerant, op, payload).await;
            assert_eq!(snapshot(&outside), before, "{trouble:?}");
        }
        let op = Op::SetXattr { place: at(8, "way/victim"), name: b"user.x".to_vec(), mode: None };
        source.damaged(tolerant, op, b"x").await;
    }
    source.damaged(false, unlink(8, "way/victim"), b"").await;
    let op = Op::SetXattr { place: at(3, "direct"), name: b"user.x".to_vec(), mode: None };
    source.damaged(false, op, b"x").await;
    // On the link itself, the link is meant.
    let op = Op::SetAttr { place: at(3, "direct"), size: None, owner: None, mode: None, atime: None, mtime: Some(D) };
    source.ok(op).await;
    let page = source.list("way", None, None, true).await;
    assert!(!page.exists && page.entries.is_empty());
    assert_eq!(snapshot(&outside), before);
    // Swapped in behind our back, below a directory that is known already.
    source.ok(mkdir(5, "d")).await;
    source.ok(create(6, "d/victim")).await;
    source.hang_up().await;
    fs::rename(rig.at("d"), rig.at("e")).unwrap();
    symlink(&outside, rig.at("d")).unwrap();
    let mut source = rig.connect().await;
    let seq = source.seq;
    source.seq = seq + 1;
    source.send_as(seq + 1, false, write(at(6, "d/victim"), 0), b"owned").await;
    source.applied(seq + 1).await;
    assert!(source.troubles.iter().any(|t| t.kind == TroubleKind::Damaged && t.seq.get() == seq + 1));
    assert_eq!(snapshot(&outside), before);
}

#[tokio::test]
async fn a_directory_is_listed_page_by_page_as_it_is() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for n in 0..2500 {
        fs::write(rig.at(&format!("f{n:04}")), "x").unwrap();
    }
    let mut names: Vec<String> = Vec::new();
    for (entries, complete) in [(1024, false), (1024, false), (451, true)] {
        let page = source.list("", names.last().map(String::as_str), None, false).await;
        assert_eq!((page.entries.len(), page.complete, page.exists), (entries, complete, true));
        names.extend(page.entries.iter().map(|e| e.name.to_string()));
        // Gone between two pages: left out.
        if rig.at("f1500").exists() {
            fs::remove_file(rig.at("f1500")).unwrap();
        }
    }
    assert!(names.is_sorted() && names.len() == 2499);
    let page = source.list("", Some("f0010"), Some("f0012"), false).await;
    assert_eq!(page.entries.iter().map(|e| e.name.to_string()).collect::<Vec<_>>(), ["f0011", "f0012"]);
    assert!(page.complete);
    let page = source.list("", None, Some("a"), false).await;
    assert!(page.exists && page.complete && page.entries.is_empty());
    assert!(!source.list("no/where", None, None, false).await.exists);
    assert!(!source.list("f0000", None, None, false).await.exists);
}

#[tokio::test]
async fn an_entry_tells_all_that_is_compared() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(make(2, "a", NodeKind::File, 0o4755)).await;
    source.ok_with(write(at(2, "a"), 8192), b"end").await;
    source.ok(link(at(2, "a"), "b")).await;
    source.ok(make(3, "c", NodeKind::Symlink(b"to".to_vec()), 0o777)).await;
    source.ok(mkdir(4, "d")).await;
    source.ok(create(5, "empty")).await;
    source.ok_with(Op::SetXattr { place: at(5, "empty"), name: b"user.k".to_vec(), mode: None }, b"v").await;
    let page = source.list("", None, None, true).await;
    let [a, b, c, d, empty] = &page.entries[..] else { panic!("{page:?}") };
    assert_eq!((a.inode, a.links, a.size, a.attrs), (b.inode, 2, 8195, attrs(0o4755)));
    assert!(a.blocks > 0 && a.blocks < 32 && a.xattrs == [0; 16] && a.suspect);
    let mut content = vec![0; 8192];
    content.extend_from_slice(b"end");
    assert_eq!(a.content.unwrap(), blake3::hash(&content).as_bytes()[..16]);
    assert_eq!((&c.kind, c.size, c.content), (&NodeKind::Symlink(b"to".to_vec()), 0, None));
    assert_eq!((&d.kind, d.size, d.blocks), (&NodeKind::Directory, 0, 0));
    assert_eq!(empty.content.unwrap(), blake3::hash(b"").as_bytes()[..16]);
    let input = protocol::Entry::xattr_digest_input(&mut [(b"user.k".to_vec(), b"v".to_vec())]);
    assert_eq!(empty.xattrs, blake3::hash(&input).as_bytes()[..16]);
    let page = source.list("", None, None, false).await;
    assert!(page.entries.iter().all(|e| e.content.is_none()));
}

#[tokio::test]
async fn pages_with_hashes_end_before_they_take_long() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for n in 0..20 {
        fs::write(rig.at(&format!("f{n:02}")), vec![n; 1 << 20]).unwrap();
    }
    fs::write(rig.at("g"), vec![1; (1 << 20) + 1]).unwrap();
    let first = source.list("", None, None, true).await;
    assert_eq!((first.entries.len(), first.complete), (16, false));
    let rest = source.list("", Some("f15"), None, true).await;
    assert_eq!((rest.entries.len(), rest.complete), (5, true));
    assert!(rest.entries[4].content.is_none(), "too large to be hashed whole");
}

#[tokio::test]
async fn pages_of_long_links_fit_a_frame() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for n in 0..1100 {
        symlink("x".repeat(4095), rig.at(&format!("l{n:04}"))).unwrap();
    }
    let (mut seen, mut after) = (0, None::<String>);
    loop {
        let page = source.list("", after.as_deref(), None, true).await;
        assert!(page.entries.len() < 1024, "{} links of four KiB in one frame", page.entries.len());
        seen += page.entries.len();
        after = page.entries.last().map(|e| e.name.to_string());
        if page.complete {
            break;
        }
    }
    assert_eq!(seen, 1100);
}

#[tokio::test]
async fn a_comparison_names_the_blocks_that_differ() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let content: Vec<u8> = (0..40_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    source.ok(create(2, "f")).await;
    source.ok_with(write(at(2, "f"), 0), &content).await;
    let hashes = |content: &[u8]| -> Vec<u8> {
        content.chunks(4096).flat_map(|block| blake3::hash(block).as_bytes()[..16].to_vec()).collect()
    };
    let ask = |offset: usize, content: &[u8]| Op::Compare {
        place: at(2, "f"),
        offset: offset as u64,
        len: content.len() as u64,
        block_bytes: 4096,
        hashes: hashes(content),
        as_read: false,
    };
    assert_eq!(source.ask(ask(0, &content)).await, Answer::Differs(vec![]));
    assert_eq!(source.ask(ask(100, &content[100..39_000])).await, Answer::Differs(vec![]));
    let mut other = content.clone();
    other[5000] ^= 1;
    other[39_999] ^= 1;
    assert_eq!(source.ask(ask(0, &other)).await, Answer::Differs(vec![1, 9]));
    // Beyond the end, in part and in whole.
    let mut longer = content.clone();
    longer.resize(50_000, 0);
    assert_eq!(source.ask(ask(0, &longer)).await, Answer::Differs(vec![9, 10, 11, 12]));
    assert_eq!(source.ask(ask(1 << 30, &[0; 5000])).await, Answer::Differs(vec![0, 1]));
    // A hole reads as the zeros that the source has, and is none: the source says where it has holes.
    let punch = Op::Allocate {
        place: at(2, "f"),
        mode: protocol::AllocateMode::Punch,
        offset: 8192,
        len: 8192,
        mtime: T,
        perm: None,
    };
    source.ok(punch).await;
    let mut zeroed = content.clone();
    zeroed[8192..16384].fill(0);
    assert_eq!(source.ask(ask(0, &zeroed)).await, Answer::Differs(vec![2, 3]));
    // Where there is no such file: damage, and still an answer.
    let op = Op::Compare {
        place: at(9, "gone"),
        offset: 0,
        len: 5000,
        block_bytes: 4096,
        hashes: vec![0; 32],
        as_read: false,
    };
    source.damaged(true, op, b"").await;
    assert_eq!(source.answers.remove(&source.seq), Some(Answer::Differs(vec![0, 1])));
}

#[tokio::test]
async fn verification_compares_what_a_reader_sees() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let content = vec![0; 12_288];
    source.ok(create(2, "f")).await;
    source.ok_with(write(at(2, "f"), 0), &content).await;
    let ask = |path: &str, content: &[u8]| Op::Compare {
        place: at(0, path),
        offset: 0,
        len: content.len() as u64,
        block_bytes: 4096,
        hashes: content.chunks(4096).flat_map(|block| blake3::hash(block).as_bytes()[..16].to_vec()).collect(),
        as_read: true,
    };
    let punch = Op::Allocate {
        place: at(2, "f"),
        mode: protocol::AllocateMode::Punch,
        offset: 4096,
        len: 4096,
        mtime: T,
        perm: None,
    };
    source.ok(punch).await;
    assert_eq!(source.ask(ask("f", &content)).await, Answer::Differs(vec![]), "a hole reads as zeros");
    assert_eq!(source.ask(ask("f", &[0; 16_384])).await, Answer::Differs(vec![3]), "beyond the end");
    // Another file under the name, while the first is open.
    let path = rig.at("f");
    std::fs::remove_file(&path).unwrap();
    let mut other = content.clone();
    other[5000] = 1;
    std::fs::write(&path, &other).unwrap();
    assert_eq!(source.ask(ask("f", &content)).await, Answer::Differs(vec![1]));
    // What is not there, and what is no file, differs and is no damage.
    std::fs::create_dir(rig.at("d")).unwrap();
    for path in ["gone", "gone/x", "d"] {
        assert_eq!(source.ask(ask(path, &content)).await, Answer::Differs(vec![0, 1, 2]), "{path}");
    }
    source.ok(create(3, "g")).await;
}

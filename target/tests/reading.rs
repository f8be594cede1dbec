//! What the owner of a replica reads of it, who is refused, and that a session beside it goes on.

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use platform::wire::write_message;
use protocol::{
    Ask, CHUNK_BYTES, FailedKind, Fetch, FetchAck, Message, NodeKind, RefusalCode, Refused, RelPath, SeqNo, Told,
    VERSION,
};
use replfs_target::{Reading, Target, TargetError};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

/// A reader that was let in.
struct Reader {
    input: ReadHalf<DuplexStream>,
    output: WriteHalf<DuplexStream>,
    ack: FetchAck,
    number: u64,
    served: JoinHandle<Result<(), TargetError>>,
}

fn fetch() -> Fetch {
    Fetch { version: VERSION, software: "test".to_owned(), name: name(NAME) }
}

async fn try_read(target: &Arc<Target>, peer: &str, fetch: Fetch) -> Result<Reader, Refused> {
    let (mut reader, mut writer, served) = pipe(target, peer);
    write_message(&mut writer, &Message::Fetch(fetch)).await.unwrap();
    match receive(&mut reader).await.expect("an answer to fetch") {
        Message::FetchAck(ack) => Ok(Reader { input: reader, output: writer, ack, number: 0, served }),
        Message::Refused(refused) => Err(refused),
        other => panic!("{other:?}"),
    }
}

impl Reader {
    async fn of(target: &Arc<Target>) -> Self {
        try_read(target, PEER, fetch()).await.map_err(|refused| refused.text).unwrap()
    }

    async fn send(&mut self, ask: Ask) {
        self.number += 1;
        write_message(&mut self.output, &Message::Ask(SeqNo::new(self.number), ask)).await.unwrap();
    }

    async fn hear(&mut self) -> (u64, Told, Bytes) {
        match receive(&mut self.input).await.expect("an answer") {
            Message::Told(number, told, data) => (number.get(), told, data),
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&mut self, ask: Ask) -> (Told, Bytes) {
        self.send(ask).await;
        let (number, told, data) = self.hear().await;
        assert_eq!(number, self.number);
        (told, data)
    }

    async fn failed(&mut self, ask: Ask) -> FailedKind {
        match self.ask(ask).await.0 {
            Told::Failed { kind, .. } => kind,
            other => panic!("{other:?}"),
        }
    }

    async fn hang_up(self) {
        drop((self.input, self.output));
        tokio::time::timeout(TIMEOUT, self.served).await.expect("it ends").unwrap().unwrap();
    }
}

async fn with_replica() -> Rig {
    let rig = Rig::new();
    rig.connect().await.bye().await;
    rig
}

#[tokio::test]
async fn only_the_owner_reads_and_refusals_say_what_to_do() {
    let rig = with_replica().await;
    let refused = |fetch| try_read(&rig.target, PEER, fetch);
    for unknown in ["other", ".replfs", ".replfs-x"] {
        let why = refused(Fetch { name: name(unknown), ..fetch() }).await.map(|_| ()).unwrap_err();
        assert_eq!(why.code, RefusalCode::Missing, "{}", why.text);
        assert!(why.text.contains("replfs status"), "{}", why.text);
    }
    assert_eq!(refused(Fetch { version: 9, ..fetch() }).await.map(|_| ()).unwrap_err().code, RefusalCode::Version);
    let why = try_read(&rig.target, "SHA256:other", fetch()).await.map(|_| ()).unwrap_err();
    assert_eq!(why.code, RefusalCode::Owned);
    assert!(why.text.contains("--state"), "{}", why.text);
    let reader = Reader::of(&rig.target).await;
    assert!(reader.ack.coherent, "it ended clean");
    assert_eq!(reader.ack.position.map(|p| p.applied.get()), Some(1));
    fs::rename(rig.tree(), rig.dir.path().join("away")).unwrap();
    assert_eq!(refused(fetch()).await.map(|_| ()).unwrap_err().code, RefusalCode::Changed);
    symlink("/etc", rig.tree()).unwrap();
    assert_eq!(refused(fetch()).await.map(|_| ()).unwrap_err().code, RefusalCode::Changed);
    assert_eq!(rig.target.status().sources.len(), 1, "asking for names leaves nothing");
    assert_eq!(rig.target.status().sources[0].sessions, 1, "a reader is no session");
    reader.hang_up().await;
}

#[tokio::test]
async fn content_hashes_and_holes_are_those_of_the_file() {
    let rig = with_replica().await;
    let file = fs::File::create(rig.at("f")).unwrap();
    file.set_len(3 << 20).unwrap();
    file.write_all_at(&[7; 4096], 65536).unwrap();
    file.write_all_at(&[8; 100], (3 << 20) - 100).unwrap();
    let mut reader = Reader::of(&rig.target).await;
    let read = |offset, len| Ask::Read { path: path("f"), offset, len };
    let (told, data) = reader.ask(read(0, 1 << 20)).await;
    let Told::Data { seen, len, holes, hole_after } = told else { panic!("{told:?}") };
    assert_eq!(hole_after, (2 << 20) - 4096, "up to the block that has the end");
    assert_eq!((seen.size, len, data.len()), (3 << 20, 1 << 20, 4096));
    assert_eq!(holes.iter().map(|h| (h.offset, h.len)).collect::<Vec<_>>(), [(0, 65536), (69632, (1 << 20) - 69632)]);
    let (told, data) = reader.ask(read((3 << 20) - 50, 1000)).await;
    assert!(matches!(told, Told::Data { len: 50, .. }), "{told:?}");
    assert_eq!(data, vec![8; 50]);
    let (told, _) = reader.ask(read(4 << 20, 1000)).await;
    assert!(matches!(told, Told::Data { len: 0, .. }), "{told:?}");
    // What is on its way to the disk counts as reserved until it is there.
    file.sync_all().unwrap();
    let (told, _) = reader.ask(Ask::Reserved { path: path("f") }).await;
    assert!(matches!(&told, Told::Reserved(none) if none.is_empty()), "{told:?}");
    let hashes = |block_bytes, len| Ask::Hashes { path: path("f"), offset: 0, len, block_bytes };
    let (told, _) = reader.ask(hashes(4096, 1 << 20)).await;
    let Told::Hashes { hashes: found, .. } = told else { panic!("{told:?}") };
    assert_eq!(found.len(), 256 * 16);
    for (index, hash) in found.chunks(16).enumerate() {
        let expected = if index == 16 { blake3::hash(&[7; 4096]).as_bytes()[..16].to_vec() } else { vec![0; 16] };
        assert_eq!(hash, expected, "block {index}");
    }
    assert_eq!(reader.failed(hashes(1, 4096)).await, FailedKind::Bounds);
    assert_eq!(reader.failed(hashes(4096, CHUNK_BYTES + 1)).await, FailedKind::Bounds);
    assert_eq!(reader.failed(read(u64::MAX, 10)).await, FailedKind::Bounds);
    assert_eq!(reader.failed(read(0, CHUNK_BYTES + 1)).await, FailedKind::Bounds);
}

#[tokio::test]
async fn nothing_outside_of_the_replica_is_reached_and_no_device_is_opened() {
    let rig = with_replica().await;
    symlink("/etc", rig.at("out")).unwrap();
    symlink("/etc/passwd", rig.at("passwd")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, rig.at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let mut reader = Reader::of(&rig.target).await;
    let read = |text: &str| Ask::Read { path: path(text), offset: 0, len: 10 };
    assert_eq!(reader.failed(read("out/passwd")).await, FailedKind::Missing);
    for other in ["passwd", "pipe", "out"] {
        assert_eq!(reader.failed(read(other)).await, FailedKind::Kind, "{other}");
    }
    assert_eq!(reader.failed(Ask::Read { path: RelPath::root(), offset: 0, len: 10 }).await, FailedKind::Kind);
    assert_eq!(reader.failed(read("none")).await, FailedKind::Missing);
    let (told, _) = reader.ask(Ask::List { path: path("out"), after: None }).await;
    assert!(matches!(&told, Told::Page(page) if !page.exists), "{told:?}");
    let (told, _) = reader.ask(Ask::Stat { path: path("passwd") }).await;
    let Told::Entry(entry) = told else { panic!("{told:?}") };
    assert_eq!(entry.kind, NodeKind::Symlink(b"/etc/passwd".to_vec()));
    let (told, _) = reader.ask(Ask::Stat { path: RelPath::root() }).await;
    assert!(matches!(&told, Told::Entry(entry) if entry.name == name(NAME)), "{told:?}");
}

#[tokio::test]
async fn a_large_directory_comes_in_pages_and_questions_are_answered_in_their_order() {
    let rig = with_replica().await;
    for n in 0..2500 {
        fs::write(rig.at(&format!("f{n:04}")), n.to_string()).unwrap();
    }
    let mut reader = Reader::of(&rig.target).await;
    let (mut after, mut names) = (None, Vec::new());
    loop {
        let (told, _) = reader.ask(Ask::List { path: RelPath::root(), after: after.clone() }).await;
        let Told::Page(page) = told else { panic!("{told:?}") };
        names.extend(page.entries.iter().map(|entry| entry.name.to_string()));
        after = page.entries.last().map(|entry| entry.name.clone());
        if page.complete {
            break;
        }
    }
    assert_eq!(names, (0..2500).map(|n| format!("f{n:04}")).collect::<Vec<_>>());
    for n in 0..200 {
        reader.send(Ask::Read { path: path(&format!("f{n:04}")), offset: 0, len: 10 }).await;
    }
    // One that went meanwhile is an answer as any other.
    fs::remove_file(rig.at("f2499")).unwrap();
    reader.send(Ask::Read { path: path("f2499"), offset: 0, len: 10 }).await;
    let first = reader.number - 200;
    for n in 0..200 {
        let (number, told, data) = reader.hear().await;
        assert!(matches!(told, Told::Data { .. }), "{told:?}");
        assert_eq!((number, data), (first + n, Bytes::from(n.to_string())));
    }
    assert!(matches!(reader.hear().await.1, Told::Failed { kind: FailedKind::Missing, .. }));
    reader.hang_up().await;
}

#[tokio::test]
async fn a_session_and_its_reader_do_not_disturb_each_other() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(create(2, "f")).await;
    source.ok_with(write(at(2, "f"), 0), b"one").await;
    let mut reader = Reader::of(&rig.target).await;
    assert!(!reader.ack.coherent, "nobody has said that it is");
    assert_eq!(reader.ack.position.map(|p| p.applied.get()), Some(2));
    let read = || Ask::Read { path: path("f"), offset: 0, len: 10 };
    assert_eq!(reader.ask(read()).await.1, "one");
    source.ok_with(write(at(2, "f"), 0), b"two").await;
    assert_eq!(reader.ask(read()).await.1, "two");
    // It breaks off in the middle of an answer.
    for _ in 0..50 {
        reader.send(read()).await;
    }
    drop((reader.input, reader.output));
    let _ended = tokio::time::timeout(TIMEOUT, reader.served).await.expect("it ends").unwrap();
    source.ok(rename(2, "f", "g", None)).await;
    let mut reader = Reader::of(&rig.target).await;
    // What is no question ends the reading, and nothing else.
    write_message(&mut reader.output, &Message::Bye).await.unwrap();
    assert!(
        matches!(receive(&mut reader.input).await, Some(Message::Refused(why)) if why.code == RefusalCode::Protocol)
    );
    source.ok(rename(2, "g", "h", None)).await;
    source.hang_up().await;
}

#[tokio::test]
async fn a_root_is_read_whether_or_not_a_daemon_has_it() {
    let rig = with_replica().await;
    fs::write(rig.at("f"), "content").unwrap();
    let root = rig.dir.path().join("root");
    assert!(matches!(Reading::open(rig.dir.path(), "test"), Err(TargetError::NoRoot { .. })));
    assert!(matches!(Reading::open(Path::new("/nowhere"), "test"), Err(TargetError::NoRoot { .. })));
    let reading = Reading::open(&root, "test").unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (theirs_in, theirs_out) = tokio::io::split(theirs);
    let served = tokio::spawn(async move { reading.serve(PEER, theirs_in, theirs_out).await });
    let (mut input, mut output) = tokio::io::split(ours);
    write_message(&mut output, &Message::Fetch(fetch())).await.unwrap();
    let Some(Message::FetchAck(ack)) = receive(&mut input).await else { panic!("not let in") };
    let mut reader = Reader { input, output, ack, number: 0, served };
    assert!(reader.ack.coherent);
    assert_eq!(reader.ask(Ask::Read { path: path("f"), offset: 0, len: 10 }).await.1, "content");
    reader.hang_up().await;
}

//! docs/protocol.md and docs/protocol-bytes.md say what the code does: the tables of the former are compared with constants and samples, the latter is
//! made of the frozen samples (`REPLFS_WRITE_SAMPLES=1` writes it) and compared.
#![allow(clippy::unwrap_used)]

mod msgpack;

use bytes::Bytes;
use replfs_protocol::frame::HEAD_BYTES;
use replfs_protocol::short::{MAX_KEPT_BYTES, MAX_SHORT_BYTES, SLOTS};
use replfs_protocol::{
    BLOCK_HEAD_BYTES, CHUNK_BYTES, COMPARE_BLOCK_BYTES, CUT_AVG_BYTES, CUT_MAX_BYTES, CUT_MIN_BYTES, Features, Head,
    MAX_BLOCK_BYTES, MAX_CHUNKS, MAX_HEADER_BYTES, MAX_LANES, MAX_NUMBER, MAX_PAYLOAD_BYTES, MAX_RESERVED,
    MIN_HASH_BLOCK_BYTES, Message, VERSION, path,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(here().join("../docs").join(name)).unwrap()
}

/// The rows of the table below a heading, cells trimmed, without its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = document("protocol.md");
    let (_, after) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let row = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows = after.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(row).collect()
}

/// All frozen samples: name, bytes, what they mean.
fn samples() -> Vec<(String, Vec<u8>, Message)> {
    let mut found: Vec<_> = std::fs::read_dir(here().join("tests/samples/v1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none())
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let head = Head::parse(bytes.first_chunk().unwrap()).unwrap();
            let (header, payload) = bytes[HEAD_BYTES..].split_at(head.header_len());
            let message = head.message(header, Bytes::copy_from_slice(payload)).unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes, message)
        })
        .collect();
    found.sort_by(|a, b| (a.1[3], &a.0).cmp(&(b.1[3], &b.0)));
    found
}

/// The header with the names of its fields; `None` where there is none.
fn named(message: &Message) -> Option<Vec<u8>> {
    let pack = |value: &dyn Fn() -> Result<Vec<u8>, rmp_serde::encode::Error>| Some(value().unwrap());
    match message {
        Message::Hello(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::HelloAck(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Refused(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Record(m, _) => pack(&|| rmp_serde::to_vec_named(&m.op)),
        Message::Ack(m) | Message::ByeAck(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Answer(_, m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Trouble(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Busy(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Fetch(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::FetchAck(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Ask(_, m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Told(_, m, _) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Lane(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::LaneAck(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Piece(_, m, _) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::PieceDone(_, m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Pair(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::PairAck(m) => pack(&|| rmp_serde::to_vec_named(m)),
        Message::Heartbeat | Message::Bye => None,
    }
}

/// `Hello` of `Hello(...)`.
fn kind(message: &Message) -> String {
    format!("{message:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
}

#[test]
fn the_kinds_in_the_document_are_those_of_the_code() {
    let mut coded: BTreeMap<u8, (String, Vec<String>)> = BTreeMap::new();
    for (_, bytes, message) in samples() {
        let fields = named(&message).map(|named| msgpack::keys(&named)).unwrap_or_default();
        let (name, most) = coded.entry(bytes[3]).or_default();
        *name = kind(&message);
        if fields.len() > most.len() {
            *most = fields;
        }
    }
    let rows = table("## Kinds");
    let told: BTreeMap<u8, String> = rows.iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect();
    let names: BTreeMap<u8, String> = coded.iter().map(|(number, (name, _))| (*number, name.clone())).collect();
    assert_eq!(told, names, "numbers and names of kinds; each has a sample");
    for row in rows {
        // A header that is a struct: its fields, in their order.
        let fields = &coded[&row[0].parse().unwrap()].1;
        if fields.len() > 1 {
            let (listed, _) = row[3].split_once(';').unwrap_or((&row[3], ""));
            let listed: Vec<&str> = listed.split(", ").map(|field| field.trim_end_matches('?')).collect();
            let listed: Vec<&str> = listed.iter().map(|field| field.split(" (").next().unwrap()).collect();
            let listed: Vec<&str> = listed.into_iter().filter(|field| !field.contains(')')).collect();
            assert_eq!(&listed, fields, "fields of {}", row[1]);
        }
    }
    for number in 0..=u8::MAX {
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&[b'R', b'F', VERSION, number]);
        let known = Head::parse(&head).is_ok();
        assert_eq!(known, names.contains_key(&number), "kind {number}");
    }
}

#[test]
fn the_limits_in_the_document_are_those_of_the_code() {
    let coded: BTreeMap<&str, u64> = BTreeMap::from([
        ("VERSION", VERSION.into()),
        ("HEAD_BYTES", HEAD_BYTES as u64),
        ("MAX_HEADER_BYTES", MAX_HEADER_BYTES as u64),
        ("MAX_PAYLOAD_BYTES", MAX_PAYLOAD_BYTES as u64),
        ("MAX_NUMBER", MAX_NUMBER),
        ("CHUNK_BYTES", CHUNK_BYTES),
        ("COMPARE_BLOCK_BYTES", COMPARE_BLOCK_BYTES.into()),
        ("NAME_MAX", path::NAME_MAX as u64),
        ("PATH_MAX", path::PATH_MAX as u64),
        ("MAX_LANES", MAX_LANES.into()),
        ("CUT_MIN_BYTES", CUT_MIN_BYTES.into()),
        ("CUT_AVG_BYTES", CUT_AVG_BYTES.into()),
        ("CUT_MAX_BYTES", CUT_MAX_BYTES.into()),
        ("MAX_CHUNKS", MAX_CHUNKS as u64),
        ("MAX_RESERVED", MAX_RESERVED as u64),
        ("MIN_HASH_BLOCK_BYTES", MIN_HASH_BLOCK_BYTES.into()),
        ("BLOCK_HEAD_BYTES", BLOCK_HEAD_BYTES as u64),
        ("MAX_BLOCK_BYTES", MAX_BLOCK_BYTES as u64),
        ("SLOTS", SLOTS as u64),
        ("MAX_KEPT_BYTES", MAX_KEPT_BYTES as u64),
        ("MAX_SHORT_BYTES", MAX_SHORT_BYTES as u64),
    ]);
    let rows = table("## Limits");
    let told: BTreeMap<&str, u64> = rows.iter().map(|row| (row[0].as_str(), row[1].parse().unwrap())).collect();
    assert_eq!(told, coded);
}

#[test]
fn the_features_in_the_document_are_those_of_the_code() {
    let told = table("## Features").iter().map(|row| 1_u64 << row[0].parse::<u32>().unwrap()).sum();
    assert_eq!(Features::OURS, Features::from_bits(told));
}

/// Offset, length and name of each field of the head.
fn head_fields() -> Vec<(usize, usize, String)> {
    let rows = table("## Frame");
    let fields = rows.iter().filter(|row| !row[1].is_empty());
    fields.map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap(), row[2].clone())).collect()
}

#[test]
fn the_head_in_the_document_has_no_gap() {
    let end = head_fields().iter().fold(0, |at, (offset, len, name)| {
        assert_eq!(*offset, at, "{name}");
        at + len
    });
    assert_eq!(end, HEAD_BYTES);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn annotated(bytes: &[u8], message: &Message) -> String {
    let mut out = String::new();
    let mut line = |at: usize, len: usize, what: &str| {
        writeln!(out, "{at:5}  {:<50} {what}", hex(&bytes[at..at + len])).unwrap();
    };
    for (at, len, name) in head_fields() {
        let value = bytes[at..at + len].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let what = name.split([':', ',', ';']).next().unwrap();
        match at {
            0 => line(at, len, "magic RF"),
            3 => line(at, len, &format!("kind {value}: {}", kind(message))),
            40 | 44 => line(at, len, what),
            _ => line(at, len, &format!("{what}: {value}")),
        }
    }
    let header = HEAD_BYTES + u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    if let Some(named) = named(message) {
        for (at, len, what) in msgpack::annotate(&bytes[HEAD_BYTES..header], &named) {
            line(HEAD_BYTES + at, len, &what);
        }
    }
    if bytes.len() > header {
        line(header, bytes.len() - header, "payload");
    }
    out
}

const INTRODUCTION: &str = "# Frames of version 1, byte by byte

Every frozen sample of `protocol/tests/samples/v1/`, by kind: offset, bytes, meaning. docs/protocol.md says what it is for. The first 48 bytes are the head, in
little endian; then comes the header in MessagePack, then the payload as it is. A header's indentation is its nesting; `name = ` is the field whose value
begins there. This file is made of the samples: `REPLFS_WRITE_SAMPLES=1 cargo test -p replfs-protocol --test document` writes it, and without
that the test compares.
";

#[test]
fn every_sample_is_in_the_document_byte_by_byte() {
    let mut text = INTRODUCTION.to_owned();
    for (name, bytes, message) in samples() {
        write!(text, "\n## {} {}: {name}\n\n```\n{}```\n", bytes[3], kind(&message), annotated(&bytes, &message))
            .unwrap();
    }
    let path = here().join("../docs/protocol-bytes.md");
    if std::env::var_os("REPLFS_WRITE_SAMPLES").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let told = document("protocol-bytes.md");
    let differs = told.lines().zip(text.lines()).find(|(told, made)| told != made);
    assert!(told == text, "docs/protocol-bytes.md is not what the samples are: {differs:?}; REPLFS_WRITE_SAMPLES=1");
}

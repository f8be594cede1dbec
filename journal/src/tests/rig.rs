//! What the tests share: frames, and journals in a directory of their own.

use crate::{AreaConfig, AreaKind, Config, Journal, RealDisk, Recovered};
use bytes::Bytes;
use protocol::{Draft, Frame, Incarnation, Mark, Op, SeqNo};
use std::path::Path;
use std::sync::Arc;

pub const BOOT: [u8; 16] = [7; 16];

pub fn incarnation(n: u8) -> Incarnation {
    Incarnation::from_bytes([n; 16])
}

/// A frame whose payload and stamp come from `tag`.
pub fn frame(seq: u64, tag: u64, payload: usize) -> Frame {
    let mut bytes = tag.to_le_bytes().to_vec();
    bytes.resize(payload.max(8), u8::try_from(tag % 251).unwrap());
    Draft::new(&Op::Mark(Mark::Barrier), Bytes::from(bytes)).number(SeqNo::new(seq), tag, false)
}

/// The tag that a frame was made with.
pub fn tag(frame: &Frame) -> u64 {
    u64::from_le_bytes(*frame.payload.first_chunk().unwrap())
}

pub fn real(areas: Vec<AreaConfig>) -> (Journal, Recovered) {
    Journal::open(Arc::new(RealDisk), Config { boot: BOOT, areas }).unwrap()
}

pub fn disk_area(dir: &Path, bytes: u64) -> AreaConfig {
    AreaConfig::new(AreaKind::Disk, dir.join("disk"), bytes)
}

pub fn append(journal: &mut Journal, seq: u64, payload: usize) {
    journal.append(&frame(seq, seq, payload), SeqNo::new(seq), seq).unwrap();
}

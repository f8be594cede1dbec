//! Makes blocks.

use super::choice::{Choice, Method, Mode, PROBE_BYTES};
use protocol::{BLOCK_HEAD_BYTES, BlockHead, BlockKind, MAX_BLOCK_BYTES};
use std::time::Duration;
use zstd::bulk::Compressor;

/// Packs what one stream sends.
pub struct Packer {
    choice: Choice,
    zstd: Option<(i32, Compressor<'static>)>,
    /// The block that was made last, up to `len`.
    place: Vec<u8>,
    len: usize,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("choice", &self.choice).finish_non_exhaustive()
    }
}

impl Packer {
    /// One that knows nothing yet.
    pub fn new(mode: Mode) -> Self {
        Self { choice: Choice::new(mode), zstd: None, place: Vec::new(), len: 0 }
    }

    /// What it goes by.
    pub fn choice(&mut self) -> &mut Choice {
        &mut self.choice
    }

    /// Makes a block of these bytes, of which there are at least one and at most [`MAX_BLOCK_BYTES`]: whether they are in it. Otherwise it is the head of a plain
    /// one, and they follow it as they are. `clock`: the time since whenever.
    pub fn pack(&mut self, raw: &[u8], clock: impl Fn() -> Duration) -> bool {
        assert!((1..=MAX_BLOCK_BYTES).contains(&raw.len()), "a block within its bounds");
        if self.choice.wants_probe(raw.len()) {
            let sample = &raw[..raw.len().min(PROBE_BYTES)];
            let results = Method::CANDIDATES.map(|method| self.timed(method, sample, &clock));
            self.choice.probed(sample.len(), results);
        }
        let method = self.choice.decide(raw.len());
        let mut head = BlockHead { kind: BlockKind::Plain, raw_len: raw.len(), packed_len: raw.len() };
        if method != Method::Plain {
            let (packed_len, took) = self.timed(method, raw, &clock);
            self.choice.packed(method, raw.len(), packed_len, took);
            if packed_len < raw.len() {
                let kind = if method == Method::Lz4 { BlockKind::Lz4 } else { BlockKind::Zstd };
                head = BlockHead { kind, packed_len, ..head };
            }
        }
        let packed = head.kind != BlockKind::Plain;
        self.len = BLOCK_HEAD_BYTES + if packed { head.packed_len } else { 0 };
        self.make_room(self.len);
        self.place[..BLOCK_HEAD_BYTES].copy_from_slice(&head.encode());
        packed
    }

    /// What was made last.
    pub fn block(&self) -> &[u8] {
        &self.place[..self.len]
    }

    fn make_room(&mut self, len: usize) {
        if self.place.len() < len {
            self.place.resize(len, 0);
        }
    }

    /// Packs into the place of the block, behind its head: how many bytes they became, or as many as they are where they do not shrink; and how long that took.
    fn timed(&mut self, method: Method, raw: &[u8], clock: impl Fn() -> Duration) -> (usize, Duration) {
        let begun = clock();
        let packed = self.try_to_pack(method, raw).filter(|packed| *packed < raw.len());
        (packed.unwrap_or(raw.len()), clock().saturating_sub(begun))
    }

    fn try_to_pack(&mut self, method: Method, raw: &[u8]) -> Option<usize> {
        self.make_room(BLOCK_HEAD_BYTES + lz4_flex::block::get_maximum_output_size(raw.len()));
        match method {
            Method::Plain => None,
            Method::Lz4 => lz4_flex::block::compress_into(raw, &mut self.place[BLOCK_HEAD_BYTES..]).ok(),
            // It ends early where it would not become smaller.
            Method::Zstd(level) => {
                let place = &mut self.place[BLOCK_HEAD_BYTES..BLOCK_HEAD_BYTES + raw.len() - 1];
                compressor(&mut self.zstd, level)?.compress_to_buffer(raw, place).ok()
            }
        }
    }
}

/// That of this level, made where there is none; `None`: there is no memory for it.
fn compressor<'a>(held: &'a mut Option<(i32, Compressor<'static>)>, level: i32) -> Option<&'a mut Compressor<'static>> {
    if held.as_ref().is_none_or(|(held, _)| *held != level) {
        *held = Some((level, Compressor::new(level).ok()?));
    }
    held.as_mut().map(|(_, compressor)| compressor)
}

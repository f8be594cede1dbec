//! Blocks by one method: the codecs, and what they keep between blocks. Which method is not decided here.

use super::choice::Method;
use protocol::{BLOCK_HEAD_BYTES, BlockHead, BlockKind, MAX_BLOCK_BYTES};
use zstd::bulk::Compressor;

/// Makes one block after the other, in the same place.
#[derive(Default)]
pub struct Codec {
    zstd: Option<(i32, Compressor<'static>)>,
    /// The block that was made last, up to `len`.
    place: Vec<u8>,
    len: usize,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

impl Codec {
    /// Makes a block of these bytes, of which there are at least one and at most [`MAX_BLOCK_BYTES`]: whether they are in it. Otherwise it is the head of a plain
    /// one, and they follow it as they are.
    pub fn pack(&mut self, method: Method, raw: &[u8]) -> bool {
        let packed = self.shrink(method, raw);
        self.make(method, raw.len(), packed)
    }

    /// What was made last.
    pub fn block(&self) -> &[u8] {
        &self.place[..self.len]
    }

    /// Packs into the place of the block, behind its head: how many bytes they became; `None`: they do not shrink.
    pub(super) fn shrink(&mut self, method: Method, raw: &[u8]) -> Option<usize> {
        assert!((1..=MAX_BLOCK_BYTES).contains(&raw.len()), "a block within its bounds");
        let packed = match method {
            Method::Plain => None,
            Method::Lz4 => {
                self.make_room(BLOCK_HEAD_BYTES + lz4_flex::block::get_maximum_output_size(raw.len()));
                lz4_flex::block::compress_into(raw, &mut self.place[BLOCK_HEAD_BYTES..]).ok()
            }
            // It ends early where it would not become smaller.
            Method::Zstd(level) => {
                let end = BLOCK_HEAD_BYTES + raw.len() - 1;
                self.make_room(end);
                let place = &mut self.place[BLOCK_HEAD_BYTES..end];
                compressor(&mut self.zstd, level)?.compress_to_buffer(raw, place).ok()
            }
        };
        packed.filter(|packed| *packed < raw.len())
    }

    /// Puts the head before what was packed: whether it was.
    pub(super) fn make(&mut self, method: Method, raw_len: usize, packed: Option<usize>) -> bool {
        let kind = match (packed, method) {
            (None, _) | (_, Method::Plain) => BlockKind::Plain,
            (_, Method::Lz4) => BlockKind::Lz4,
            (_, Method::Zstd(_)) => BlockKind::Zstd,
        };
        let head = BlockHead { kind, raw_len, packed_len: packed.unwrap_or(raw_len) };
        self.len = BLOCK_HEAD_BYTES + packed.unwrap_or(0);
        self.make_room(self.len);
        self.place[..BLOCK_HEAD_BYTES].copy_from_slice(&head.encode());
        packed.is_some()
    }

    fn make_room(&mut self, len: usize) {
        if self.place.len() < len {
            self.place.resize(len, 0);
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

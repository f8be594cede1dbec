//! What arrives packed: blocks one after the other.

use crate::frame::at_once;
use platform::pack::{Mode, Packer, Unpacker};
use protocol::{BLOCK_HEAD_BYTES, BlockHead, BlockKind, MAX_BLOCK_BYTES};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Three times: as blocks; as the packed bytes of one block, whose kind and raw length the first bytes say; and packed, which has to come back.
pub fn blocks(bytes: &[u8]) {
    let (out, _) = expanded(bytes);
    // 9 bytes at least for each 256 KiB.
    assert!(out.len() <= bytes.len().div_ceil(BLOCK_HEAD_BYTES) * MAX_BLOCK_BYTES, "no more than the heads said");
    if let Some(([kind, low, high], packed)) = bytes.split_first_chunk() {
        let kind = if kind & 1 == 0 { BlockKind::Lz4 } else { BlockKind::Zstd };
        let raw_len = usize::from(u16::from_le_bytes([*low, *high])).max(packed.len());
        if !packed.is_empty() && raw_len <= MAX_BLOCK_BYTES {
            let head = BlockHead { kind, raw_len, packed_len: packed.len() };
            let (out, whole) = expanded(&[&head.encode()[..], packed].concat());
            assert!(out.len() == if whole { raw_len } else { 0 }, "all of it or nothing");
        }
    }
    for mode in [Mode::Lz4, Mode::Zstd(1)] {
        let (mut packer, mut sent) = (Packer::new(mode), Vec::new());
        for raw in bytes.chunks(5000) {
            let shrunk = packer.pack(raw, || Duration::ZERO);
            sent.extend_from_slice(packer.block());
            sent.extend_from_slice(if shrunk { &[] } else { raw });
        }
        assert!(expanded(&sent) == (bytes.to_vec(), true), "packed and expanded again");
    }
}

/// What blocks expand to, and whether they do to their end.
fn expanded(bytes: &[u8]) -> (Vec<u8>, bool) {
    let (mut unpacker, mut out) = (Unpacker::new(bytes, true), Vec::new());
    let whole = at_once(unpacker.read_to_end(&mut out)).is_ok();
    (out, whole)
}

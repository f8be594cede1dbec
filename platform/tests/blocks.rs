//! Blocks as they were: what was packed by any build is expanded by every later one (`REPLFS_WRITE_SAMPLES=1` writes those that are missing).
#![allow(clippy::unwrap_used)]

use replfs_platform::pack::{Mode, Packer, Unpacker};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncReadExt;

fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/samples/blocks-v1").join(name)
}

fn frozen(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let place = place(name);
    if !place.exists() && std::env::var_os("REPLFS_WRITE_SAMPLES").is_some() {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, make()).unwrap();
    }
    fs::read(place).unwrap()
}

#[tokio::test]
async fn frozen_blocks_are_expanded_to_what_they_were() {
    let raw = frozen("raw", || (0..40).flat_map(|n| format!("record {} of some\n", n / 4).into_bytes()).collect());
    for (name, mode, kind) in [("plain", "off", 0), ("lz4", "lz4", 1), ("zstd", "zstd", 2)] {
        let block = frozen(name, || {
            let mut packer = Packer::new(mode.parse::<Mode>().unwrap());
            let shrunk = packer.pack(&raw, || Duration::ZERO);
            [packer.block(), if shrunk { &[] } else { &raw }].concat()
        });
        assert_eq!(block[0], kind);
        let mut back = Vec::new();
        Unpacker::new(&block[..], true).read_to_end(&mut back).await.unwrap();
        assert_eq!(back, raw, "{name}");
    }
}

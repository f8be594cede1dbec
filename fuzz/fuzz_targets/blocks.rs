//! Any bytes as `replfs_fuzzed`'s format "blocks".
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replfs_fuzzed::run("blocks", bytes));

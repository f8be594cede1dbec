//! Any bytes as `replfs_fuzzed`'s format "frame".
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replfs_fuzzed::run("frame", bytes));

//! Any bytes as `replfs_fuzzed`'s format "short".
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replfs_fuzzed::run("short", bytes));

//! Any bytes as `replfs_fuzzed`'s format "record".
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replfs_fuzzed::run("record", bytes));

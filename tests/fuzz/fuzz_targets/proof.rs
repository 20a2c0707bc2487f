//! libFuzzer's entry to [`carrack_fuzz::proof`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::proof::run(data));

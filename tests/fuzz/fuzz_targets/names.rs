//! libFuzzer's entry to [`carrack_fuzz::names`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::names::run(data));

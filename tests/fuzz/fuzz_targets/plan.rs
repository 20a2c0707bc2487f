//! libFuzzer's entry to [`carrack_fuzz::plan`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::plan::run(data));

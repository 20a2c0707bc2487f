//! libFuzzer's entry to [`carrack_fuzz::segment`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::segment::run(data));

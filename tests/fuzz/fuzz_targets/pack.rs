//! libFuzzer's entry to [`carrack_fuzz::pack`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::pack::run(data));

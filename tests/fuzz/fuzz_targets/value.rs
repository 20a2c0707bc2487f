//! libFuzzer's entry to [`carrack_fuzz::value`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::value::run(data));

//! libFuzzer's entry to [`carrack_fuzz::wire`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::wire::run(data));

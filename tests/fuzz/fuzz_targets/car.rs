//! libFuzzer's entry to [`carrack_fuzz::car`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::car::run(data));

//! libFuzzer's entry to [`carrack_fuzz::commit`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::commit::run(data));

//! libFuzzer's entry to [`carrack_fuzz::mst`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::mst::run(data));

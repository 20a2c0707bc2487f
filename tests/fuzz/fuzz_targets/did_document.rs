//! libFuzzer's entry to [`carrack_fuzz::did_document`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::did_document::run(data));

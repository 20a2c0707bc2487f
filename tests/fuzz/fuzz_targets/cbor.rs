//! libFuzzer's entry to [`carrack_fuzz::cbor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::cbor::run(data));

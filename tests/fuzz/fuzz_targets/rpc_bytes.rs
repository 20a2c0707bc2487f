//! libFuzzer's entry to [`carrack_fuzz::rpc_bytes`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carrack_fuzz::rpc_bytes::run(data));

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampcast::http::fuzz::access(bytes));

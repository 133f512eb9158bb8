#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampcast::encode::jpeg::fuzz::markers(bytes));

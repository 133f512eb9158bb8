#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampcast::capture::jpeg::fuzz::markers(bytes));

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampcast::output::websocket::fuzz::access(bytes));

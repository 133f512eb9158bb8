#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampcast::output::webrtc::fuzz::links(bytes));

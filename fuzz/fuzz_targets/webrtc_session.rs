#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampcast::fuzz::targets::webrtc_session(bytes));

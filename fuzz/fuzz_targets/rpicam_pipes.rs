#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampcast::capture::video::rpi::fuzz::pipes(bytes));

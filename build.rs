//! Says what this machine lacks for a good build. Changes nothing.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Not on PATH, which is another one in each terminal, venv and service: each would compile everything anew.
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch.starts_with("x86"));
    let has_nasm = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join("nasm").is_file()));
    if env::var_os("CARGO_FEATURE_WEBRTC").is_some() && is_x86 && !has_nasm {
        println!(
            "cargo::warning=nasm is not installed: OpenH264 (WebRTC's encoder) is built without assembly and will be three times slower"
        );
    }
}

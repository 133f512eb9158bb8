//! Base64 (RFC 4648, section 4: standard alphabet, padded), with SIMD where the machine has it.

use base64::engine::Engine;
use base64::engine::general_purpose::PAD;
use std::sync::LazyLock;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
type Fastest = base64::engine::Simd;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Fastest = base64::engine::GeneralPurpose;

/// Built once: it detects the processor's features.
static ENGINE: LazyLock<Fastest> = LazyLock::new(|| {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return Fastest::standard(PAD);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Fastest::new(&base64::alphabet::STANDARD, PAD);
});

/// Length of the text for `bytes` bytes of data.
pub const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends the text of `bytes` to `out`.
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + encoded_len(bytes.len()), 0);
    ENGINE
        .encode_slice(bytes, &mut out[start..])
        .expect("`out` was extended by the encoded length");
}

/// Decodes `text`; `None` when it is not padded base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

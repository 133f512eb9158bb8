//! Base64 (RFC 4648, standard alphabet, padded) at the speed of the machine's vector unit. Knows nothing of what it encodes.

use base64::engine::Engine;
use base64::engine::general_purpose::PAD;
use std::sync::LazyLock;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
type Fastest = base64::engine::Simd;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Fastest = base64::engine::GeneralPurpose;

/// Built once: it asks the processor what it can do.
static ENGINE: LazyLock<Fastest> = LazyLock::new(|| {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return Fastest::standard(PAD);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Fastest::new(&base64::alphabet::STANDARD, PAD);
});

/// Length of the text for `bytes` bytes.
pub const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends the text for `bytes` to `out`.
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + encoded_len(bytes.len()), 0);
    ENGINE
        .encode_slice(bytes, &mut out[start..])
        .expect("the room made is exactly the encoded length");
}

/// The bytes that `text` stands for; `None` when it is no padded base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

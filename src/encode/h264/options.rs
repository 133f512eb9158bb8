//! The settings of OpenH264, and the options that the crate does not offer or sets too late.
// The crate has no safe call for these options, only the encoder's C interface.
#![allow(unsafe_code)]

use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, Profile,
    RateControlMode, UsageType, VuiConfig,
};
use std::ffi::{c_int, c_uint};

/// ENCODER_OPTION_BITRATE of OpenH264's codec_app_def.h.
pub(super) const BITRATE: c_int = 5;
/// ENCODER_OPTION_MAX_BITRATE of OpenH264's codec_app_def.h.
pub(super) const MAX_BITRATE: c_int = 6;

/// SBitrateInfo of OpenH264's codec_app_def.h.
#[repr(C)]
struct LayerBitrate {
    layer: c_uint,
    bps: c_int,
}

/// Sets [`BITRATE`] or [`MAX_BITRATE`], bits per second. Without effect where OpenH264 refuses.
pub(super) fn set_layer_bitrate(encoder: &mut Encoder, option: c_int, bps: u32) {
    /// SPATIAL_LAYER_0: the only one.
    const LAYER: c_uint = 0;
    let mut info = LayerBitrate {
        layer: LAYER,
        bps: c_int::try_from(bps).unwrap_or(c_int::MAX),
    };
    // SAFETY: the encoder exists as long as `encoder`; SetOption reads an SBitrateInfo, an enum and
    // an int, for these options, and `info` outlives the call. Before the first frame it is refused
    // (cmInitExpected), and the rate of `settings` holds.
    unsafe {
        encoder
            .raw_api()
            .set_option(option as _, (&raw mut info).cast())
    };
}

/// Keeps OpenH264 from writing to stderr, such as its warning that it does not skip frames. The
/// crate sets the same option, but only after the encoder was set up and has written.
pub(super) fn silence(encoder: &mut Encoder) {
    /// ENCODER_OPTION_TRACE_LEVEL and WELS_LOG_QUIET of OpenH264's codec_app_def.h.
    const TRACE_LEVEL: c_int = 25;
    let mut quiet: c_int = 0;
    // SAFETY: the encoder exists as long as `encoder`; this option can be set before it is set up,
    // and reads an int, which outlives the call. The crate relies on no level. Should it fail,
    // there is one more line on stderr.
    unsafe {
        encoder
            .raw_api()
            .set_option(TRACE_LEVEL as _, (&raw mut quiet).cast())
    };
}

/// The settings of every encoder.
pub(super) fn settings(fps: f64, bitrate_bps: u32) -> EncoderConfig {
    EncoderConfig::new()
        .bitrate(BitRate::from_bps(bitrate_bps))
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        .rate_control_mode(RateControlMode::Bitrate)
        .usage_type(UsageType::CameraVideoRealTime)
        .profile(Profile::Baseline)
        .complexity(Complexity::Low)
        // With more, each would encode a slice, and this process has frames to read meanwhile.
        .num_threads(1)
        // To a viewer a skipped frame looks like a fault of the camera.
        .skip_frames(false)
        .scene_change_detect(false)
        // Keyframes are forced by capture time, not counted in frames.
        .intra_frame_period(IntraFramePeriod::from_num_frames(0))
        // The planes are JPEG's: BT.601, 0 to 255.
        .vui(VuiConfig::bt601().full_range(true))
}

//! Facts about each option beside its value: when it has an effect, and which other option it
//! excludes. Each topic lists its options in a table of its own; a test compares the tables with
//! the options that clap knows, so none can be left out.

/// One option of the program (not of its subcommands).
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptionFacts {
    /// clap's id: the long name with underscores.
    pub id: &'static str,
    pub effective: Effective,
    /// The id of an option that cannot hold together with this one. Listed at one of the two.
    pub excludes: Option<&'static str>,
}

/// When an option has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effective {
    Always,
    /// With `--camera-type usb`.
    UsbCamera,
    /// With a camera that is a device: usb or rpi.
    DeviceCamera,
    /// With any camera type but none.
    Video,
    /// With `--enable-audio`.
    Audio,
    /// With `--serve-client`.
    ServedPage,
    /// In builds with WebRTC, without `--no-webrtc`.
    Webrtc,
    /// Where there is video and an output reads H.264, which only WebRTC's do.
    H264,
    /// Where WebRTC is on and `--whip` is given.
    #[cfg_attr(not(feature = "webrtc"), expect(dead_code))]
    Whip,
}

/// What the other options choose, as far as it decides whether an option has an effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    pub usb_camera: bool,
    pub device_camera: bool,
    pub video: bool,
    pub audio: bool,
    pub served_page: bool,
    pub webrtc: bool,
    pub whip: bool,
}

impl OptionFacts {
    pub(crate) const fn new(id: &'static str, effective: Effective) -> Self {
        Self {
            id,
            effective,
            excludes: None,
        }
    }

    pub(crate) const fn excludes(self, other: &'static str) -> Self {
        Self {
            excludes: Some(other),
            ..self
        }
    }

    /// Why the option has no effect with these choices. `None`: it has one.
    pub(crate) fn ignored_because(&self, with: Choices) -> Option<&'static str> {
        const NO_WEBRTC: &str = if cfg!(feature = "webrtc") {
            "WebRTC is disabled (--no-webrtc)"
        } else {
            "this build does not include WebRTC"
        };
        let requirements: &[(bool, &str)] = match self.effective {
            Effective::Always => &[],
            Effective::UsbCamera => &[(with.usb_camera, "it needs --camera-type usb")],
            Effective::DeviceCamera => &[(with.device_camera, "it needs --camera-type usb or rpi")],
            Effective::Video => &[(with.video, NO_VIDEO)],
            Effective::Audio => &[(with.audio, "it needs --enable-audio")],
            Effective::ServedPage => &[(with.served_page, "it needs --serve-client")],
            Effective::Webrtc => &[(with.webrtc, NO_WEBRTC)],
            Effective::H264 => &[(with.video, NO_VIDEO), (with.webrtc, NO_WEBRTC)],
            Effective::Whip => &[(with.webrtc, NO_WEBRTC), (with.whip, "it needs --whip")],
        };
        let missing = requirements.iter().find(|(is_met, _)| !is_met);
        missing.map(|(_, reason)| *reason)
    }
}

const NO_VIDEO: &str = "there is no video (--camera-type none)";

/// All options, topic by topic.
pub(crate) fn all() -> impl Iterator<Item = &'static OptionFacts> {
    [
        super::network::OPTIONS,
        super::limits::OPTIONS,
        super::access::OPTIONS,
        super::video::OPTIONS,
        super::audio::OPTIONS,
        super::webrtc::OPTIONS,
        super::process::OPTIONS,
        super::logging::OPTIONS,
    ]
    .into_iter()
    .flatten()
}

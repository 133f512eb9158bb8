//! The command line of rpicam-vid (rpicam-apps 1.0 to 1.12) for a configuration. Starts no process.

use crate::config::{Flip, Rotate, VideoConfig};

/// What `--camera-control` may set: the options that change the image or select the camera, and
/// none that would break the two pipes or write files.
const CONTROLS: [&str; 23] = [
    "autofocus-mode",
    "autofocus-range",
    "autofocus-speed",
    "autofocus-window",
    "awb",
    "awbgains",
    "brightness",
    "camera",
    "contrast",
    "denoise",
    "ev",
    "exposure",
    "flicker-period",
    "gain",
    "hdr",
    "lens-position",
    "metering",
    "mode",
    "roi",
    "saturation",
    "sharpness",
    "shutter",
    "tuning-file",
];

const MAX_VALUE_BYTES: usize = 256;

/// Which part of a rotation and flip the camera does, and which is left for the encoder pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    pub hflip: bool,
    pub vflip: bool,
    pub left_rotate: Rotate,
    pub left_flip: Flip,
}

impl Orientation {
    /// Sensors read lines and columns from either end, so the camera can flip and turn by half. It
    /// cannot turn by a quarter; then all is left to the pipeline.
    pub fn new(rotate: Rotate, flip: Flip) -> Self {
        let half = match rotate {
            Rotate::None => false,
            Rotate::Half => true,
            Rotate::Quarter | Rotate::ThreeQuarters => {
                return Self {
                    left_rotate: rotate,
                    left_flip: flip,
                    ..Self::default()
                };
            }
        };
        Self {
            hflip: half ^ matches!(flip, Flip::Horizontal | Flip::Both),
            vflip: half ^ matches!(flip, Flip::Vertical | Flip::Both),
            ..Self::default()
        }
    }
}

/// The arguments of rpicam-vid.
///
/// # Errors
/// What is wrong with a control.
pub(crate) fn arguments(video: &VideoConfig, metadata_fd: i32) -> Result<Vec<String>, String> {
    let mut arguments: Vec<String> = ["--nopreview", "--timeout", "0", "--codec", "mjpeg"]
        .map(String::from)
        .into();
    let mut option = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
    option("width", video.capture_width.to_string());
    option("height", video.capture_height.to_string());
    option("framerate", video.fps.to_string());
    option("quality", video.quality.to_string());
    option("output", "-".into());
    option("metadata", format!("/dev/fd/{metadata_fd}"));
    option("metadata-format", "txt".into());
    arguments.push("--flush".into());
    let orientation = Orientation::new(video.rotate, video.flip);
    arguments.extend(orientation.hflip.then(|| "--hflip".into()));
    arguments.extend(orientation.vflip.then(|| "--vflip".into()));
    controls(&video.controls)?.for_each(|c| arguments.push(c));
    Ok(arguments)
}

/// As `--name=value`, so that a value may begin with a minus sign.
fn controls(controls: &[(String, String)]) -> Result<impl Iterator<Item = String>, String> {
    for (n, (name, value)) in controls.iter().enumerate() {
        if !CONTROLS.contains(&name.as_str()) {
            return Err(format!(
                "no control {name:?}; it has: {}",
                CONTROLS.join(", ")
            ));
        }
        // rpicam-vid exits when an option is repeated.
        if controls[..n].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("control {name} is given twice"));
        }
        if value.is_empty() || value.len() > MAX_VALUE_BYTES || value.contains(char::is_control) {
            return Err(format!(
                "control {name}: the value is empty, too long or not plain text"
            ));
        }
    }
    Ok(controls
        .iter()
        .map(|(name, value)| format!("--{name}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video() -> VideoConfig {
        VideoConfig {
            width: 320,
            height: 240,
            fps: 12.5,
            ..VideoConfig::default()
        }
    }

    fn with(controls: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let controls = controls
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        arguments(
            &VideoConfig {
                controls,
                ..video()
            },
            7,
        )
    }

    #[test]
    fn arguments_have_capture_size_rate_and_quality() {
        let line = arguments(&video(), 7).unwrap().join(" ");
        assert_eq!(
            line,
            "--nopreview --timeout 0 --codec mjpeg --width 640 --height 480 --framerate 12.5 --quality 70 --output - \
             --metadata /dev/fd/7 --metadata-format txt --flush"
        );
    }

    #[test]
    fn arguments_controls_become_options() {
        let line = with(&[("ev", "-0.5"), ("awbgains", "1.5,1.2")]).unwrap();
        assert_eq!(line[line.len() - 2..], ["--ev=-0.5", "--awbgains=1.5,1.2"]);
    }

    #[test]
    fn arguments_invalid_controls_are_refused() {
        for name in [
            "output",
            "metadata",
            "signal",
            "post-process-file",
            "exposure_time_absolute",
            "",
            "-n",
            "ev=1 --signal",
        ] {
            let why = with(&[(name, "1")]).unwrap_err();
            assert!(
                why.contains("autofocus-mode") && why.contains("shutter"),
                "{why}"
            );
        }
        assert!(
            with(&[("ev", "1"), ("ev", "2")])
                .unwrap_err()
                .contains("twice")
        );
        for value in ["", "1\n2", "\0", &"9".repeat(300)] {
            assert!(with(&[("ev", value)]).is_err());
        }
    }

    #[test]
    fn orientation_camera_flips_and_turns_by_half_only() {
        let made = |rotate, flip| {
            let o = Orientation::new(rotate, flip);
            assert_eq!((o.left_rotate, o.left_flip), Default::default());
            (o.hflip, o.vflip)
        };
        assert_eq!(made(Rotate::None, Flip::None), (false, false));
        assert_eq!(made(Rotate::Half, Flip::None), (true, true));
        assert_eq!(made(Rotate::Half, Flip::Horizontal), (false, true));
        assert_eq!(made(Rotate::Half, Flip::Both), (false, false));
        assert_eq!(made(Rotate::None, Flip::Vertical), (false, true));
        for rotate in [Rotate::Quarter, Rotate::ThreeQuarters] {
            let left = Orientation::new(rotate, Flip::Vertical);
            let expected = Orientation {
                hflip: false,
                vflip: false,
                left_rotate: rotate,
                left_flip: Flip::Vertical,
            };
            assert_eq!(left, expected);
        }
    }
}

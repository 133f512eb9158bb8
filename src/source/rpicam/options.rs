//! Settings as rpicam-vid's options. Knows their names (rpicam-apps 1.0 to 1.12), not the process.

use crate::config::{Flip, Rotate, VideoConfig};

/// What `--camera-control` may set: the options that change the picture or choose the camera, and none that would break
/// the two pipes or write files.
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

const LONGEST_VALUE: usize = 256;

/// What the camera itself does of a rotation and a flip, and what is left to do with its pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    pub hflip: bool,
    pub vflip: bool,
    pub left_rotate: Rotate,
    pub left_flip: Flip,
}

impl Orientation {
    /// The camera reads its lines and columns from either end, which makes the flips and the half turn; it makes no
    /// quarter turn, and then nothing of the whole.
    pub fn of(rotate: Rotate, flip: Flip) -> Self {
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

/// The command line after the program's name. Errors: the text of a control that cannot be set.
pub fn arguments(video: &VideoConfig, metadata_fd: i32) -> Result<Vec<String>, String> {
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
    let orientation = Orientation::of(video.rotate, video.flip);
    arguments.extend(orientation.hflip.then(|| "--hflip".into()));
    arguments.extend(orientation.vflip.then(|| "--vflip".into()));
    controls(&video.controls)?.for_each(|c| arguments.push(c));
    Ok(arguments)
}

/// In the form `--name=value`, so that a value may begin with a minus sign.
fn controls(controls: &[(String, String)]) -> Result<impl Iterator<Item = String>, String> {
    for (n, (name, value)) in controls.iter().enumerate() {
        if !CONTROLS.contains(&name.as_str()) {
            return Err(format!(
                "it has no control {name:?}; it has: {}",
                CONTROLS.join(", ")
            ));
        }
        // rpicam-vid ends when an option is repeated.
        if controls[..n].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("the control {name} is given twice"));
        }
        if value.is_empty() || value.len() > LONGEST_VALUE || value.contains(char::is_control) {
            return Err(format!(
                "the value of the control {name} is empty, too long or not plain text"
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
    fn camera_is_asked_for_its_own_size_rate_and_quality() {
        let line = arguments(&video(), 7).unwrap().join(" ");
        assert_eq!(
            line,
            "--nopreview --timeout 0 --codec mjpeg --width 640 --height 480 --framerate 12.5 --quality 70 --output - \
             --metadata /dev/fd/7 --metadata-format txt --flush"
        );
    }

    #[test]
    fn controls_become_options() {
        let line = with(&[("ev", "-0.5"), ("awbgains", "1.5,1.2")]).unwrap();
        assert_eq!(line[line.len() - 2..], ["--ev=-0.5", "--awbgains=1.5,1.2"]);
    }

    #[test]
    fn options_that_are_no_controls_are_refused() {
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
    fn camera_flips_and_turns_by_half_and_leaves_quarters() {
        let made = |rotate, flip| {
            let o = Orientation::of(rotate, flip);
            assert_eq!((o.left_rotate, o.left_flip), Default::default());
            (o.hflip, o.vflip)
        };
        assert_eq!(made(Rotate::None, Flip::None), (false, false));
        assert_eq!(made(Rotate::Half, Flip::None), (true, true));
        assert_eq!(made(Rotate::Half, Flip::Horizontal), (false, true));
        assert_eq!(made(Rotate::Half, Flip::Both), (false, false));
        assert_eq!(made(Rotate::None, Flip::Vertical), (false, true));
        for rotate in [Rotate::Quarter, Rotate::ThreeQuarters] {
            let left = Orientation::of(rotate, Flip::Vertical);
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

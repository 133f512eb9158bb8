use super::*;
use crate::config::{Microphone, UsbCamera};
use std::any::TypeId;

fn run(args: &[&str]) -> Result<Command, CliError> {
    parse(
        std::iter::once("stampcast")
            .chain(args.iter().copied())
            .map(Into::into),
    )
}
fn config(args: &[&str]) -> Config {
    match run(args) {
        Ok(Command::Run(c)) => *c,
        other => panic!("{args:?} gave {other:?}"),
    }
}
fn refused(args: &[&str]) -> String {
    match run(args) {
        Err(CliError::Usage(line)) => line,
        other => panic!("{args:?} gave {other:?}"),
    }
}

/// It would stay in `ps`: what looks like an option is not taken out of there.
#[test]
fn a_token_that_looks_like_an_option_is_refused() {
    for option in ["--token", "--video-token"] {
        assert!(
            refused(&["--camera-type", "test", option, "-12345"]).contains("-1"),
            "{option}"
        );
    }
    assert!(refused(&["doctor", "localhost:1", "--token", "-12345"]).contains("-1"));
}

#[test]
fn defaults_are_the_documented_ones() {
    let c = config(&["--camera-type", "usb"]);
    assert_eq!((c.host.to_string().as_str(), c.port), ("0.0.0.0", 8080));
    let v = &c.video;
    assert_eq!(
        (v.width, v.height, v.capture_width, v.capture_height),
        (640, 480, 640, 480)
    );
    assert_eq!(
        (v.fps, v.quality, v.quality_given, v.queue_packets),
        (15.0, 70, false, 50)
    );
    assert_eq!(
        format!("{v:?}"),
        format!("{:?}", crate::config::Video::default()),
        "the library's defaults are these too"
    );
    assert_eq!(c.camera, Camera::Usb(UsbCamera::Index(0)));
    assert!(c.sound.is_none() && !c.exit_on_device_error && !c.serve_client);
    let s = config(&["--camera-type", "rpi", "--enable-audio"])
        .sound
        .expect("sound was asked for");
    assert_eq!(
        (s.device, s.channels, s.rate_hz, s.queue_packets),
        (Microphone::Default, 1, None, 500)
    );
}

#[test]
fn the_test_camera_beeps_unless_a_microphone_is_chosen() {
    let device = |args: &[&str]| config(args).sound.expect("sound was asked for").device;
    assert_eq!(
        device(&["--camera-type", "test", "--enable-audio"]),
        Microphone::Beep
    );
    assert_eq!(
        device(&[
            "--camera-type",
            "test",
            "--enable-audio",
            "--audio-device",
            "1"
        ]),
        Microphone::Index(1)
    );
    assert_eq!(
        device(&[
            "--camera-type",
            "none",
            "--enable-audio",
            "--audio-name",
            "Mic"
        ]),
        Microphone::Named("Mic".into())
    );
}

#[test]
fn options_without_effect_are_known() {
    let without_effect = |args: &[&str]| config(args).without_effect.join(" ");
    assert_eq!(
        without_effect(&[
            "--camera-type",
            "usb",
            "--device-id",
            "1",
            "--capture-width",
            "1280",
            "--width",
            "640"
        ]),
        ""
    );
    assert_eq!(
        without_effect(&[
            "--camera-type",
            "rpi",
            "--device",
            "C920",
            "--capture-width",
            "1280"
        ]),
        "--device"
    );
    assert_eq!(
        without_effect(&[
            "--camera-type",
            "test",
            "--capture-height",
            "480",
            "--rotate",
            "90"
        ]),
        "--capture-height"
    );
    assert_eq!(
        without_effect(&[
            "--camera-type",
            "none",
            "--enable-audio",
            "--audio-device",
            "1",
            "--fps",
            "30"
        ]),
        "--fps"
    );
    assert_eq!(
        without_effect(&["--camera-type", "usb", "--audio-channels", "2"]),
        "--audio-channels"
    );
    assert_eq!(
        without_effect(&["--camera-type", "usb", "--no-webrtc", "--webrtc-port", "9"]),
        "--webrtc-port"
    );
}

#[test]
fn every_option_out_of_range_is_one_line_that_names_it() {
    for (option, value) in [
        ("--port", "65536"),
        ("--width", "0"),
        ("--width", "15"),
        ("--height", "8193"),
        ("--capture-width", "-1"),
        ("--capture-height", "x"),
        ("--fps", "0"),
        ("--fps", "NaN"),
        ("--fps", "241"),
        ("--quality", "0"),
        ("--quality", "101"),
        ("--device-id", "-1"),
        ("--audio-channels", "3"),
        ("--audio-samplerate", "7999"),
        ("--audio-device", "one"),
        ("--video-queue-size", "0"),
        ("--audio-queue-size", "10001"),
        ("--rotate", "45"),
        ("--flip", "x"),
        ("--camera-control", "exposure"),
        ("--log-format", "xml"),
        ("--port", "-1"),
        ("--fps", "-5"),
        ("--max-clients", "0"),
        ("--max-clients", "100001"),
        ("--handshake-timeout", "0"),
        ("--handshake-timeout", "86401"),
        ("--idle-timeout", "-1"),
        ("--idle-timeout", "inf"),
        ("--max-message", "0"),
        ("--max-message", "1025"),
        ("--webrtc-port", "65536"),
        ("--webrtc-public-ip", "router"),
        ("--webrtc-bitrate", "99"),
        ("--webrtc-bitrate", "50001"),
        ("--webrtc-max-sessions", "0"),
        ("--webrtc-max-sessions", "1001"),
    ] {
        for given in [&[&*format!("{option}={value}")][..], &[option, value]] {
            let line = refused(&[&["--camera-type", "usb"], given].concat());
            assert!(
                line.contains(option) && line.contains(value),
                "{given:?}: {line}"
            );
            assert!(!line.contains('\n'), "{line}");
        }
    }
    assert!(refused(&["doctor", "--seconds", "-1"]).contains("--seconds"));
    assert!(
        refused(&[
            "--camera-type",
            "usb",
            "--device",
            "C920",
            "--device-id",
            "0"
        ])
        .contains("--device-id and --device ")
    );
    assert!(
        refused(&["--camera-type", "usb", "--quiet", "--verbose"])
            .contains("--quiet and --verbose")
    );
    assert!(refused(&["--list-devices", "--camera-type", "usb"]).contains("--camera-type"));
    assert!(refused(&["--list-devices", "doctor"]).contains("doctor"));
    assert!(refused(&[]).contains("--camera-type"));
    assert!(refused(&["--camera-type", "none"]).contains("--enable-audio"));
    assert!(
        refused(&["--camera-type", "usb", "--host", "no.such.host.invalid"])
            .contains("no.such.host.invalid")
    );
}

#[test]
fn help_names_every_option_with_its_default_or_unit() {
    let Err(CliError::Wanted(help)) = run(&["--help"]) else {
        panic!("--help is text")
    };
    // Each option's paragraph: from the line that begins with it to the next one's.
    let is_head =
        |line: &str| line.trim_start().starts_with('-') && !line.starts_with("          ");
    let lines: Vec<&str> = help.lines().collect();
    let paragraph = |long: &str| {
        let names = |line: &str| {
            is_head(line)
                && line
                    .split([' ', ','])
                    .any(|word| word == format!("--{long}"))
        };
        let at = lines
            .iter()
            .position(|line| names(line))
            .unwrap_or_else(|| panic!("--{long} is not in {help}"));
        let end = lines[at + 1..]
            .iter()
            .position(|line| is_head(line))
            .map_or(lines.len(), |n| at + 1 + n);
        lines[at..end]
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let is_number = |arg: &clap::Arg| {
        let value = arg.get_value_parser().type_id();
        value == TypeId::of::<u16>()
            || value == TypeId::of::<u8>()
            || value == TypeId::of::<u32>()
            || value == TypeId::of::<f64>()
    };
    let units = [
        "pixels",
        "Hz",
        "seconds",
        "per second",
        "kbit/s",
        "KiB",
        "port",
        "/dev/video",
        "as --list-devices counts",
    ];
    for arg in Cli::command().get_arguments() {
        let (id, long) = (
            arg.get_id().as_str(),
            arg.get_long().expect("each has a name"),
        );
        let said = paragraph(long);
        assert!(
            arg.get_help()
                .is_some_and(|help| !help.to_string().is_empty()),
            "--{long} is not explained"
        );
        let env = format!("STAMPCAST_{}", id.to_uppercase());
        assert!(
            id == "list_devices" || said.contains(&env),
            "{env} is not in: {said}"
        );
        if !arg.get_action().takes_values() {
            continue;
        }
        for default in arg.get_default_values() {
            assert!(
                said.contains(&format!("[default: {}]", default.to_string_lossy())),
                "{said}"
            );
        }
        if is_number(arg) {
            assert!(said.contains("[default: "), "no default: {said}");
            assert!(
                units.iter().any(|unit| said.contains(unit)) || said.contains(" (1 "),
                "neither unit nor range: {said}"
            );
        }
    }
}

#[test]
#[cfg(feature = "webrtc")]
fn the_address_of_whip_is_checked_without_being_repeated() {
    let check = |url: &str| {
        let config = config(&["--camera-type", "test", "--whip", url]);
        config
            .webrtc
            .and_then(|webrtc| webrtc.whip)
            .expect("it publishes")
            .check()
    };
    for url in [
        "http://localhost:8889/cam/whip",
        "http://[::1]/k?a=b",
        "http://192.0.2.1",
    ] {
        assert_eq!(check(url), Ok(()), "{url}");
    }
    assert_eq!(
        check("https://media.example.org/s3cret").is_ok(),
        cfg!(feature = "tls")
    );
    for url in [
        "media.example.org/s3cret",
        "ftp://h/s3cret",
        "http:///s3cret",
        "http://:80/s3cret",
        "http://u:s3cret@h/",
        "http://h/s3cret x",
    ] {
        let line = check(url).expect_err(url);
        assert!(
            line.starts_with("--whip ") && !line.contains("s3cret") && !line.contains('\n'),
            "{line}"
        );
    }
}

#[test]
#[cfg(feature = "webrtc")]
fn options_of_whip_need_whip() {
    let without_effect = |args: &[&str]| {
        config(&[&["--camera-type", "test"], args].concat())
            .without_effect
            .join(" ")
    };
    assert_eq!(without_effect(&["--whip-token", "t"]), "--whip-token");
    assert_eq!(
        without_effect(&["--no-webrtc", "--whip", "http://h/"]),
        "--whip"
    );
    assert_eq!(
        without_effect(&["--whip", "http://h/", "--whip-token", "t"]),
        ""
    );
    assert!(
        refused(&[
            "--camera-type",
            "test",
            "--whip",
            "http://h/",
            "--whip-token",
            "t",
            "--whip-token-file",
            "f"
        ])
        .contains("--whip-token-file")
    );
    assert!(
        refused(&["--camera-type", "test", "--webrtc-stun", "stun.example.net"])
            .contains("HOST:PORT")
    );
}

#[test]
fn the_manual_page_holds_every_option_of_every_subcommand() {
    let wanted = |args: &[&str]| match run(args) {
        Err(CliError::Wanted(text)) => text,
        other => panic!("{args:?} gave {other:?}"),
    };
    // Hyphens are escaped in roff.
    let manual = wanted(&["man"]).replace('\\', "");
    for command in [&[][..], &["doctor"], &["completions"]] {
        let help = wanted(&[command, &["--help"]].concat());
        let options = help
            .lines()
            .map(str::trim_start)
            .filter(|l| l.starts_with('-'));
        let names: Vec<&str> = options
            .filter_map(|l| l.split([' ', ',', '=']).find(|word| word.starts_with("--")))
            .collect();
        assert!(names.contains(&"--help"), "{help}");
        for name in names {
            assert!(
                manual.contains(&format!("fB{name}fR")),
                "{name} is not in\n{manual}"
            );
        }
    }
    assert!(
        !manual.contains("(1)"),
        "it names a page that does not exist:\n{manual}"
    );
}

use super::*;
use crate::config::option_table;
use crate::config::secrets::{SECRET_OPTIONS, Secret};
use crate::config::{
    AudioConfig, AudioSourceConfig, Microphone, UsbCamera, VideoConfig, VideoSourceConfig,
};
use std::any::TypeId;
use std::collections::BTreeSet;

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
fn video(args: &[&str]) -> VideoConfig {
    let mut cameras = config(args).cameras;
    assert_eq!(cameras.len(), 1, "the command line makes one camera");
    cameras.remove(0).video.expect("video was asked for")
}
fn audio(args: &[&str]) -> AudioConfig {
    let audio = config(args).cameras.remove(0).audio;
    audio.expect("audio was asked for")
}
fn refused(args: &[&str]) -> String {
    match run(args) {
        Err(CliError::Usage(line)) => line,
        other => panic!("{args:?} gave {other:?}"),
    }
}

/// It would stay in `ps`: what looks like an option is not taken from the arguments.
#[test]
fn token_that_looks_like_an_option_is_refused() {
    for option in ["--token", "--video-token"] {
        assert!(
            refused(&["--camera-type", "test", option, "-12345"]).contains("-1"),
            "{option}"
        );
    }
    assert!(refused(&["doctor", "localhost:1", "--token", "-12345"]).contains("-1"));
}

#[test]
fn parse_without_options_gives_documented_defaults() {
    let c = config(&["--camera-type", "usb"]);
    assert_eq!((c.host.to_string().as_str(), c.port), ("0.0.0.0", 8080));
    assert!(!c.exit_on_device_error && !c.serve_client);
    let camera = &c.cameras[0];
    assert!(camera.id == CameraId::main() && camera.audio.is_none());
    let v = video(&["--camera-type", "usb"]);
    assert_eq!(
        (v.width, v.height, v.capture_width, v.capture_height),
        (640, 480, 640, 480)
    );
    assert_eq!(
        (v.fps, v.quality, v.quality_given, v.queue_packets),
        (15.0, 70, false, 50)
    );
    assert_eq!(v.source, VideoSourceConfig::Usb(UsbCamera::Index(0)));
    assert_eq!(
        format!("{:?}", video(&["--camera-type", "test"])),
        format!("{:?}", VideoConfig::default()),
        "the library's defaults are these too"
    );
    let a = audio(&["--camera-type", "rpi", "--enable-audio"]);
    assert_eq!(
        (a.source, a.channels, a.rate_hz, a.queue_packets),
        (
            AudioSourceConfig::Microphone(Microphone::Default),
            1,
            None,
            500
        )
    );
}

#[test]
fn audio_source_test_camera_has_its_tone_unless_a_microphone_is_chosen() {
    let source = |args: &[&str]| audio(args).source;
    assert_eq!(
        source(&["--camera-type", "test", "--enable-audio"]),
        AudioSourceConfig::Test
    );
    assert_eq!(
        source(&[
            "--camera-type",
            "test",
            "--enable-audio",
            "--audio-device",
            "1"
        ]),
        AudioSourceConfig::Microphone(Microphone::Index(1))
    );
    let none = &[
        "--camera-type",
        "none",
        "--enable-audio",
        "--audio-name",
        "Mic",
    ];
    assert_eq!(
        source(none),
        AudioSourceConfig::Microphone(Microphone::Named("Mic".into()))
    );
    assert!(config(none).cameras[0].video.is_none());
}

/// The program's options, without clap's own and `--list-devices`, which excludes all others.
fn options() -> Vec<clap::Arg> {
    let command = Cli::command();
    let options = command
        .get_arguments()
        .filter(|arg| arg.get_id() != "list_devices");
    options.cloned().collect()
}

#[test]
fn option_table_lists_every_option_once() {
    let listed: Vec<&str> = option_table::all().map(|option| option.id).collect();
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(listed.len(), unique.len(), "{listed:?}");
    let options = options();
    let known: BTreeSet<&str> = options.iter().map(|arg| arg.get_id().as_str()).collect();
    assert_eq!(unique, known);
    for option in option_table::all() {
        let other = option.excludes.unwrap_or(option.id);
        assert!(known.contains(other), "{} excludes {other}", option.id);
    }
}

#[test]
fn secret_options_are_those_with_a_secret_value_and_hide_it() {
    let mut command = Cli::command();
    command.build();
    let doctor = command.find_subcommand("doctor").expect("there is one");
    for arg in command.get_arguments().chain(doctor.get_arguments()) {
        let is_secret = arg.get_value_parser().type_id() == TypeId::of::<Secret>();
        let (id, long) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
        assert_eq!(SECRET_OPTIONS.contains(&id), is_secret, "{id}");
        assert_eq!(arg.is_hide_env_values_set(), is_secret, "{id}");
        assert_eq!(crate::config::secrets::is_secret(long), is_secret, "{id}");
    }
}

#[test]
fn ignored_options_depend_on_the_others() {
    let ignored = |args: &[&str]| {
        let lines = config(args).ignored_options;
        let names = lines.iter().map(|line| {
            let (name, reason) = line
                .split_once(" is ignored: ")
                .expect("a name and a reason");
            assert!(!reason.is_empty(), "{line}");
            name
        });
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        ignored(&[
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
        ignored(&[
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
        ignored(&[
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
        ignored(&[
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
        ignored(&["--camera-type", "usb", "--audio-channels", "2"]),
        "--audio-channels"
    );
    assert_eq!(
        ignored(&["--camera-type", "usb", "--no-webrtc", "--webrtc-port", "9"]),
        "--webrtc-port"
    );
    let frame = ["--allow-frame", "https://ha.example.org:8123"];
    let page: &[&str] = &["--camera-type", "usb", "--serve-client"];
    assert_eq!(ignored(&[&page[..2], &frame].concat()), "--allow-frame");
    assert_eq!(ignored(&[page, &frame].concat()), "");
    let h264 = ["--keyframe-interval", "1", "--h264-bitrate", "500000"];
    let both = "--keyframe-interval --h264-bitrate";
    let used = if cfg!(feature = "webrtc") { "" } else { both };
    let usb: &[&str] = &["--camera-type", "usb"];
    assert_eq!(ignored(&[usb, &h264].concat()), used);
    assert_eq!(
        ignored(&[usb, &h264, &["--no-webrtc"]].concat()),
        both,
        "only WebRTC reads H.264"
    );
    assert_eq!(
        ignored(&[&["--camera-type", "none", "--enable-audio"][..], &h264].concat()),
        both
    );
}

#[test]
fn parse_value_out_of_range_is_one_line_naming_the_option() {
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
        ("--allow-frame", "ha.example.org"),
        ("--allow-frame", "https://h/;script-src"),
        ("--allow-frame", "https://[2001:db8::7]:8123"),
        ("--allow-frame", "https://ha.example.org.:8123"),
        ("--allow-origin", "https://h/path"),
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
        ("--keyframe-interval", "0.4"),
        ("--keyframe-interval", "61"),
        ("--keyframe-interval", "often"),
        ("--h264-bitrate", "99999"),
        ("--h264-bitrate", "100000001"),
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
fn help_shows_default_and_unit_of_every_option() {
    let Err(CliError::Requested(help)) = run(&["--help"]) else {
        panic!("--help is text")
    };
    // Each option's paragraph: from the line that begins with it to the next one's.
    let is_head = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        line.trim_start().starts_with('-') && (1..10).contains(&indent)
    };
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
        "from --list-devices",
        "Seconds",
        "this many seconds",
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
fn whip_url_invalid_is_refused_without_repeating_it() {
    let check = |url: &str| {
        let config = config(&["--camera-type", "test", "--whip", url]);
        config
            .webrtc
            .and_then(|webrtc| webrtc.whip)
            .expect("it publishes")
            .check()
            .map_err(|e| e.to_string())
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
fn whip_options_without_whip_are_ignored() {
    let ignored = |args: &[&str]| {
        config(&[&["--camera-type", "test"], args].concat())
            .ignored_options
            .join(" ")
    };
    assert_eq!(
        ignored(&["--whip-token", "t"]),
        "--whip-token is ignored: it needs --whip"
    );
    assert_eq!(
        ignored(&["--no-webrtc", "--whip", "http://h/"]),
        "--whip is ignored: WebRTC is disabled (--no-webrtc)"
    );
    assert_eq!(ignored(&["--whip", "http://h/", "--whip-token", "t"]), "");
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
fn manual_page_has_every_option_of_every_subcommand() {
    let wanted = |args: &[&str]| match run(args) {
        Err(CliError::Requested(text)) => text,
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

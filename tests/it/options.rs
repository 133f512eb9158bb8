//! Options on the command line and in the environment, and output into a pipe.

use crate::common::{Program, run};
use std::process::{Command, Output, Stdio};

fn with_environment(variables: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampcast"));
    let out = command
        .args(args)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    (
        out.status.code(),
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
    )
}

/// Valid options, and then a missing file.
const THEN_STOP: [&str; 2] = ["--token-file", "/no/such/file"];
const STOPPED: &str = "--token-file /no/such/file cannot be read";

#[test]
fn environment_switch_accepts_usual_words() {
    let sound_only = [&["--camera-type", "none"], &THEN_STOP[..]].concat();
    for on in ["1", "true", "TRUE", "yes", "on"] {
        let (code, said) = with_environment(&[("STAMPCAST_ENABLE_AUDIO", on)], &sound_only);
        assert!(code == Some(2) && said.contains(STOPPED), "{on}: {said}");
    }
    for off in ["0", "false", "no", "off"] {
        let (code, said) = with_environment(&[("STAMPCAST_ENABLE_AUDIO", off)], &sound_only);
        assert!(
            code == Some(2) && said.contains("add --enable-audio"),
            "{off}: {said}"
        );
    }
}

#[test]
fn environment_invalid_value_is_quoted_in_the_error() {
    for (variables, named) in [
        (
            &[("STAMPCAST_ENABLE_AUDIO", "maybe")][..],
            "STAMPCAST_ENABLE_AUDIO",
        ),
        (&[("STAMPCAST_PORT", "http")], "STAMPCAST_PORT"),
        (
            &[
                ("STAMPCAST_TOKEN", "a"),
                ("STAMPCAST_TOKEN_FILE", "/dev/null"),
            ],
            "STAMPCAST_TOKEN and STAMPCAST_TOKEN_FILE",
        ),
        (
            &[("STAMPCAST_QUIET", "1"), ("STAMPCAST_VERBOSE", "1")],
            "STAMPCAST_QUIET and STAMPCAST_VERBOSE",
        ),
    ] {
        let (code, said) = with_environment(variables, &["--camera-type", "test"]);
        assert_eq!(
            (code, said.trim_end().lines().count()),
            (Some(2), 1),
            "{said}"
        );
        assert!(said.contains(named), "{named}: {said}");
    }
    let (_, said) = with_environment(
        &[("STAMPCAST_PORT", "8080")],
        &["--camera-type", "test", "--port", "http"],
    );
    assert!(
        said.contains("--port") && !said.contains("STAMPCAST_PORT"),
        "the environment is not to blame: {said}"
    );
}

#[test]
fn command_line_overrides_environment() {
    for (variable, value, args) in [
        ("STAMPCAST_TOKEN", "a", &[][..]),
        ("STAMPCAST_AUDIO_DEVICE", "0", &["--audio-name", "Mic"]),
        ("STAMPCAST_AUDIO_NAME", "Mic", &["--audio-device", "0"]),
        ("STAMPCAST_QUIET", "1", &["--verbose"]),
        ("STAMPCAST_VERBOSE", "1", &["--quiet"]),
        ("STAMPCAST_DEVICE", "C920", &["--device-id", "1"]),
        ("STAMPCAST_DEVICE_ID", "1", &["--device", "C920"]),
        ("STAMPCAST_FPS", "junk", &["--fps", "15"]),
    ] {
        let args = [
            &["--camera-type", "usb", "--enable-audio"],
            args,
            &THEN_STOP[..],
        ]
        .concat();
        let (code, said) = with_environment(&[(variable, value)], &args);
        assert!(
            code == Some(2) && said.contains(STOPPED),
            "{variable}: {said}"
        );
    }
    let program = Program::spawn(
        Command::new(env!("CARGO_BIN_EXE_stampcast"))
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--camera-type",
                "usb",
                "--device",
                "no-such-camera",
            ])
            .env("STAMPCAST_DEVICE_ID", "7"),
    );
    program.line(&["stampcast-video", "no-such-camera", "waiting"]);
}

#[test]
fn list_devices_ignores_environment_and_excludes_other_options() {
    let (code, said) = with_environment(
        &[("STAMPCAST_PORT", "9000"), ("STAMPCAST_CAMERA_TYPE", "rpi")],
        &["--list-devices"],
    );
    assert!(
        code == Some(0) && said.contains("Cameras") && said.contains("Microphones"),
        "{said}"
    );
    let (code, said) = run(&["--list-devices", "--port", "9000"]);
    assert!(
        code == Some(2) && said.contains("leave out --port"),
        "{said}"
    );
}

#[test]
fn options_without_effect_are_logged_with_the_reason() {
    let program = Program::start(&[
        "--camera-type",
        "test",
        "--device-id",
        "2",
        "--capture-width",
        "320",
        "--audio-channels",
        "2",
    ]);
    for (option, reason) in [
        ("--device-id", "--camera-type usb"),
        ("--capture-width", "--camera-type usb or rpi"),
        ("--audio-channels", "--enable-audio"),
    ] {
        let ignored = format!("{option} is ignored: it needs {reason}");
        program.line(&["WARN", &ignored]);
    }
    let program = Program::start(&["--camera-type", "test", "--fps", "30"]);
    program.port();
    assert!(
        !program.lines().iter().any(|l| l.contains("is ignored")),
        "{:?}",
        program.lines()
    );
}

const PRINTING: [&[&str]; 4] = [
    &["--list-devices"],
    &["--help"],
    &["man"],
    &["completions", "bash"],
];

fn printing_to(stdout: impl Fn() -> Stdio, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampcast"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(stdout())
        .stderr(Stdio::piped())
        .output()
        .expect("the program starts")
}

#[test]
fn stdout_closed_by_reader_is_not_an_error() {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("there are pipes");
        drop(reader);
        Stdio::from(writer)
    };
    for args in PRINTING {
        let out = printing_to(closed, args);
        assert_eq!(
            (
                out.status.code(),
                String::from_utf8_lossy(&out.stderr).as_ref()
            ),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[test]
fn stdout_unwritable_is_an_error_in_one_line() {
    let full = || {
        Stdio::from(
            std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .expect("Linux has it"),
        )
    };
    for args in PRINTING {
        let out = printing_to(full, args);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(
            (out.status.code(), said.trim_end().lines().count()),
            (Some(2), 1),
            "{args:?}: {said}"
        );
        assert!(said.contains("standard output"), "{args:?}: {said}");
    }
}

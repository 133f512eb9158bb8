//! Authentication of the running program, over real connections.

use crate::common::viewer::{Text, Viewer};
use crate::common::{Program, run, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// One HTTP request, as bytes; the head of the answer (a body may have no end).
fn ask(program: &Program, method: &str, path: &str, headers: &str) -> String {
    let mut tcp = TcpStream::connect(("127.0.0.1", program.port())).expect("the server listens");
    tcp.set_read_timeout(Some(crate::common::PATIENCE))
        .expect("a timeout is settable");
    write!(
        tcp,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n"
    )
    .expect("the server reads");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && tcp.read(&mut byte).expect("the server answers") > 0 {
        answer.extend(byte);
    }
    String::from_utf8(answer).expect("a head is text")
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| panic!("no status in {answer:?}"))
}

const CAMERA: [&str; 3] = ["--camera-type", "test", "--enable-audio"];

#[test]
fn token_from_file_guards_every_path_and_is_never_shown() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, "hush-hush\n").expect("it is writable");
    let path = file.path().to_str().expect("a plain path");
    let program = Program::start(
        &[
            &CAMERA[..],
            &[
                "--token-file",
                path,
                "--video-token",
                "eyes-only",
                "--verbose",
            ],
        ]
        .concat(),
    );
    for path in [
        "/stream",
        "/info",
        "/",
        "/no/such/path",
        "/stream?token=wrong",
    ] {
        let answer = ask(&program, "GET", path, "");
        assert_eq!(status(&answer), 401, "{path}: {answer}");
        let head = answer.to_ascii_lowercase();
        assert!(
            head.contains("www-authenticate: bearer")
                && head.contains("content-type: application/json"),
            "{path}: {answer}"
        );
    }
    for path in ["/", "/no/such/path", "/?token=wrong"] {
        let answer =
            ask(&program, "GET", path, "Accept: text/html,*/*;q=0.8\r\n").to_ascii_lowercase();
        assert_eq!(
            status(&answer),
            401,
            "a browser is asked for it, and gets no more: {path}: {answer}"
        );
        assert!(
            answer.contains("www-authenticate: bearer")
                && answer.contains("content-type: text/html"),
            "{path}: {answer}"
        );
    }
    assert_eq!(status(&ask(&program, "GET", "/healthz", "")), 200);
    assert_eq!(
        status(&ask(
            &program,
            "GET",
            "/info",
            "Authorization: Bearer hush-hush\r\n"
        )),
        200
    );
    assert_eq!(
        status(&ask(
            &program,
            "GET",
            "/info?token=hush-hush",
            "Origin: https://evil.example\r\n"
        )),
        200,
        "a token replaces the check"
    );
    let preflight = ask(
        &program,
        "OPTIONS",
        "/info",
        "Origin: https://dash.example\r\nAccess-Control-Request-Method: GET\r\n",
    );
    assert_eq!(status(&preflight), 204, "{preflight}");

    let mut whole = Viewer::connect(&program.url("?token=hush-hush"));
    while !matches!(whole.next(), Text::Audio { .. }) {}
    let mut picture = Viewer::connect(&program.url("?token=eyes-only"));
    for _ in 0..10 {
        assert!(
            matches!(picture.next(), Text::Video { .. }),
            "the picture without the sound"
        );
    }
    assert_eq!(
        status(&ask(
            &program,
            "GET",
            "/stream?audio=1&token=eyes-only",
            "Upgrade: websocket\r\n"
        )),
        403
    );

    let processes = std::iter::once(program.pid()).chain(
        ["stampcast-serve", "stampcast-video", "stampcast-audio"].map(|n| program.child(n, None)),
    );
    for pid in processes {
        let shown = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it lives");
        assert!(!String::from_utf8_lossy(&shown).contains("hush-hush"));
    }
    assert!(
        !program
            .lines()
            .iter()
            .any(|l| l.contains("hush-hush") || l.contains("eyes-only")),
        "no log line holds a token"
    );
}

#[test]
fn token_file_renewed_applies_without_restart() {
    let home = tempfile::tempdir().expect("a directory");
    let put = |token: &str| {
        std::fs::write(home.path().join("next"), token).expect("it is writable");
        std::fs::rename(home.path().join("next"), home.path().join("token")).expect("it is there");
    };
    put("first");
    let file = home.path().join("token");
    let program = Program::start(
        &[
            &CAMERA[..],
            &["--token-file", file.to_str().expect("a plain path")],
        ]
        .concat(),
    );
    let info = |token: &str| status(&ask(&program, "GET", &format!("/info?token={token}"), ""));
    assert_eq!((info("first"), info("second")), (200, 401));
    put("second\n");
    until("the new token opens", || {
        (info("second") == 200).then_some(())
    });
    assert_eq!(info("first"), 401, "and the old one no more");
    put("\n");
    let complained = |lines: Vec<String>| {
        lines
            .iter()
            .any(|l| l.contains("is empty") && l.contains("the previous token stays in use"))
    };
    until("a complaint about the empty file", || {
        assert_eq!((info("second"), info("")), (200, 401));
        complained(program.lines()).then_some(())
    });
}

#[test]
fn origin_of_another_site_without_token_is_refused() {
    let program =
        Program::start(&[&CAMERA[..], &["--allow-origin", "https://dash.example"]].concat());
    for (origin, expected) in [
        ("https://evil.example", 403),
        ("null", 200),
        ("http://localhost:3000", 200),
        ("https://dash.example", 200),
        ("http://127.0.0.1:1", 200),
    ] {
        let answer = ask(&program, "GET", "/info", &format!("Origin: {origin}\r\n"));
        assert_eq!(status(&answer), expected, "{origin}: {answer}");
        let allowed = answer
            .to_ascii_lowercase()
            .contains(&format!("access-control-allow-origin: {origin}"));
        assert_eq!(allowed, expected == 200, "{origin}: {answer}");
        let exposed = answer
            .to_ascii_lowercase()
            .lines()
            .any(|l| l.starts_with("access-control-expose-headers: ") && l.contains("retry-after"));
        assert_eq!(exposed, expected == 200, "{origin}: {answer}");
    }
    let shut = Program::start(&[&CAMERA[..], &["--no-file-origin"]].concat());
    assert_eq!(
        status(&ask(&shut, "GET", "/stream", "Origin: null\r\n")),
        403
    );
}

#[test]
fn token_unusable_is_refused_before_start() {
    for args in [
        vec!["--token-file", "/no/such/file"],
        vec!["--token", " "],
        vec!["--video-token", "x"],
        vec!["--token", "a", "--token-file", "b"],
    ] {
        let (code, said) = run(&[&CAMERA[..], &args].concat());
        assert_eq!(
            (code, said.trim_end().lines().count()),
            (Some(2), 1),
            "{args:?}: {said}"
        );
        assert!(said.contains("token"), "{said}");
    }
}

#[test]
fn doctor_token_is_sent_and_never_shown() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, " hush-hush\n").expect("it is writable");
    let path = file.path().to_str().expect("a plain path");
    let program = Program::start(&[&CAMERA[..], &["--token-file", path]].concat());
    let at = format!("127.0.0.1:{}", program.port());
    let (code, said) = run(&[
        "doctor",
        &at,
        "--seconds",
        "1",
        "--min-fps",
        "10",
        "--token-file",
        path,
    ]);
    assert_eq!(code, Some(0), "{said}");
    // What is on the command line precedes the environment.
    for (option, value, variable, overridden) in [
        ("--token-file", path, "STAMPCAST_TOKEN", "hush-puppy"),
        (
            "--token",
            "hush-hush",
            "STAMPCAST_TOKEN_FILE",
            "/no/such/file",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_stampcast"))
            .args(["doctor", &at, "--seconds", "1", option, value])
            .env(variable, overridden)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{option}: {output:?}");
    }
    for args in [
        vec!["doctor", &at, "--token", "a", "--token-file", path],
        vec!["doctor", &at],
        vec!["doctor", &at, "--token", "hush-puppy"],
        vec!["doctor", &at, "--token", "hush\tpuppy\u{7f}"],
    ] {
        let (code, said) = run(&args);
        assert_eq!(
            (code, said.trim_end().lines().count()),
            (Some(2), 1),
            "{args:?}: {said}"
        );
        assert!(
            said.contains("token") && !said.contains("hush"),
            "{args:?}: {said}"
        );
    }

    let mut doctor = Command::new(env!("CARGO_BIN_EXE_stampcast"))
        .args(["doctor", &at, "--token", "hush-hush", "--seconds", "600"])
        .env("STAMPCAST_TOKEN", "hush-hush")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let proc = format!("/proc/{}", doctor.id());
    until("a doctor that hides its token", || {
        let shown = |name| {
            std::fs::read(format!("{proc}/{name}"))
                .map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        let (arguments, environment) = (shown("cmdline").ok()?, shown("environ").ok()?);
        (arguments.contains("doctor\0")
            && !arguments.contains("hush")
            && !environment.contains("hush"))
        .then_some(())
    });
    assert!(matches!(doctor.try_wait(), Ok(None)), "it watches");
    doctor
        .kill()
        .and_then(|()| doctor.wait())
        .expect("it is there");
}

#[test]
fn weak_and_wrong_tokens_are_logged_without_showing_them() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, "aaaaaaaaaaaaaaaaaaaaaaaa\n").expect("it is writable");
    let path = file.path().to_str().expect("a plain path");
    let weak = [
        &CAMERA[..],
        &["--token-file", path, "--video-token", "sh0rt"],
    ]
    .concat();
    let program = Program::start(&weak);
    program.line(&[
        "WARN",
        "--token-file is weak: it has fewer than 6 different",
    ]);
    program.line(&["WARN", "--video-token is weak: it has fewer than 16"]);
    for _ in 0..3 {
        assert_eq!(status(&ask(&program, "GET", "/info?token=gue55", "")), 401);
    }
    program.line(&["WARN", "stampcast-serve", "wrong token from 127.0.0.1"]);
    assert_eq!(status(&ask(&program, "GET", "/info?token=sh0rt", "")), 200);
    let lines = program.lines();
    for secret in ["aaaaa", "sh0rt", "gue55"] {
        assert!(!lines.iter().any(|l| l.contains(secret)), "{lines:?}");
    }
    let wrong = lines.iter().filter(|l| l.contains("wrong token"));
    assert_eq!(wrong.count(), 1, "once a minute: {lines:?}");

    let strong = "5f0c9a1e7b3d2846";
    let program = Program::start(&[&CAMERA[..], &["--token", strong]].concat());
    assert_eq!(
        status(&ask(&program, "GET", &format!("/info?token={strong}"), "")),
        200
    );
    let lines = program.lines();
    assert!(!lines.iter().any(|l| l.contains("weak")), "{lines:?}");
}

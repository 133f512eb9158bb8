//! run.sh with a stand-in for cargo: what of a token can be seen while it builds.

use std::path::Path;
use std::process::{Command, Output};

const TOKEN: &str = "correct horse battery staple";

/// A directory with a `cargo` that builds nothing and writes down its own environment and what the
/// kernel shows of the script that started it, and a `stampcast` that prints what it was given.
fn stand_ins() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, text).expect("it is writable");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it is ours");
    };
    script(
        "bin/cargo",
        "#!/bin/bash\n\
         [ \"$1\" = build ] || PATH=${PATH#*:} exec cargo \"$@\"\n\
         cat /proc/$PPID/cmdline /proc/$PPID/environ /proc/$$/environ >\"$SEEN\"\n",
    );
    script(
        "target/release/stampcast",
        "#!/bin/bash\n\
         printf '%s\\n' \"$@\"\n\
         env | grep '^STAMPCAST_'\n",
    );
    dir
}

fn run(dir: &Path, args: &[&str], token: Option<&str>) -> (Output, String) {
    let variable = token.map(|token| ("STAMPCAST_TOKEN", token));
    run_with(dir, args, variable.as_slice())
}

fn run_with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> (Output, String) {
    let path = format!(
        "{}:{}",
        dir.join("bin").display(),
        std::env::var("PATH").expect("a PATH")
    );
    let mut command = Command::new("bash");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/run.sh"))
        .args(args)
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env("SEEN", dir.join("seen"))
        .envs(variables.iter().copied())
        .stdin(std::process::Stdio::null());
    let output = command.output().expect("bash runs");
    let seen = std::fs::read(dir.join("seen")).unwrap_or_default();
    (output, String::from_utf8_lossy(&seen).into_owned())
}

#[test]
fn run_script_tokens_are_not_visible_while_it_builds() {
    let dir = stand_ins();
    let url = "https://media.example.org/k3y";
    let joined = format!("--token={TOKEN}");
    for (args, variable) in [
        (&["--port", "0", "--token", TOKEN, "--whip", url][..], None),
        (&["--port", "0", &joined, "--whip", url], None),
        (&["--port", "0", "--whip", url], Some(TOKEN)),
        (
            &["--token", TOKEN, "--whip", url, "--port", "0"],
            Some("other"),
        ),
    ] {
        let (output, seen) = run(dir.path(), args, variable);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert!(seen.contains("--port") && seen.contains("PATH="), "{seen}");
        for secret in [TOKEN, "k3y"] {
            assert!(!seen.contains(secret), "{args:?}: {secret} in {seen}");
        }
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        let (token, whip) = (
            format!("STAMPCAST_TOKEN={TOKEN}"),
            format!("STAMPCAST_WHIP={url}"),
        );
        assert_eq!(lines, ["--port", "0", &token, &whip], "{args:?}");
    }
}

/// As for the program, which sees both as variables.
#[test]
fn run_script_token_option_precedes_token_file_in_environment() {
    let dir = stand_ins();
    let (output, _) = run_with(
        dir.path(),
        &["--token", TOKEN, "--whip-token=abc"],
        &[
            ("STAMPCAST_TOKEN_FILE", "/x"),
            ("STAMPCAST_WHIP_TOKEN_FILE", "/y"),
        ],
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    let token = format!("STAMPCAST_TOKEN={TOKEN}");
    let expected = [token.as_str(), "STAMPCAST_WHIP_TOKEN=abc"];
    assert_eq!(lines, expected, "{output:?}");
    let (output, _) = run_with(dir.path(), &[], &[("STAMPCAST_TOKEN_FILE", "/x")]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("STAMPCAST_TOKEN_FILE=/x"), "{said}");
}

#[test]
fn run_script_options_without_tokens_are_passed_on() {
    let dir = stand_ins();
    let args = [
        "--camera-type",
        "test",
        "--device",
        "a b",
        "--token-file",
        "/x",
    ];
    let (output, seen) = run(dir.path(), &args, None);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.lines().collect::<Vec<_>>(), args);
    assert!(seen.contains("--token-file"), "{seen}");
    // stampcast says what is missing.
    let (output, _) = run(dir.path(), &["--token", "--quiet"], None);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "--token\n--quiet\n"
    );
}

#[test]
fn run_script_contradicting_tokens_are_refused() {
    let dir = stand_ins();
    for args in [
        &["--token", TOKEN, "--token-file", "/x"][..],
        &["--token", TOKEN, "--token", "b"],
    ] {
        let (output, seen) = run(dir.path(), args, None);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && seen.is_empty(), "{said}");
        assert!(said.contains("--token ") && !said.contains(TOKEN), "{said}");
    }
}

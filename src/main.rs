//! Parses the command line, runs the program, and maps the outcome to an exit code.

use stampcast::cli;
use stampcast::cli::{CliError, Command};
use stampcast::config::secrets;
use stampcast::media::escape_unprintable;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: the parser copies what it reads.
    let mut tokens = secrets::take();
    let outcome = match cli::parse(std::env::args_os()) {
        Ok(Command::Run(config)) => stampcast::run(*config, tokens),
        Ok(Command::ListDevices) => stampcast::list_devices(),
        Ok(Command::Doctor(mut options)) => {
            tokens.unmask("token", options.token.as_mut());
            stampcast::doctor::run(&options)
                .map_err(|e| e.to_string())
                .and_then(|report| stampcast::print(&report.text).map(|()| report.exit_code))
        }
        Err(CliError::Requested(text)) => stampcast::print(&text).map(|()| 0),
        Err(CliError::Usage(line)) => Err(line),
    };
    outcome.map_or_else(
        |line| {
            // Without a standard error the exit code remains.
            let _ = writeln!(
                std::io::stderr(),
                "stampcast: {}",
                escape_unprintable(&line)
            );
            ExitCode::from(2)
        },
        ExitCode::from,
    )
}

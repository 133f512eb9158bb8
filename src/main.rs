//! Parses the command line, runs the program, turns the outcome into an exit code. Nothing else.

use stampcast::cli;
use stampcast::cli::{CliError, Command};
use stampcast::config::secrets;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: the parser copies what it reads.
    let tokens = secrets::take();
    let outcome = match cli::parse(std::env::args_os()) {
        Ok(Command::Run(config)) => stampcast::run(*config, tokens),
        Ok(Command::ListDevices) => stampcast::list_devices(),
        Ok(Command::Doctor(mut options)) => {
            secrets::unmask(&mut options.token, tokens.token);
            stampcast::doctor::run(&options).map_err(|e| e.to_string())
        }
        Err(CliError::Wanted(text)) => stampcast::print(&text).map(|()| 0),
        Err(CliError::Usage(line)) => Err(line),
    };
    outcome.map_or_else(
        |line| {
            // Where even that cannot be said, the exit code says it.
            let _ = writeln!(std::io::stderr(), "stampcast: {line}");
            ExitCode::from(2)
        },
        ExitCode::from,
    )
}

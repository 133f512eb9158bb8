//! Parses the command line, runs the program, turns the outcome into an exit code. Nothing else.

use std::process::ExitCode;
use stampcast::cli::{self, CliError, Command};

fn main() -> ExitCode {
    let outcome = match cli::parse(std::env::args_os()) {
        Ok(Command::Run(config)) => stampcast::run(*config),
        Ok(Command::ListDevices) => stampcast::list_devices(),
        Err(CliError::Wanted(text)) => {
            print!("{text}");
            Ok(0)
        }
        Err(CliError::Usage(line)) => Err(line),
    };
    outcome.map_or_else(
        |line| {
            eprintln!("stampcast: {line}");
            ExitCode::from(2)
        },
        ExitCode::from,
    )
}

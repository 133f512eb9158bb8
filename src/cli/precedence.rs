//! Where an option comes from. The command line is this start's, the environment may be every program's: so of two options that
//! cannot both hold, the one on the command line does, and only what stands there is refused or complained of.

use super::{Cli, CliError, one_line};
use crate::config::secrets;
use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use std::ffi::OsString;

/// Of each pair, one alone can hold.
const EITHER: &[(&str, &str)] = &[
    ("token", "token_file"),
    ("audio_device", "audio_name"),
    ("quiet", "verbose"),
    ("device_id", "device"),
    #[cfg(feature = "webrtc")]
    ("whip_token", "whip_token_file"),
];

/// The options as they hold.
pub(super) fn read(args: &[OsString]) -> Result<ArgMatches, CliError> {
    let matches = parse(command(), args)?;
    if matches.subcommand_name().is_some() {
        return Ok(matches);
    }
    let mut yielding = Vec::new();
    for &(one, other) in EITHER {
        match (given(&matches, one), given(&matches, other)) {
            (Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable)) => {
                yielding.push(other)
            }
            (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => yielding.push(one),
            (Some(source), Some(_)) => {
                let [one, other] = [one, other].map(|id| name(id, source));
                return Err(CliError::Usage(format!(
                    "{one} and {other} cannot both hold; give one of them; see --help"
                )));
            }
            _ => {}
        }
    }
    if yielding.is_empty() {
        return Ok(matches);
    }
    parse(
        command().mut_args(|arg| {
            if yielding.contains(&arg.get_id().as_str()) {
                arg.env(None::<&str>)
            } else {
                arg
            }
        }),
        args,
    )
}

/// The options of `among` that stand on the command line, as they are typed.
pub(super) fn on_the_line(matches: &ArgMatches, among: impl Fn(&str) -> bool) -> Vec<String> {
    let command = Cli::command();
    let ids = command.get_arguments().map(|arg| arg.get_id().as_str());
    let stands = |id: &&str| among(id) && given(matches, id) == Some(ValueSource::CommandLine);
    ids.filter(stands)
        .map(|id| name(id, ValueSource::CommandLine))
        .collect()
}

/// A switch in the environment is set with 1, yes, on or true, and unset with their opposites. A number below 0 is a value,
/// so that the complaint names the option that it was given to; but no token, as for [`secrets`], which takes them out of `ps`.
fn command() -> Command {
    let numbers_are_values = |arg: Arg| match arg.get_action() {
        ArgAction::Set | ArgAction::Append if !arg.get_long().is_some_and(secrets::is_taken) => {
            arg.allow_negative_numbers(true)
        }
        _ => arg,
    };
    let command = Cli::command().mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => numbers_are_values(arg),
    });
    command.mut_subcommand("doctor", |doctor| doctor.mut_args(numbers_are_values))
}

fn parse(command: Command, args: &[OsString]) -> Result<ArgMatches, CliError> {
    command
        .try_get_matches_from(args)
        .map_err(|e| match e.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                CliError::Wanted(e.render().to_string())
            }
            _ => CliError::Usage(
                one_line(&e.render().to_string())
                    + &from_the_environment(&e, args).unwrap_or_default(),
            ),
        })
}

/// Where it was given: `None` for a default, and for a switch that is off.
fn given(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    let is_off = matches!(matches.try_get_one::<bool>(id), Ok(Some(false)));
    matches
        .value_source(id)
        .filter(|source| *source != ValueSource::DefaultValue && !is_off)
}

/// An option as the user wrote it.
fn name(id: &str, source: ValueSource) -> String {
    let command = Cli::command();
    let arg = command.get_arguments().find(|arg| arg.get_id() == id);
    match arg.and_then(Arg::get_env) {
        Some(env) if source == ValueSource::EnvVariable => env.to_string_lossy().into_owned(),
        _ => format!("--{}", arg.and_then(Arg::get_long).unwrap_or(id)),
    }
}

/// clap says which option's value is wrong, and not that it came from the environment.
fn from_the_environment(e: &clap::Error, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(shown)) = e.get(ContextKind::InvalidArg) else {
        return None;
    };
    let mut command = Cli::command();
    // Only then do options know how they are shown.
    command.build();
    let arg = command
        .get_arguments()
        .find(|arg| arg.to_string() == *shown)?;
    let env = arg
        .get_env()
        .filter(|env| std::env::var_os(env).is_some())?;
    let long = format!("--{}", arg.get_long()?);
    let is_on_the_line = args
        .iter()
        .any(|text| text.to_string_lossy().split('=').next() == Some(&long));
    (!is_on_the_line).then(|| format!(" (it stands in {})", env.to_string_lossy()))
}

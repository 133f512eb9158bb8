//! Precedence: command line, then environment, then default. The command line is of this start, the
//! environment may be shared by many programs: of two options that exclude each other, the one on
//! the command line holds, and only options given there are refused or reported as ignored.

use super::{Cli, CliError, one_line};
use crate::config::{option_table, secrets};
use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use std::ffi::OsString;

/// Parses, and drops variables of the environment that an option on the command line excludes.
///
/// # Errors
/// A usage error, also where two options of the same origin exclude each other.
pub(super) fn read(args: &[OsString]) -> Result<ArgMatches, CliError> {
    let matches = parse(command(), args)?;
    let overridden = match matches.subcommand() {
        None => {
            let pairs = option_table::all().filter_map(|o| Some((o.id, o.excludes?)));
            overridden(&matches, pairs)?
        }
        Some(("doctor", matches)) => overridden(matches, [super::doctor::EXCLUSIVE])?,
        Some(_) => return Ok(matches),
    };
    if overridden.is_empty() {
        return Ok(matches);
    }
    let without_variable = |arg: Arg| {
        if overridden.contains(&arg.get_id().as_str()) {
            arg.env(None::<&str>)
        } else {
            arg
        }
    };
    let command = command().mut_args(without_variable);
    parse(
        command.mut_subcommand("doctor", |doctor| doctor.mut_args(without_variable)),
        args,
    )
}

/// The options whose variables are excluded by an option on the command line. `pairs`: options that
/// exclude each other.
///
/// # Errors
/// Both of a pair are of the same origin.
fn overridden(
    matches: &ArgMatches,
    pairs: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<Vec<&'static str>, CliError> {
    let mut overridden = Vec::new();
    for (one, other) in pairs {
        match (given(matches, one), given(matches, other)) {
            (Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable)) => {
                overridden.push(other)
            }
            (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => {
                overridden.push(one)
            }
            (Some(source), Some(_)) => {
                let [one, other] = [one, other].map(|id| name(id, source));
                return Err(CliError::Usage(format!(
                    "{one} and {other} cannot be used together; give only one; see --help"
                )));
            }
            _ => {}
        }
    }
    Ok(overridden)
}

/// The options of `among` that are on the command line, as they are typed.
pub(super) fn on_the_line(matches: &ArgMatches, among: impl Fn(&str) -> bool) -> Vec<String> {
    let command = Cli::command();
    let ids = command.get_arguments().map(|arg| arg.get_id().as_str());
    let is_there = |id: &&str| among(id) && given(matches, id) == Some(ValueSource::CommandLine);
    ids.filter(is_there)
        .map(|id| name(id, ValueSource::CommandLine))
        .collect()
}

/// The command with two changes. A switch in the environment is set by 1, yes, on or true, and
/// unset by their opposites. A negative number is a value, so that the error names its option; but
/// not a token, since [`secrets`] takes nothing that looks like an option.
fn command() -> Command {
    let allow_negative = |arg: Arg| match arg.get_action() {
        ArgAction::Set | ArgAction::Append if !arg.get_long().is_some_and(secrets::is_secret) => {
            arg.allow_negative_numbers(true)
        }
        _ => arg,
    };
    let command = Cli::command().mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => allow_negative(arg),
    });
    command.mut_subcommand("doctor", |doctor| doctor.mut_args(allow_negative))
}

fn parse(command: Command, args: &[OsString]) -> Result<ArgMatches, CliError> {
    command
        .try_get_matches_from(args)
        .map_err(|e| match e.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                CliError::Requested(e.render().to_string())
            }
            _ => CliError::Usage(
                one_line(&e.render().to_string())
                    + &from_the_environment(&e, args).unwrap_or_default(),
            ),
        })
}

/// Where an option was given: `None` for a default, and for a switch that is off.
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

/// clap names the option whose value is wrong, but not that it came from the environment.
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
    (!is_on_the_line).then(|| format!(" (from {})", env.to_string_lossy()))
}

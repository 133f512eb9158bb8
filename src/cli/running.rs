//! Options of the process: its log, its sandbox, its end.

use crate::config::{LogFormat, Logging};
use clap::{ArgAction, ValueEnum};

/// How the program runs.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Running")]
pub(super) struct RunningArgs {
    /// Exit with code 3 when a device is missing, fails, stalls or hangs, instead of waiting for it
    #[arg(long, env = "STAMPCAST_EXIT_ON_DEVICE_ERROR", action = ArgAction::SetTrue)]
    pub(super) exit_on_device_error: bool,

    /// Do without the sandbox: the server keeps its files, the workers the network; for kernels that stumble over it
    #[arg(long, env = "STAMPCAST_NO_SANDBOX", action = ArgAction::SetTrue)]
    pub(super) no_sandbox: bool,

    /// Log lines as text or as one JSON object each
    #[arg(long, env = "STAMPCAST_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormatArg,

    /// Only warnings and errors
    #[arg(long, short, env = "STAMPCAST_QUIET", action = ArgAction::SetTrue)]
    quiet: bool,

    /// Details for finding a fault
    #[arg(long, short, env = "STAMPCAST_VERBOSE", action = ArgAction::SetTrue)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

impl RunningArgs {
    pub(super) fn logging(&self) -> Logging {
        Logging {
            format: match self.log_format {
                LogFormatArg::Text => LogFormat::Text,
                LogFormatArg::Json => LogFormat::Json,
            },
            level: match (self.quiet, self.verbose) {
                (true, _) => tracing::Level::WARN,
                (_, true) => tracing::Level::DEBUG,
                _ => tracing::Level::INFO,
            },
        }
    }
}

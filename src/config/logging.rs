//! The log's format and level.

use super::option_table::{Effective, OptionFacts};
pub use crate::log::LogFormat;
use clap::ArgAction;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("log_format", Effective::Always),
    OptionFacts::new("quiet", Effective::Always).excludes("verbose"),
    OptionFacts::new("verbose", Effective::Always),
];

#[derive(Clone, Copy, Debug)]
pub struct Logging {
    pub format: LogFormat,
    pub level: tracing::Level,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Process")]
pub(crate) struct LoggingArgs {
    /// Log format: text, or one JSON object per line
    #[arg(long, env = "STAMPCAST_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,

    /// Log warnings and errors only
    #[arg(long, short, env = "STAMPCAST_QUIET", action = ArgAction::SetTrue)]
    quiet: bool,

    /// Log more detail, for troubleshooting
    #[arg(long, short, env = "STAMPCAST_VERBOSE", action = ArgAction::SetTrue)]
    verbose: bool,
}

impl LoggingArgs {
    pub(crate) fn logging(&self) -> Logging {
        Logging {
            format: self.log_format,
            level: match (self.quiet, self.verbose) {
                (true, _) => tracing::Level::WARN,
                (_, true) => tracing::Level::DEBUG,
                _ => tracing::Level::INFO,
            },
        }
    }
}

//! The program's processes: sandbox, and when to give up.

use super::option_table::{Effective, OptionFacts};
use clap::ArgAction;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("exit_on_device_error", Effective::Always),
    OptionFacts::new("no_sandbox", Effective::Always),
];

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// Exit with code 3 if a device is missing, fails, stalls or hangs, instead of waiting for it
    #[arg(long, env = "STAMPCAST_EXIT_ON_DEVICE_ERROR", action = ArgAction::SetTrue)]
    pub(crate) exit_on_device_error: bool,

    /// Disable the sandbox (only if the kernel does not support it): the server keeps access to
    /// files, the workers to the network
    #[arg(long, env = "STAMPCAST_NO_SANDBOX", action = ArgAction::SetTrue)]
    pub(crate) no_sandbox: bool,
}

//! Options of `stampcast doctor`.

use super::values::seconds;
use crate::doctor::{Options, report::Limits};

#[derive(clap::Args, Debug)]
pub(super) struct DoctorArgs {
    /// The stream: ws://HOST:PORT/stream, or HOST:PORT
    #[arg(default_value = "localhost:8080")]
    url: String,

    /// How long to watch, seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,

    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,

    /// Exit with 1 below this many frames per second
    #[arg(long, value_name = "FPS")]
    min_fps: Option<f64>,

    /// Exit with 1 when the latency's p99, capture to arrival, is above this, milliseconds
    #[arg(long, value_name = "MS")]
    max_latency: Option<f64>,

    /// Exit with 1 when picture and sound are further apart, milliseconds
    #[arg(long, value_name = "MS")]
    max_av_offset: Option<f64>,

    /// Exit with 1 when a stamp is further from the test picture's time code, milliseconds
    #[arg(long, value_name = "MS")]
    max_stamp_error: Option<f64>,

    /// Exit with 1 when more packets are missing
    #[arg(long, value_name = "N")]
    max_gaps: Option<u64>,
}

impl From<DoctorArgs> for Options {
    fn from(args: DoctorArgs) -> Self {
        let limits = Limits {
            min_fps: args.min_fps,
            max_latency_ms: args.max_latency,
            max_av_offset_ms: args.max_av_offset,
            max_stamp_error_ms: args.max_stamp_error,
            max_gaps: args.max_gaps,
        };
        Self { url: args.url, seconds: args.seconds, json: args.json, limits }
    }
}

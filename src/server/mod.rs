//! The server process: started in order, stopped in reverse. It reads the rings that it is given
//! and serves the network; it opens no device.

mod cameras;
mod new_cameras;
mod status_line;
mod tasks;

use crate::api::Api;
use crate::config::{CameraConfig, Config};
use crate::http;
use crate::http::HttpConfig;
use crate::http::access::Access;
use crate::http::tls::Tls;
use crate::ipc::ServerEnds;
use crate::ipc::descriptors::DescriptorReceiver;
use crate::ipc::ring::StatusWriter;
use crate::media::clock::Clock;
use crate::media::{Encoding, StreamId};
use crate::output;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::error;

/// The panic hook has logged where. The message, which may quote anything, is not repeated.
const PANICKED: &str = "a task panicked";

/// What the supervisor hands to the server, all of it made before the fork.
pub struct ServeInputs {
    /// Bound; the server accepts on it.
    pub listener: std::net::TcpListener,
    pub config: Config,
    /// The server's ends of the memory of each stream.
    pub streams: BTreeMap<StreamId, ServerEnds>,
    /// The server's own status page: its heartbeat, for the supervisor.
    pub status: StatusWriter,
    /// Over which cameras are added while the server runs.
    pub descriptors: Option<DescriptorReceiver>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the server cannot {doing}")]
    Failed {
        doing: &'static str,
        source: io::Error,
    },
    #[error("the configuration has no camera")]
    NoCamera,
    #[error(transparent)]
    Access(#[from] http::access::AccessError),
    #[error(transparent)]
    Tls(#[from] http::tls::TlsError),
}

impl ServeError {
    /// Whether the user named files that cannot be used: starting again will not help.
    pub fn is_unusable_file(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::NoCamera)
    }
}

/// The encodings of a camera's streams that the outputs read: a ring is made for each.
pub fn encodings(config: &Config, camera: &CameraConfig) -> Vec<Encoding> {
    output::encodings(config, camera)
}

/// Files that the server reads while it runs: its sandbox leaves them accessible.
pub fn files(config: &Config) -> Vec<PathBuf> {
    output::files(config).chain(config.server_files()).collect()
}

/// Serves until SIGTERM or SIGINT, on a runtime of its own with one thread.
///
/// # Errors
/// The server cannot start, or one of its tasks ended.
pub fn run(inputs: ServeInputs) -> Result<(), ServeError> {
    let failed = |doing| move |source| ServeError::Failed { doing, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("start"))?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed("wait for SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("wait for SIGINT"))?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(inputs, shutdown).await
    });
    // Name resolution blocks a thread that cannot be interrupted: not waited for.
    runtime.shutdown_background();
    served
}

/// Serves until `shutdown`. Must run on a tokio runtime with I/O and time.
///
/// # Errors
/// The server cannot start, or one of its tasks ended.
pub async fn serve(
    inputs: ServeInputs,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let ServeInputs {
        listener,
        config,
        streams,
        status,
        descriptors,
    } = inputs;
    let failed = |doing| move |source| ServeError::Failed { doing, source };
    let listener = http::listener(listener).map_err(failed("listen"))?;
    let limits = config.limits;
    let access = Access::new(&config.access)?;
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    let clock = Arc::new(Clock::start());
    let hubs = cameras::hubs(&config, &streams, &clock).ok_or(ServeError::NoCamera)?;

    let mut tasks = JoinSet::new();
    let restarts = status.generation().saturating_sub(1);
    tasks.spawn(tasks::heartbeat(status));
    tasks.spawn(tasks::trim_memory());
    if let Some(descriptors) = descriptors {
        tasks.spawn(new_cameras::receive(descriptors));
    }
    if io::stderr().is_terminal() {
        tasks.spawn(status_line::log_status(hubs.clone()));
    }
    let controls = cameras::spawn_readers(streams, &hubs, &mut tasks);
    tasks.spawn(tasks::sample_clocks(clock, hubs.clone(), controls));

    let stop = watch::Sender::new(false);
    let cx = output::Context {
        hubs: hubs.clone(),
        config: Arc::new(config),
        viewers: Arc::new(Semaphore::new(limits.viewers)),
        stop: stop.subscribe(),
    };
    let outputs: Arc<[Arc<dyn output::Output>]> = output::all(&cx.config).into();
    for output in outputs.iter() {
        if let Err(e) = output.open(&cx) {
            // Such as when the address of --host was removed: the other outputs go on.
            let (name, error) = (output.name(), crate::log::chain(&e));
            tracing::warn!("output {name} is not available: {error}; all others are served");
        }
    }
    let router = Api::new(cx.clone(), outputs.clone(), restarts).router();
    let mut running = JoinSet::new();
    for output in outputs.iter().cloned() {
        let (name, cx) = (output.name(), cx.clone());
        running.spawn(async move {
            if let Err(e) = output.run(cx).await {
                error!("output {name} ended: {}", crate::log::chain(&e));
            }
        });
    }
    let http_config = HttpConfig {
        access,
        limits,
        tls,
    };
    let shutdown = async move {
        shutdown.await;
        // Fails only when no output is left.
        let _ = stop.send(true);
        hubs.close();
    };
    tokio::select! {
        () = http::serve(listener, router, http_config, shutdown) => {
            while running.join_next().await.is_some() {}
            Ok(())
        }
        // What reads a peer's bytes is a task of its own within an output, so its panic does not
        // end the server.
        () = any_panic(&mut running) => Err(ServeError::Failed {
            doing: "serve its outputs",
            source: io::Error::other(PANICKED),
        }),
        // None of these tasks ends by itself: the server is of no use without it, and the
        // supervisor restarts the server.
        Some(ended) = tasks.join_next() => Err(ServeError::Failed {
            doing: "read from its workers",
            source: match ended {
                Ok(Ok(())) => io::ErrorKind::UnexpectedEof.into(),
                Ok(Err(e)) => e,
                Err(_) => io::Error::other(PANICKED),
            },
        }),
    }
}

/// Returns when an output's task panics; never where none does.
async fn any_panic(outputs: &mut JoinSet<()>) {
    loop {
        match outputs.join_next().await {
            Some(Err(_)) => return,
            Some(Ok(())) => {}
            None => std::future::pending().await,
        }
    }
}

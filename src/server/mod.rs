//! The server process: started in order, stopped in reverse. Knows the rings that it is given and the network; no device.

pub mod status_line;

use crate::api::Api;
use crate::config::{CameraConfig, Config};
use crate::http;
use crate::http::HttpConfig;
use crate::http::access::Access;
use crate::http::tls::Tls;
use crate::hub::{Backlog, Hub, Plan, StreamPlan, ring_reader_task};
use crate::ipc::ring::{RingReader, StatusReader, StatusWriter};
use crate::media::clock::Sample;
use crate::media::{CameraId, Encoding, MediaKind, MonoNs};
use crate::output;
use crate::output::hubs::Hubs;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::error;

/// A step of the UNIX clock is seen within this time (docs/time.md).
const LOOK_AT_CLOCKS_EVERY: Duration = Duration::from_millis(100);

/// Everything is set up, and the first viewers are in.
const START_IS_OVER: Duration = Duration::from_secs(2);

/// What the supervisor hands to the server, all of it made before the fork.
pub struct ServeInputs {
    /// Bound; the server accepts on it.
    pub listener: std::net::TcpListener,
    pub config: Config,
    /// `None`: no camera.
    pub video: Option<Worker>,
    /// `None`: no sound.
    pub audio: Option<Worker>,
    /// The server's own page, on which it shows the supervisor that it lives.
    pub own: StatusWriter,
}

/// The reading halves of one worker's memory.
pub struct Worker {
    pub rings: Vec<(Encoding, RingReader)>,
    pub status: StatusReader,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the server cannot {doing}")]
    Failed {
        doing: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Access(#[from] http::access::AccessError),
    #[error(transparent)]
    Tls(#[from] http::tls::TlsError),
}

impl ServeError {
    /// Whether the user named files that cannot be used: starting again will not help.
    pub fn is_unusable_file(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

/// A stream's backlog in bytes, for viewers with `delivery=all`, as the rings' own.
const VIDEO_BACKLOG_BYTES: usize = 64 << 20;
const AUDIO_BACKLOG_BYTES: usize = 8 << 20;

/// Serves until SIGTERM or SIGINT, on a runtime of its own with one thread: measured, one beat two on CPU.
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
    // A name that is being resolved blocks a thread, which nothing can end and nobody is to wait for.
    runtime.shutdown_background();
    served
}

/// Serves until `shutdown`. Must run on a tokio runtime with I/O and time.
pub async fn serve(
    inputs: ServeInputs,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let ServeInputs {
        listener,
        config,
        video,
        audio,
        own,
    } = inputs;
    let failed = |doing| move |source| ServeError::Failed { doing, source };
    let listener = http::listener(listener).map_err(failed("listen"))?;
    let limits = config.limits;
    let access = Access::new(&config.access)?;
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    let hub = Arc::new(Hub::new(
        plan(config.cameras.first(), video.as_ref(), audio.as_ref()),
        Sample::take(),
    ));

    let mut feeds = JoinSet::new();
    let (offset, offsets) = watch::channel(0);
    feeds.spawn(keep_time(hub.clone(), offset));
    let restarts = own.generation().saturating_sub(1);
    feeds.spawn(show_life(own));
    feeds.spawn(forget_the_start());
    if io::stderr().is_terminal() {
        feeds.spawn(status_line::tell_state(hub.clone()));
    }
    for (kind, worker) in [(MediaKind::Video, video), (MediaKind::Audio, audio)] {
        let Some(Worker { rings, status }) = worker else {
            continue;
        };
        let status = Arc::new(status);
        for (encoding, ring) in rings {
            let (hub, status, offsets) = (hub.clone(), status.clone(), offsets.clone());
            feeds.spawn(async move {
                ring_reader_task::pump(&hub, encoding, ring, &status, offsets).await
            });
        }
        let hub = hub.clone();
        feeds.spawn(async move { ring_reader_task::watch_status(&hub, kind, &status).await });
    }

    let stop = watch::Sender::new(false);
    let cx = output::Context {
        hubs: Hubs::new(vec![(CameraId::main(), hub.clone())]),
        config: Arc::new(config),
        viewers: Arc::new(Semaphore::new(limits.viewers)),
        stop: stop.subscribe(),
    };
    let outputs: Arc<[Arc<dyn output::Output>]> = output::all(&cx.config).into();
    for output in outputs.iter() {
        if let Err(e) = output.open(&cx) {
            // Such as when the address of --host has gone: the others must not lose what they have.
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
        hub.close();
        // Fails only when no output is left.
        let _ = stop.send(true);
    };
    tokio::select! {
        () = http::serve(listener, router, http_config, shutdown) => {
            while running.join_next().await.is_some() {}
            Ok(())
        }
        e = first_panic(&mut running) => Err(ServeError::Failed {
            doing: "serve its outputs",
            source: io::Error::other(e),
        }),
        // A feed has no end of its own: without it the server would be deaf, so the supervisor is to start it anew.
        Some(ended) = feeds.join_next() => Err(ServeError::Failed {
            doing: "read from its workers",
            source: match ended {
                Ok(Ok(())) => io::ErrorKind::UnexpectedEof.into(),
                Ok(Err(e)) => e,
                Err(e) => { error!("a feed's task failed: {e}"); io::Error::other(e) }
            },
        }),
    }
}

/// Returns when an output's task panics; never where none does.
async fn first_panic(outputs: &mut JoinSet<()>) -> JoinError {
    loop {
        match outputs.join_next().await {
            Some(Err(e)) => return e,
            Some(Ok(())) => {}
            None => std::future::pending().await,
        }
    }
}

/// A loop that turns: a server that hangs is killed as a worker is.
async fn show_life(own: StatusWriter) -> io::Result<()> {
    loop {
        own.beat(MonoNs::now());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Never ends.
async fn forget_the_start() -> io::Result<()> {
    tokio::time::sleep(START_IS_OVER).await;
    crate::malloc_trim::trim();
    std::future::pending().await
}

/// Looks at the clocks again and again, for the hub's stamps and for the time that the workers draw.
async fn keep_time(hub: Arc<Hub>, offset: watch::Sender<i64>) -> io::Result<()> {
    loop {
        let now = hub.observe(Sample::take());
        // Whoever waits for another one is not woken for the same.
        offset.send_if_modified(|told| std::mem::replace(told, now) != now);
        tokio::time::sleep(LOOK_AT_CLOCKS_EVERY).await;
    }
}

fn plan(camera: Option<&CameraConfig>, video: Option<&Worker>, audio: Option<&Worker>) -> Plan {
    let encodings = |worker: &Worker| worker.rings.iter().map(|(encoding, _)| *encoding).collect();
    Plan {
        video: video
            .zip(camera.and_then(|camera| camera.video.as_ref()))
            .map(|(worker, video)| StreamPlan {
                encodings: encodings(worker),
                fps: Some(video.fps),
                backlog: Backlog {
                    packets: video.queue_packets as usize,
                    bytes: VIDEO_BACKLOG_BYTES,
                },
            }),
        audio: audio
            .zip(camera.and_then(|camera| camera.audio.as_ref()))
            .map(|(worker, audio)| StreamPlan {
                encodings: encodings(worker),
                fps: None,
                backlog: Backlog {
                    packets: audio.queue_packets as usize,
                    bytes: AUDIO_BACKLOG_BYTES,
                },
            }),
    }
}

//! The server process: started in order, stopped in reverse. Knows the rings that it is given and the network; no device.

mod new_cameras;
pub mod status_line;

use crate::api::Api;
use crate::config::{CameraConfig, Config};
use crate::http;
use crate::http::HttpConfig;
use crate::http::access::Access;
use crate::http::tls::Tls;
use crate::hub::{Backlog, Hub, Plan, StreamPlan, ring_reader_task};
use crate::ipc::ServerEnds;
use crate::ipc::control::{ControlWriter, UNIX_OFFSET, UNIX_OFFSET_SLOT};
use crate::ipc::descriptors::DescriptorReceiver;
use crate::ipc::ring::StatusWriter;
use crate::media::clock::Sample;
use crate::media::{MediaKind, MonoNs, StreamId};
use crate::output;
use crate::output::hubs::Hubs;
use std::collections::BTreeMap;
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
        streams,
        status,
        descriptors,
    } = inputs;
    let failed = |doing| move |source| ServeError::Failed { doing, source };
    let listener = http::listener(listener).map_err(failed("listen"))?;
    let limits = config.limits;
    let access = Access::new(&config.access)?;
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    // All hubs are given the same clock readings, so that their stamps agree.
    let clocks = Sample::take();
    let hubs = config.cameras.iter().map(|camera| {
        let hub = Hub::new(plan(camera, &streams), clocks);
        (camera.id.clone(), Arc::new(hub))
    });
    let hubs = Hubs::new(hubs.collect());

    let mut feeds = JoinSet::new();
    let restarts = status.generation().saturating_sub(1);
    feeds.spawn(show_life(status));
    feeds.spawn(forget_the_start());
    if let Some(descriptors) = descriptors {
        feeds.spawn(new_cameras::receive(descriptors));
    }
    if io::stderr().is_terminal() {
        feeds.spawn(status_line::tell_state(hubs.default_hub().clone()));
    }
    let mut controls = Vec::new();
    for (stream, ends) in streams {
        let Some(hub) = hubs.get(stream.camera.as_str()).cloned() else {
            continue;
        };
        let status = Arc::new(ends.status);
        for (encoding, ring) in ends.rings {
            let (hub, status) = (hub.clone(), status.clone());
            feeds.spawn(async move { ring_reader_task::pump(&hub, encoding, ring, &status).await });
        }
        if stream.kind == MediaKind::Video {
            controls.push(ends.control);
        }
        feeds
            .spawn(async move { ring_reader_task::watch_status(&hub, stream.kind, &status).await });
    }
    feeds.spawn(keep_time(hubs.clone(), controls));

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
        hubs.iter().for_each(|(_, hub)| hub.close());
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
        own.set_heartbeat(MonoNs::now());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Never ends.
async fn forget_the_start() -> io::Result<()> {
    tokio::time::sleep(START_IS_OVER).await;
    crate::malloc_trim::trim();
    std::future::pending().await
}

/// Reads the clocks regularly, for the hubs' stamps and for the time that workers draw. The offset is
/// written again and again: a worker may have damaged its control page.
async fn keep_time(hubs: Hubs, controls: Vec<ControlWriter>) -> io::Result<()> {
    loop {
        let clocks = Sample::take();
        for (_, hub) in hubs.iter() {
            let offset_ns = hub.observe(clocks);
            for control in &controls {
                control.keep(UNIX_OFFSET_SLOT, UNIX_OFFSET, offset_ns as u64);
            }
        }
        tokio::time::sleep(LOOK_AT_CLOCKS_EVERY).await;
    }
}

/// The plan of a camera's hub: the streams that there is memory for.
fn plan(camera: &CameraConfig, streams: &BTreeMap<StreamId, ServerEnds>) -> Plan {
    let encodings = |kind| {
        let camera = camera.id.clone();
        let ends = streams.get(&StreamId { camera, kind })?;
        Some(ends.rings.iter().map(|(encoding, _)| *encoding).collect())
    };
    let backlog = |packets, bytes| Backlog {
        packets: packets as usize,
        bytes,
    };
    Plan {
        video: encodings(MediaKind::Video)
            .zip(camera.video.as_ref())
            .map(|(encodings, video)| StreamPlan {
                encodings,
                fps: Some(video.fps),
                backlog: backlog(video.queue_packets, VIDEO_BACKLOG_BYTES),
            }),
        audio: encodings(MediaKind::Audio)
            .zip(camera.audio.as_ref())
            .map(|(encodings, audio)| StreamPlan {
                encodings,
                fps: None,
                backlog: backlog(audio.queue_packets, AUDIO_BACKLOG_BYTES),
            }),
    }
}

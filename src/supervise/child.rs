//! What a forked child keeps and drops, its sandbox, and what it runs.

use super::capabilities;
use super::child_id::ChildId;
use super::process::close_all_but;
use super::restart_policy;
use super::sandbox;
use super::sandbox::SandboxError;
use super::shared_memory::SharedMemory;
use crate::config::{Access, Config};
use crate::ipc::descriptors::DescriptorReceiver;
use crate::media::{MediaKind, StreamId};
use crate::server;
use crate::server::ServeInputs;
use crate::worker;
use crate::worker::{End, RingPublisher, StopSignal, Worker};
use caps::Capability;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Capabilities that workers of root keep: for device nodes of any owner, ALSA's shared mixers
/// (dmix), and threads with real-time priority.
const WORKER_CAPABILITIES: [Capability; 5] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_IPC_OWNER,
    Capability::CAP_SYS_NICE,
];

/// Capabilities that the server of root keeps: to read the files of others (keys in a home
/// directory), and for a WebRTC port below 1024.
const SERVER_CAPABILITIES: [Capability; 2] = [
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_NET_BIND_SERVICE,
];

/// Exit code of a child that cannot start.
const FAILED: u8 = 1;

/// Everything that children inherit.
pub struct ChildContext {
    pub config: Config,
    /// `None` in workers.
    pub listener: Option<TcpListener>,
    pub memory: SharedMemory,
    /// The server's end of its descriptor channel. `None` where none could be made.
    pub descriptors: Option<DescriptorReceiver>,
}

impl ChildContext {
    /// Runs a child, from its first action to its exit code. To be called in the forked process.
    pub fn run(&mut self, child: &ChildId, generation: u32) -> u8 {
        match child {
            ChildId::Server => self.run_server(generation),
            ChildId::Worker(stream) => self.run_worker(stream, generation),
        }
    }

    fn run_server(&mut self, generation: u32) -> u8 {
        crate::panics::hide_messages();
        let (Some(listener), Some(status)) = (self.listener.take(), self.memory.server.take())
        else {
            return FAILED;
        };
        let streams = self.memory.streams.values().flat_map(|stream| stream.fds());
        let tokens = self.config.secrets().map(AsRawFd::as_raw_fd);
        let descriptors = self.descriptors.iter().map(|d| d.as_fd().as_raw_fd());
        let keep: Vec<RawFd> = streams
            .chain(status.fds())
            .chain([listener.as_raw_fd()])
            .chain(tokens)
            .chain(descriptors)
            .collect();
        close_all_but(&keep);
        let enter = || {
            let memory = capabilities::keep_memory_private().map_err(SandboxError::Memory);
            let capabilities = capabilities::keep_only(&SERVER_CAPABILITIES);
            let files = sandbox::without_files(&crate::server::files(&self.config));
            memory
                .and(capabilities.map_err(SandboxError::Capabilities))
                .and(files)
        };
        if self.config.sandbox {
            log_sandbox(generation, "file access restricted", enter());
        }
        let inputs = ServeInputs {
            listener,
            config: self.config.clone(),
            streams: self
                .memory
                .streams
                .iter()
                .map(|(id, stream)| (id.clone(), stream.server_ends()))
                .collect(),
            status: status.writer(),
            descriptors: self.descriptors.take(),
        };
        match server::run(inputs) {
            Ok(()) => 0,
            Err(e) => {
                tracing::error!("{}", crate::log::chain(&e));
                if e.is_unusable_file() {
                    restart_policy::UNUSABLE_FILE
                } else {
                    FAILED
                }
            }
        }
    }

    fn run_worker(&mut self, stream: &StreamId, generation: u32) -> u8 {
        // A worker has no clients and no media server: dropping the tokens closes the only place
        // where they are.
        self.config.access = Access::default();
        if let Some(webrtc) = &mut self.config.webrtc {
            webrtc.whip = None;
        }
        let Some(memory) = self.memory.streams.remove(stream) else {
            return FAILED;
        };
        // Unmapped and closed: a worker can reach neither the network nor another worker's memory.
        drop((
            self.listener.take(),
            self.descriptors.take(),
            self.memory.server.take(),
            std::mem::take(&mut self.memory.streams),
        ));
        close_all_but(&memory.fds().collect::<Vec<_>>());
        if self.config.sandbox {
            let capabilities = capabilities::keep_only(&WORKER_CAPABILITIES);
            let entered = capabilities
                .map_err(SandboxError::Capabilities)
                .and(sandbox::without_network());
            log_sandbox(generation, "no network", entered);
        }
        let stop = match StopSignal::on_sigterm() {
            Ok(stop) => stop,
            Err(e) => {
                tracing::error!("cannot wait for signals: {e}");
                return FAILED;
            }
        };
        let status = memory.status();
        let before = status
            .description()
            .and_then(|description| description.info);
        let snapshot = status.snapshot();
        let ends = memory.worker_ends();
        let worker = Worker::new(
            ends.status,
            ends.control,
            stop,
            self.config.exit_on_device_error,
            before,
        );
        // Sequence numbers continue where the last generation stopped.
        let publishers = ends
            .rings
            .into_iter()
            .map(|(encoding, ring)| {
                let next = snapshot.next_sequence(encoding);
                RingPublisher::new(encoding, ring, generation, next)
            })
            .collect();
        let camera = self.config.cameras.iter().find(|c| c.id == stream.camera);
        let end = match (stream.kind, camera) {
            (MediaKind::Video, Some(camera)) => camera
                .video
                .as_ref()
                .map(|video| worker::run_video(worker, video, publishers)),
            (MediaKind::Audio, Some(camera)) => camera
                .audio
                .as_ref()
                .map(|audio| worker::run_audio(worker, audio, publishers)),
            (_, None) => None,
        };
        match end {
            Some(End::Requested) => 0,
            Some(End::DeviceError) => restart_policy::DEVICE_ERROR,
            None => FAILED,
        }
    }
}

/// Logs the outcome of entering the sandbox: for the first generation, and for later ones only an
/// error that is not a lack of the kernel. `what`: what the sandbox does.
fn log_sandbox(generation: u32, what: &str, entered: Result<(), SandboxError>) {
    match entered {
        Ok(()) if generation > 1 => {}
        Err(e) if generation > 1 && e.is_kernel_limit() => {}
        Ok(()) => tracing::info!("sandbox active: {what}"),
        Err(e) => tracing::warn!(
            "the sandbox is incomplete: {} (--no-sandbox disables it)",
            crate::log::chain(&e)
        ),
    }
}

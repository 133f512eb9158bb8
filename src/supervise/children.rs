//! What the children share and inherit: the listening socket, the rings, the status pages; and who may have which.

use super::capabilities;
use super::restart_policy::{Health, Role};
use super::sandbox;
use super::sandbox::SandboxError;
use crate::config::{Access, CameraConfig, Config};
use crate::ipc::ring::{RingLimits, SharedRing, SharedStatus};
use crate::media::{Encoding, WorkerState};
use crate::server;
use crate::server::ServeInputs;
use crate::worker;
use crate::worker::{End, Lane, Stop, Worker};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

/// DESIGN: a ring's capacity in bytes, reached before its capacity in packets only by very large frames.
const VIDEO_BYTES: usize = 64 << 20;
const SOUND_BYTES: usize = 8 << 20;

/// What root's workers keep: device nodes of any owner, ALSA's shared mixers (dmix), and threads that hurry.
const DEVICES: [u32; 5] = [
    capabilities::CHOWN,
    capabilities::DAC_OVERRIDE,
    capabilities::FOWNER,
    capabilities::IPC_OWNER,
    capabilities::SYS_NICE,
];

/// One worker's shared memory.
struct Line {
    /// What is always there comes first.
    rings: Vec<(Encoding, SharedRing)>,
    status: SharedStatus,
}

impl Line {
    fn create(name: &str, encodings: &[Encoding], limits: RingLimits) -> std::io::Result<Self> {
        let ring = |&encoding| {
            Ok((
                encoding,
                SharedRing::create(&format!("{name}-{encoding:?}").to_lowercase(), limits)?,
            ))
        };
        let rings = encodings.iter().map(ring).collect::<std::io::Result<_>>()?;
        Ok(Self {
            rings,
            status: SharedStatus::create(name)?,
        })
    }

    fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.rings
            .iter()
            .flat_map(|(_, ring)| ring.fds())
            .chain(self.status.fds())
    }

    /// The server's ends.
    fn read(&self) -> server::Worker {
        let rings = self
            .rings
            .iter()
            .map(|(encoding, ring)| (*encoding, ring.reader()))
            .collect();
        server::Worker {
            rings,
            status: self.status.reader(),
        }
    }

    /// The worker's ends. The numbers go on where its last life left them.
    fn lanes(&self, generation: u32) -> Vec<Lane> {
        let hot = self.status.reader().hot();
        self.rings
            .iter()
            .map(|(encoding, ring)| {
                Lane::new(
                    *encoding,
                    ring.writer(),
                    generation,
                    hot.next_sequence(*encoding),
                )
            })
            .collect()
    }
}

/// Everything made before the first fork. In a child, what is not its own is dropped, which unmaps and closes it.
pub struct House {
    config: Config,
    listener: Option<TcpListener>,
    video: Option<Line>,
    sound: Option<Line>,
    /// The server's own page: it has a heartbeat as the workers have.
    server: Option<SharedStatus>,
}

impl House {
    /// # Errors
    /// What memfd_create(2), mmap(2) or eventfd(2) say.
    pub fn build(config: Config, listener: TcpListener) -> std::io::Result<Self> {
        let (pictures, sounds): (&[_], &[_]) = match config.webrtc {
            Some(_) => (
                &[Encoding::Jpeg, Encoding::H264],
                &[Encoding::Pcm, Encoding::Opus],
            ),
            None => (&[Encoding::Jpeg], &[Encoding::Pcm]),
        };
        let limits = |packets, bytes| RingLimits { packets, bytes };
        let camera = config.cameras.first();
        let video = camera
            .and_then(|camera| camera.video.as_ref())
            .map(|v| Line::create("video", pictures, limits(v.queue_packets, VIDEO_BYTES)))
            .transpose()?;
        let sound = camera
            .and_then(|camera| camera.audio.as_ref())
            .map(|a| Line::create("audio", sounds, limits(a.queue_packets, SOUND_BYTES)))
            .transpose()?;
        Ok(Self {
            config,
            listener: Some(listener),
            video,
            sound,
            server: Some(SharedStatus::create("server")?),
        })
    }

    /// Who is to run, in the order of their start.
    pub fn roles(&self) -> Vec<Role> {
        let video = self.video.as_ref().map(|_| Role::Video);
        let sound = self.sound.as_ref().map(|_| Role::Audio);
        std::iter::once(Role::Serve)
            .chain(video)
            .chain(sound)
            .collect()
    }

    fn status(&self, role: Role) -> Option<&SharedStatus> {
        match role {
            Role::Serve => self.server.as_ref(),
            Role::Video => self.video.as_ref().map(|l| &l.status),
            Role::Audio => self.sound.as_ref().map(|l| &l.status),
        }
    }

    pub fn health(&self, role: Role) -> Health {
        let Some(hot) = self.status(role).map(|s| s.reader().hot()) else {
            return Health::default();
        };
        Health {
            heartbeat: hot.heartbeat,
            streaming_since: hot
                .state_since
                .filter(|_| hot.state == WorkerState::Streaming),
            last_capture: hot.last_capture,
            interval: hot.interval.unwrap_or_default(),
        }
    }

    /// Clears what the last life wrote of itself, but its numbers, for the next, the `generation`th.
    pub fn forget(&self, role: Role, generation: u32) {
        if let Some(status) = self.status(role) {
            status.reader().reset(generation);
        }
    }

    /// A child's life, from its first act to its exit code. Runs in the forked process.
    pub fn live(&mut self, role: Role, generation: u32) -> u8 {
        match role {
            Role::Serve => self.serve(generation),
            Role::Video | Role::Audio => self.work(role, generation),
        }
    }

    fn serve(&mut self, generation: u32) -> u8 {
        let (Some(listener), Some(status)) = (self.listener.take(), self.server.take()) else {
            return 1;
        };
        let lines = self.video.iter().chain(&self.sound).flat_map(Line::fds);
        let tokens = self.config.secrets().map(AsRawFd::as_raw_fd);
        let keep: Vec<RawFd> = lines
            .chain(status.fds())
            .chain([listener.as_raw_fd()])
            .chain(tokens)
            .collect();
        super::process::close_all_but(&keep);
        self.give_up(
            generation,
            "this process may open no file but those that it serves with",
            || {
                let memory = capabilities::keep_memory_private().map_err(SandboxError::Memory);
                // As root it reads files of others (keys in a home directory), and WebRTC's port may be a low one.
                let capabilities = capabilities::keep_only(&[
                    capabilities::DAC_READ_SEARCH,
                    capabilities::NET_BIND_SERVICE,
                ]);
                let files = sandbox::without_files(&self.config.server_files());
                memory
                    .and(capabilities.map_err(SandboxError::Capabilities))
                    .and(files)
            },
        );
        let inputs = ServeInputs {
            listener,
            config: self.config.clone(),
            video: self.video.as_ref().map(Line::read),
            audio: self.sound.as_ref().map(Line::read),
            own: status.writer(),
        };
        match server::run(inputs) {
            Ok(()) => 0,
            Err(e) => {
                tracing::error!("{}", crate::log::chain(&e));
                if e.is_unusable_file() {
                    super::restart_policy::UNUSABLE_FILE
                } else {
                    1
                }
            }
        }
    }

    /// Puts a child into its sandbox, and says what came of it; of what the kernel has not, once for each kind of child.
    fn give_up(
        &self,
        generation: u32,
        what: &str,
        enter: impl FnOnce() -> Result<(), SandboxError>,
    ) {
        if !self.config.sandbox {
            return;
        }
        match enter() {
            Ok(()) if generation > 1 => {}
            Err(e) if generation > 1 && e.is_the_kernels() => {}
            Ok(()) => tracing::info!("sandbox: {what}"),
            Err(e) => tracing::warn!(
                "the sandbox is not complete: {}; --no-sandbox does without",
                crate::log::chain(&e)
            ),
        }
    }

    fn work(&mut self, role: Role, generation: u32) -> u8 {
        // A worker knows no client and no media server, so it needs no token. That closes the only place where they are.
        self.config.access = Access::default();
        if let Some(webrtc) = &mut self.config.webrtc {
            webrtc.whip = None;
        }
        // Unmapped and closed: a worker can reach neither the network nor the other worker's memory.
        drop((self.listener.take(), self.server.take()));
        let (mine, other) = if role == Role::Video {
            (self.video.take(), self.sound.take())
        } else {
            (self.sound.take(), self.video.take())
        };
        drop(other);
        let Some(line) = mine else { return 1 };
        super::process::close_all_but(&line.fds().collect::<Vec<_>>());
        self.give_up(
            generation,
            "this process may open no network connection",
            || {
                let capabilities =
                    capabilities::keep_only(&DEVICES).map_err(SandboxError::Capabilities);
                capabilities.and(sandbox::without_network())
            },
        );
        let stop = match Stop::on_sigterm() {
            Ok(stop) => stop,
            Err(e) => {
                tracing::error!("cannot wait for signals: {e}");
                return 1;
            }
        };
        let before = line
            .status
            .reader()
            .description()
            .and_then(|said| said.info);
        let worker = Worker::new(
            line.status.writer(),
            stop,
            self.config.exit_on_device_error,
            before,
        );
        let lanes = line.lanes(generation);
        let camera = self.config.cameras.first();
        let end = match camera {
            Some(CameraConfig {
                audio: Some(audio), ..
            }) if role == Role::Audio => worker::audio::run(worker, audio, lanes),
            Some(CameraConfig {
                video: Some(video), ..
            }) => worker::video::run(worker, video, lanes),
            _ => return 1,
        };
        match end {
            End::Asked => 0,
            End::DeviceError => super::restart_policy::DEVICE_ERROR,
        }
    }
}

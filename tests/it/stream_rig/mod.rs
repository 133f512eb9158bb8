//! A server in this process whose rings the test writes, with real clients on a real port.

use futures_util::{SinkExt, StreamExt};
use stampcast::config::{
    Access, AudioConfig, AudioSourceConfig, CameraConfig, Config, Limits, LogFormat, Logging,
    VideoConfig,
};
use stampcast::ipc::ServerEnds;
use stampcast::ipc::control::SharedControl;
use stampcast::ipc::ring::{RingLimits, RingWriter, SharedRing, SharedStatus, StatusWriter};
use stampcast::media::{
    CameraId, Encoding, Losses, MediaKind, MonoNs, PacketMeta, Shape, StreamId, WorkerState,
};
use stampcast::server::{ServeInputs, serve};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Long enough for any machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const WIDTH: u16 = 64;
pub const HEIGHT: u16 = 48;
pub const RATE_HZ: u32 = 48_000;
pub const VIDEO: Shape = Shape::Video {
    width: WIDTH,
    height: HEIGHT,
};
pub const AUDIO: Shape = Shape::Audio {
    rate_hz: RATE_HZ,
    channels: 1,
};
pub const QUEUE: u32 = 50;

pub struct Rig {
    pub address: SocketAddr,
    /// Of the first camera.
    pub video: Source,
    pub audio: Source,
    /// The video of the other cameras.
    pub others: Vec<Source>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

/// A worker as the server sees it.
pub struct Source {
    pub ring: RingWriter,
    pub status: StatusWriter,
    pub meta: PacketMeta,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(true, Limits::default()).await
    }

    pub async fn with(sound: bool, limits: Limits) -> Self {
        Self::of(config(sound), limits).await
    }

    pub async fn of(config: Config, limits: Limits) -> Self {
        Self::with_video(config, limits, Encoding::Jpeg).await
    }

    /// With this encoding of the cameras' video.
    pub async fn with_video(mut config: Config, limits: Limits, encoding: Encoding) -> Self {
        config.limits = limits;
        let sound = config.cameras[0].audio.is_some();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (video, video_worker) = Source::new(encoding, VIDEO, Duration::from_millis(66));
        let (audio, audio_worker) = Source::new(Encoding::Pcm, AUDIO, Duration::from_millis(20));
        let status = SharedStatus::create("server", &[]).unwrap().writer();
        let stream = |camera: &CameraConfig, kind| StreamId {
            camera: camera.id.clone(),
            kind,
        };
        let first = &config.cameras[0];
        let mut streams = BTreeMap::from([(stream(first, MediaKind::Video), video_worker)]);
        if sound {
            streams.insert(stream(first, MediaKind::Audio), audio_worker);
        }
        let mut others = Vec::new();
        for camera in &config.cameras[1..] {
            let (video, worker) = Source::new(encoding, VIDEO, Duration::from_millis(66));
            streams.insert(stream(camera, MediaKind::Video), worker);
            others.push(video);
        }
        let inputs = ServeInputs {
            listener,
            config,
            streams,
            status,
            descriptors: None,
        };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            serve(inputs, shutdown).await.unwrap();
        });
        Self {
            address,
            video,
            audio,
            others,
            stop: Some(stop),
            server: Some(server),
        }
    }

    pub async fn connect(&self, query: &str) -> Viewer {
        self.connect_to(&format!("/stream{query}")).await
    }

    pub async fn connect_to(&self, path: &str) -> Viewer {
        let url = format!("ws://{}{path}", self.address);
        let (socket, _) = patient(tokio_tungstenite::connect_async(url))
            .await
            .unwrap();
        Viewer { socket }
    }

    /// Connects and waits until the server wants this stream, so that the next packet reaches the
    /// viewer.
    pub async fn connect_and_wait(&self, query: &str) -> Viewer {
        let before = self.info().await["viewers"].as_u64().unwrap();
        let viewer = self.connect(query).await;
        self.wait_for_viewers(before + 1).await;
        viewer
    }

    pub async fn wait_for_viewers(&self, count: u64) {
        until(async || self.info().await["viewers"] == count).await;
    }

    /// `/info` as it is now: the server may answer with what it rendered up to 100 ms ago.
    pub async fn info(&self) -> serde_json::Value {
        let asked = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let mut first = None;
        loop {
            let info: serde_json::Value = serde_json::from_str(&self.get("/info").await.1).unwrap();
            let rendered = info["clock"]["now"].as_f64().unwrap();
            // A double has the time to a quarter of a microsecond.
            if rendered + 1e-5 >= asked || first.is_some_and(|first| rendered != first) {
                return info;
            }
            first = Some(rendered);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Status code and body of a plain GET.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    /// Sends these bytes, and reads the answer to its end.
    pub async fn request(&self, head: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        patient(stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let code = answer
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no status line in {answer:?}"))
            .parse()
            .unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (code, body)
    }

    /// Stops the server as a signal would, and waits for its end.
    pub async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        patient(self.server.take().unwrap()).await.unwrap();
    }
}

impl Source {
    fn new(encoding: Encoding, shape: Shape, interval: Duration) -> (Self, ServerEnds) {
        let shared = SharedRing::create(
            "test",
            RingLimits {
                packets: QUEUE,
                bytes: 8 << 20,
            },
        )
        .unwrap();
        let page = SharedStatus::create("test", &[encoding]).unwrap();
        let mut status = page.writer();
        status.set_state(WorkerState::Streaming);
        status.set_interval(interval);
        let worker = ServerEnds {
            rings: vec![(encoding, shared.reader())],
            status: page.reader(),
            control: SharedControl::create("test").unwrap().writer(),
        };
        let meta = PacketMeta {
            generation: 1,
            sequence: 0,
            capture_time: MonoNs::now(),
            shape,
            keyframe: true,
            losses: Losses::default(),
        };
        (
            Self {
                ring: shared.writer(),
                status,
                meta,
            },
            worker,
        )
    }

    /// Sends the next packet, captured now; returns its metadata.
    pub fn push(&mut self, payload: &[u8]) -> PacketMeta {
        self.push_at(MonoNs::now(), payload)
    }

    pub fn push_at(&mut self, capture_time: MonoNs, payload: &[u8]) -> PacketMeta {
        self.meta.capture_time = capture_time;
        let sent = self.meta;
        self.ring.push(&sent, payload).unwrap();
        self.meta.sequence += 1;
        sent
    }

    pub async fn wait_for_demand(&self, wanted: bool) {
        until(async || self.ring.demand().wanted == wanted).await;
    }
}

pub struct Viewer {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Viewer {
    /// The next message of any kind.
    pub async fn next(&mut self) -> Message {
        patient(self.socket.next())
            .await
            .expect("the stream goes on")
            .unwrap()
    }

    pub async fn text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    pub async fn binary(&mut self) -> Vec<u8> {
        match self.next().await {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("bytes were expected, not {other:?}"),
        }
    }

    pub async fn say(&mut self, text: &str) {
        patient(self.socket.send(Message::text(text)))
            .await
            .unwrap();
    }

    /// Reads to the end; the close code and reason.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match patient(self.socket.next()).await {
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return (code.into(), reason.to_string());
                }
                Some(Ok(_)) => {}
                Some(Err(Error::ConnectionClosed)) | None => panic!("closed without a close frame"),
                Some(Err(e)) => panic!("{e}"),
            }
        }
    }
}

/// A refused handshake: its status code and body.
pub async fn refused(rig: &Rig, query: &str) -> (u16, String) {
    let head = format!(
        "GET /stream{query} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    rig.request(&head).await
}

pub async fn patient<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("this came to no end")
}

/// Waits for a condition.
pub async fn until(mut condition: impl AsyncFnMut() -> bool) {
    patient(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub fn config(sound: bool) -> Config {
    Config {
        ignored_options: Vec::new(),
        access: Access {
            file_origin: true,
            ..Access::default()
        },
        host: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        cameras: vec![CameraConfig {
            id: CameraId::main(),
            video: Some(VideoConfig {
                width: WIDTH.into(),
                height: HEIGHT.into(),
                capture_width: WIDTH.into(),
                capture_height: HEIGHT.into(),
                queue_packets: QUEUE,
                ..VideoConfig::default()
            }),
            audio: sound.then_some(AudioConfig {
                source: AudioSourceConfig::Test,
                channels: 1,
                rate_hz: None,
                queue_packets: QUEUE,
            }),
        }],
        exit_on_device_error: false,
        serve_client: false,
        limits: Limits::default(),
        tls: None,
        sandbox: false,
        webrtc: None,
        logging: Logging {
            format: LogFormat::Text,
            level: tracing::Level::INFO,
        },
    }
}

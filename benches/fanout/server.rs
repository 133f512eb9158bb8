//! The three servers: the program's, fed through a real ring by a thread in place of the camera's
//! worker; the minimum; and the usual one.

use super::{say, wait_for_end_of_input};
use futures_util::SinkExt;
use stampcast::config::Limits;
use stampcast::config::{CameraConfig, Config, LogFormat, Logging, VideoConfig};
use stampcast::ipc::ServerEnds;
use stampcast::ipc::control::SharedControl;
use stampcast::ipc::ring::{RingLimits, SharedRing, SharedStatus};
use stampcast::media::{
    CameraId, Encoding, Losses, MediaKind, MonoNs, PacketMeta, Shape, StreamId, WorkerState,
};
use stampcast::server::{ServeInputs, serve};
use stampcast::wire::websocket::{Opcode, append_header};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

const SHAPE: Shape = Shape::Video {
    width: 640,
    height: 480,
};

fn listen() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    say(&listener
        .local_addr()
        .expect("it is bound")
        .port()
        .to_string());
    listener
}

pub fn ours(fps: u32, bytes: usize) {
    let ring = SharedRing::create(
        "bench",
        RingLimits {
            packets: 50,
            bytes: 64 << 20,
        },
    )
    .expect("a ring");
    let page = SharedStatus::create("bench", &[Encoding::Jpeg]).expect("a page");
    let worker = ServerEnds {
        rings: vec![(Encoding::Jpeg, ring.reader())],
        status: page.reader(),
        control: SharedControl::create("bench").expect("a page").writer(),
    };
    std::thread::spawn(move || feed(&ring, &page, fps, &vec![0x5a; bytes]));

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        wait_for_end_of_input();
        drop(stop);
    });
    let status = SharedStatus::create("server", &[])
        .expect("shared memory")
        .writer();
    let inputs = ServeInputs {
        listener: listen(),
        config: config(fps),
        streams: BTreeMap::from([(
            StreamId {
                camera: CameraId::main(),
                kind: MediaKind::Video,
            },
            worker,
        )]),
        status,
        descriptors: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(serve(inputs, async { drop(stopped.await) }))
        .expect("it serves");
}

fn feed(ring: &SharedRing, page: &SharedStatus, fps: u32, jpeg: &[u8]) {
    let mut status = page.writer();
    status.set_state(WorkerState::Streaming);
    let mut writer = ring.writer();
    for sequence in 0.. {
        sleep_until_tick(fps);
        let capture_time = MonoNs::now();
        let meta = PacketMeta {
            generation: 1,
            sequence,
            capture_time,
            shape: SHAPE,
            keyframe: true,
            losses: Losses::default(),
        };
        writer.push(&meta, jpeg).expect("it fits");
    }
}

/// Both servers tick on one grid of the monotonic clock.
fn sleep_until_tick(fps: u32) {
    let interval = 1_000_000_000 / u64::from(fps);
    std::thread::sleep(Duration::from_nanos(interval - MonoNs::now().0 % interval));
}

/// One thread, one `write` per socket, no queue, no reading.
pub fn floor(fps: u32, bytes: usize) {
    let listener = listen();
    let (admit, admitted) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            shake_hands(&stream);
            admit
                .send(stream)
                .expect("the writer lives as long as the process");
        }
    });
    std::thread::spawn(|| {
        wait_for_end_of_input();
        std::process::exit(0);
    });
    let text = stampcast::wire::text::packet(stamp(), SHAPE, &vec![0x5a; bytes]);
    let mut frame = Vec::new();
    append_header(&mut frame, Opcode::Text, text.len());
    let stamp_at = frame.len() + "video:".len();
    frame.extend_from_slice(text.as_bytes());
    let mut viewers: Vec<TcpStream> = Vec::new();
    loop {
        sleep_until_tick(fps);
        viewers.extend(admitted.try_iter());
        let digits = stampcast::wire::stamp::Seconds(stamp()).to_string();
        frame[stamp_at..stamp_at + digits.len()].copy_from_slice(digits.as_bytes());
        viewers.retain_mut(|viewer| viewer.write_all(&frame).is_ok());
    }
}

/// The usual server: tungstenite with its defaults (axum's `ws` is the same), a task and a receiver
/// of a broadcast channel for each viewer.
pub fn plain(fps: u32, bytes: usize) {
    const WAITING: usize = 1024;
    let (frames, _) = broadcast::channel(WAITING);
    let listener = listen();
    std::thread::spawn(|| {
        wait_for_end_of_input();
        std::process::exit(0);
    });
    let camera = frames.clone();
    std::thread::spawn(move || {
        let jpeg = vec![0x5a; bytes];
        loop {
            sleep_until_tick(fps);
            // Fails without viewers.
            let _ = camera.send(Utf8Bytes::from(stampcast::wire::text::packet(
                stamp(),
                SHAPE,
                &jpeg,
            )));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("TCP");
            let mut frames = frames.subscribe();
            tokio::spawn(async move {
                let mut viewer = tokio_tungstenite::accept_async(stream)
                    .await
                    .expect("a handshake");
                loop {
                    let sent = match frames.recv().await {
                        Ok(text) => viewer.send(Message::Text(text)).await,
                        Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                        Err(broadcast::error::RecvError::Closed) => return,
                    };
                    if sent.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn stamp() -> stampcast::media::UnixNs {
    stampcast::media::UnixNs(
        SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("after 1970")
            .as_nanos() as u64,
    )
}

fn shake_hands(mut stream: &TcpStream) {
    stream.set_nodelay(true).expect("TCP");
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        request.push(byte[0]);
    }
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        .expect("an answer");
}

fn config(fps: u32) -> Config {
    Config {
        ignored_options: Vec::new(),
        limits: Limits {
            viewers: 2_000,
            ..Limits::default()
        },
        tls: None,
        sandbox: false,
        access: Default::default(),
        host: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        cameras: vec![CameraConfig {
            id: CameraId::main(),
            video: Some(VideoConfig {
                fps: fps.into(),
                ..VideoConfig::default()
            }),
            audio: None,
        }],
        exit_on_device_error: false,
        serve_client: false,
        webrtc: None,
        logging: Logging {
            format: LogFormat::Text,
            level: tracing::Level::WARN,
        },
    }
}

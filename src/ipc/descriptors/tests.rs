//! The channel with honest and hostile peers. Descriptors are counted: an error must leak none.
// unshare(2) gives a test a table of descriptors of its own; nix has it in a feature that is off.
#![allow(unsafe_code)]

use super::message::{KIND_NEW_CAMERA, NewCameraBody, header};
use super::scm_rights::KERNEL_MAX_DESCRIPTORS;
use super::*;
use crate::ipc::ring::RingLimits;
use crate::media::{Encoding, Losses, MonoNs, PacketMeta, Shape};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::time::{Duration, Instant};

const LIMITS: RingLimits = RingLimits {
    packets: 4,
    bytes: 4096,
};

fn memory(encodings: &[Encoding]) -> StreamMemory {
    StreamMemory::create("test", encodings, LIMITS).expect("memory")
}

fn left() -> CameraId {
    CameraId::new("left").expect("a name")
}

/// A peer that sends what it likes.
fn hostile() -> (OwnedFd, DescriptorReceiver) {
    let (sender, receiver) = channel().expect("sockets");
    (sender.socket, receiver)
}

fn send_raw(socket: &OwnedFd, bytes: &[u8], fds: &[RawFd]) {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &[] } else { &rights[..] };
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        rights,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    );
    assert_eq!(sent, Ok(bytes.len()));
}

/// A message that is right in all, for tests that change one thing of it.
fn message(stream: &StreamMemory) -> (Vec<u8>, Vec<RawFd>) {
    message_with(
        &NewCameraBody {
            camera: "left".into(),
            streams: vec![stream.layout(MediaKind::Video)],
        },
        stream.fds().collect(),
    )
}

fn message_with(body: &NewCameraBody, fds: Vec<RawFd>) -> (Vec<u8>, Vec<RawFd>) {
    let body = serde_json::to_vec(body).expect("plain data");
    let header = header(KIND_NEW_CAMERA, body.len(), fds.len());
    ([&header, &body[..]].concat(), fds)
}

fn refusal(receiver: &mut DescriptorReceiver) -> ChannelError {
    match receiver.receive() {
        Err(e) => e,
        Ok(Some(_)) => panic!("it was accepted"),
        Ok(None) => panic!("it was not noticed"),
    }
}

/// The descriptors of this thread's own table would be those of all tests: runs `test` in a thread
/// whose table is its own copy, and compares their number before and after.
fn without_leaks(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        // SAFETY: gives this thread its own copy of the descriptor table; touches no memory.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
        let count = || {
            std::fs::read_dir("/proc/thread-self/fd")
                .expect("procfs")
                .count()
        };
        let before = count();
        test();
        assert_eq!(count(), before, "descriptors leaked");
    })
    .join()
    .expect("the test passes");
}

#[test]
fn channel_new_camera_arrives_and_its_rings_work() {
    without_leaks(|| {
        let (mut sender, mut receiver) = channel().expect("sockets");
        assert!(receiver.receive().expect("open").is_none());
        let video = memory(&[Encoding::Jpeg, Encoding::H264]);
        let audio = memory(&[Encoding::Pcm]);
        let streams = [(MediaKind::Video, &video), (MediaKind::Audio, &audio)];
        sender.send_camera(&left(), &streams).expect("sent");
        assert!(!sender.is_queued());
        let new = receiver.receive().expect("valid").expect("whole");
        assert_eq!(new.camera, left());
        let kinds: Vec<_> = new.streams.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [MediaKind::Video, MediaKind::Audio]);
        let mut worker = audio.worker_ends();
        let mut server = new.streams[1].1.server_ends();
        let meta = PacketMeta {
            generation: 1,
            sequence: 7,
            capture_time: MonoNs(1),
            shape: Shape::Audio {
                rate_hz: 48_000,
                channels: 1,
            },
            keyframe: true,
            losses: Losses::default(),
        };
        worker.rings[0].1.push(&meta, b"samples").expect("it fits");
        let mut payload = Vec::new();
        assert_eq!(server.rings[0].1.pop(&mut payload), Ok(Some(meta)));
        assert_eq!(payload, b"samples");
        worker.status.describe(None, "a microphone");
        let description = server.status.description().expect("there is one");
        assert_eq!(description.message, "a microphone");
        server.control.request(5, 9, 1);
        let mut requests = Vec::new();
        worker.control.poll(|request| requests.push(request.slot));
        assert_eq!(requests, [5]);

        receiver.request(Request::CamerasReceived(1)).expect("sent");
        let request = sender.next_request().expect("valid");
        assert_eq!(request, Some(Request::CamerasReceived(1)));
        assert_eq!(sender.next_request().expect("open"), None);
    });
}

#[test]
fn channel_message_in_pieces_is_received_once_whole() {
    without_leaks(|| {
        let (peer, mut receiver) = hostile();
        let stream = memory(&[Encoding::Jpeg]);
        let (bytes, fds) = message(&stream);
        for (i, byte) in bytes.iter().enumerate() {
            assert!(receiver.receive().expect("valid so far").is_none());
            send_raw(&peer, &[*byte], if i == 0 { &fds } else { &[] });
        }
        assert!(receiver.receive().expect("valid").is_some());
        // Two in one piece.
        send_raw(&peer, &bytes, &fds);
        send_raw(&peer, &bytes, &fds);
        assert!(receiver.receive().expect("valid").is_some());
        assert!(receiver.receive().expect("valid").is_some());
        assert!(receiver.receive().expect("valid").is_none());
    });
}

#[test]
fn channel_closed_peer_is_reported() {
    without_leaks(|| {
        let (peer, mut receiver) = hostile();
        drop(peer);
        assert!(matches!(refusal(&mut receiver), ChannelError::Closed));
        let asked = receiver.request(Request::CamerasReceived(1));
        assert!(matches!(asked, Err(ChannelError::Closed)));

        let (mut sender, receiver) = channel().expect("sockets");
        drop(receiver);
        let closed = sender.next_request();
        assert!(matches!(closed, Err(ChannelError::Closed)), "{closed:?}");
        let stream = memory(&[Encoding::Jpeg]);
        let sent = sender.send_camera(&left(), &[(MediaKind::Video, &stream)]);
        assert!(matches!(sent, Err(ChannelError::Closed)));
    });
}

#[test]
fn channel_truncated_message_is_refused() {
    without_leaks(|| {
        let stream = memory(&[Encoding::Jpeg]);
        let (bytes, fds) = message(&stream);
        for length in 1..bytes.len() {
            let (peer, mut receiver) = hostile();
            send_raw(&peer, &bytes[..length], &fds);
            assert!(receiver.receive().expect("valid so far").is_none());
            drop(peer);
            assert!(
                matches!(refusal(&mut receiver), ChannelError::Truncated),
                "{length}"
            );
        }
    });
}

#[test]
fn channel_wrong_header_is_refused() {
    without_leaks(|| {
        let stream = memory(&[Encoding::Jpeg]);
        let (bytes, fds) = message(&stream);
        for (at, value, expected) in [
            (0, b'x', "magic"),
            (4, 2, "version"),
            (6, 9, "kind 9"),
            (10, 1, "claims"),
            (11, 0xff, "claims"),
            (13, 1, "descriptors"),
        ] {
            let (peer, mut receiver) = hostile();
            let mut bytes = bytes.clone();
            bytes[at] = value;
            send_raw(&peer, &bytes, &fds);
            let error = refusal(&mut receiver).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    });
}

#[test]
fn channel_wrong_number_of_descriptors_is_refused() {
    without_leaks(|| {
        let stream = memory(&[Encoding::Jpeg]);
        let (bytes, fds) = message(&stream);
        let (too_few, too_many) = (&fds[1..], &[&fds[..], &fds[..1]].concat()[..]);
        let flood = vec![fds[0]; KERNEL_MAX_DESCRIPTORS];
        for (fds, found) in [
            (&[][..], 0),
            (too_few, fds.len() - 1),
            (too_many, fds.len() + 1),
            (&flood[..], KERNEL_MAX_DESCRIPTORS),
        ] {
            let (peer, mut receiver) = hostile();
            send_raw(&peer, &bytes, fds);
            let error = refusal(&mut receiver);
            assert!(
                matches!(error, ChannelError::DescriptorCount { found: f, .. } if f == found),
                "{error}"
            );
        }
        // The header's number is that of the message, and not that of its layouts.
        let (peer, mut receiver) = hostile();
        let mut bytes = bytes.clone();
        bytes[12] = fds.len() as u8 - 1;
        send_raw(&peer, &bytes, too_few);
        let error = refusal(&mut receiver);
        assert!(
            matches!(error, ChannelError::DescriptorCount { .. }),
            "{error}"
        );
    });
}

/// Descriptors with each byte of a message, so that none of the messages has too many by itself.
#[test]
fn channel_descriptors_trickled_in_are_bounded() {
    without_leaks(|| {
        let stream = memory(&[Encoding::Jpeg]);
        let (bytes, fds) = message(&stream);
        let (peer, mut receiver) = hostile();
        for byte in &bytes[..HEADER_BYTES - 1] {
            send_raw(&peer, &[*byte], &fds);
        }
        let error = refusal(&mut receiver);
        assert!(
            matches!(error, ChannelError::DescriptorCount { .. }),
            "{error}"
        );
        assert!(receiver.descriptors.len() <= MAX_DESCRIPTORS + fds.len());
    });
}

#[test]
fn channel_invalid_body_is_refused() {
    without_leaks(|| {
        let stream = memory(&[Encoding::Jpeg]);
        let fds: Vec<RawFd> = stream.fds().collect();
        let video = stream.layout(MediaKind::Video);
        let body = |camera: &str, streams| NewCameraBody {
            camera: camera.into(),
            streams,
        };
        let json = |text: &str| {
            let header = header(KIND_NEW_CAMERA, text.len(), fds.len());
            ([&header, text.as_bytes()].concat(), fds.clone())
        };
        let ring = |packets: u32, bytes: u64| {
            json(&format!(
                r#"{{"camera":"left","streams":[{{"kind":"video","rings":[{{"encoding":"jpeg","packets":{packets},"bytes":{bytes}}}]}}]}}"#
            ))
        };
        assert!(
            ring(4, 4096).0 == message(&stream).0,
            "the test's own text is right"
        );
        let twice = [&fds[..], &fds[..]].concat();
        for (what, (bytes, fds)) in [
            ("not JSON", json("{")),
            ("not UTF-8", json("\u{fffd}")),
            ("empty", json("")),
            ("no camera", json(r#"{"streams":[]}"#)),
            (
                "an unknown field",
                json(r#"{"camera":"left","streams":[],"more":1}"#),
            ),
            (
                "an unknown encoding",
                json(
                    r#"{"camera":"left","streams":[{"kind":"video","rings":[{"encoding":"vp8","packets":4,"bytes":4096}]}]}"#,
                ),
            ),
            ("no stream", message_with(&body("left", vec![]), vec![])),
            (
                "a stream twice",
                message_with(&body("left", vec![video.clone(), video.clone()]), twice),
            ),
            (
                "an invalid name",
                message_with(&body("../left", vec![video.clone()]), fds.clone()),
            ),
            (
                "audio with JPEG",
                message_with(
                    &body("left", vec![stream.layout(MediaKind::Audio)]),
                    fds.clone(),
                ),
            ),
            ("no packets", ring(0, 4096)),
            ("too many packets", ring(10_001, 4096)),
            ("no bytes", ring(4, 0)),
            ("too many bytes", ring(4, 1 << 40)),
            ("another size", ring(4, 8192)),
            ("another size by slots", ring(1000, 4096)),
        ] {
            let (peer, mut receiver) = hostile();
            send_raw(&peer, &bytes, &fds);
            refusal(&mut receiver);
            println!("{what}: refused");
        }
    });
}

/// Each descriptor of a message replaced by each kind of file that it must not be. What could be
/// shrunk later would kill the server (SIGBUS).
#[test]
fn channel_descriptor_of_wrong_kind_or_size_is_refused() {
    without_leaks(|| {
        let stream = memory(&[Encoding::Jpeg]);
        let (bytes, fds) = message(&stream);
        let other = StreamMemory::create(
            "test",
            &[Encoding::Jpeg],
            RingLimits {
                packets: 4,
                bytes: 8192,
            },
        )
        .expect("memory");
        let other_ring = other.fds().next().expect("a ring");
        let unsealed = memfd_create("test", MFdFlags::MFD_ALLOW_SEALING).expect("a memfd");
        nix::unistd::ftruncate(&unsealed, 1 << 20).expect("memory");
        let (pipe, _writer) = nix::unistd::pipe().expect("a pipe");
        let directory = std::fs::File::open("/").expect("there is one");
        for at in 0..fds.len() {
            let memfd = other_ring;
            for bad in [
                unsealed.as_raw_fd(),
                pipe.as_raw_fd(),
                directory.as_raw_fd(),
                // An eventfd for a memfd, a memfd for an eventfd, and memory of another size.
                fds[at ^ 1],
                memfd,
            ] {
                let mut fds = fds.clone();
                fds[at] = bad;
                let (peer, mut receiver) = hostile();
                send_raw(&peer, &bytes, &fds);
                let error = refusal(&mut receiver);
                assert!(matches!(error, ChannelError::Memory(_)), "{at}: {error}");
            }
        }
        // The right size and seals, but not the contents of a status page.
        let (bytes, mut swapped) = message(&stream);
        let empty =
            Mapping::create("test", crate::ipc::status::SharedStatus::WORDS).expect("memory");
        swapped[2] = empty.fds()[0];
        let (peer, mut receiver) = hostile();
        send_raw(&peer, &bytes, &swapped);
        let error = refusal(&mut receiver);
        assert!(
            matches!(error, ChannelError::Memory(StreamMemoryError::Version)),
            "{error}"
        );
    });
}

#[test]
fn sender_peer_that_never_reads_neither_blocks_nor_grows() {
    without_leaks(|| {
        let (mut sender, mut receiver) = channel().expect("sockets");
        let stream = memory(&[Encoding::Jpeg, Encoding::H264]);
        let streams = [(MediaKind::Video, &stream)];
        let started = Instant::now();
        let mut sent = 0;
        let refused = loop {
            match sender.send_camera(&left(), &streams) {
                Ok(()) => sent += 1,
                Err(e) => break e,
            }
            assert!(sent < 100_000, "it is bounded");
        };
        assert!(matches!(refused, ChannelError::Full), "{refused}");
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(sender.queue.len(), MAX_QUEUED);
        // A peer that reads again gets all of them, in order and whole.
        let mut received = 0;
        while received < sent {
            match receiver.receive().expect("valid") {
                Some(new) => {
                    assert_eq!(new.streams.len(), 1);
                    received += 1;
                }
                None => sender.flush().expect("open"),
            }
        }
        assert!(!sender.is_queued());
    });
}

#[test]
fn sender_hostile_requests_are_refused_or_bounded() {
    without_leaks(|| {
        // A flood: one request a call, never more.
        let (mut sender, receiver) = channel().expect("sockets");
        for count in 0..1_000 {
            receiver
                .request(Request::CamerasReceived(count))
                .expect("sent");
        }
        for count in 0..100 {
            let request = sender.next_request().expect("valid");
            assert_eq!(request, Some(Request::CamerasReceived(count)));
        }
        // Invalid ones.
        let valid = encode_request(Request::CamerasReceived(1));
        for (at, value) in [(0, 0), (4, 9), (6, 9)] {
            let (mut sender, receiver) = channel().expect("sockets");
            let mut bytes = valid;
            bytes[at] = value;
            send_raw(&receiver.socket, &bytes, &[]);
            let refused = sender.next_request();
            assert!(matches!(refused, Err(ChannelError::Request)), "{refused:?}");
        }
        // In pieces, then cut off.
        let (mut sender, receiver) = channel().expect("sockets");
        for byte in &valid[..15] {
            send_raw(&receiver.socket, &[*byte], &[]);
            assert!(matches!(sender.next_request(), Ok(None)));
        }
        drop(receiver);
        let refused = sender.next_request();
        assert!(
            matches!(refused, Err(ChannelError::Truncated)),
            "{refused:?}"
        );
        // Descriptors that nobody asked for stay with the kernel, which closes them.
        let (mut sender, receiver) = channel().expect("sockets");
        let own = receiver.socket.as_raw_fd();
        send_raw(&receiver.socket, &valid, &[own, own]);
        assert!(matches!(sender.next_request(), Ok(Some(_))));
    });
}

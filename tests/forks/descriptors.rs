//! A camera that is added while a server runs in its sandbox: its memory arrives as descriptors.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use stampcast::ipc::StreamMemory;
use stampcast::ipc::descriptors::{DescriptorReceiver, NewCamera, Request, channel};
use stampcast::ipc::ring::RingLimits;
use stampcast::media::{CameraId, Encoding, Losses, MediaKind, MonoNs, PacketMeta, Shape};
use stampcast::supervise::sandbox;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const PACKETS: u64 = 20;

pub fn sandboxed_server_reads_rings_of_an_added_camera() {
    let (mut sender, receiver) = channel().expect("sockets");
    // SAFETY: this process has one thread, so the child may do anything that the parent may.
    let server = match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            drop(sender);
            // SAFETY: no preconditions. The child does not outlive a failed test for long.
            unsafe { nix::libc::alarm(60) };
            std::process::exit(serve(receiver))
        }
        ForkResult::Parent { child } => child,
    };
    drop(receiver);

    // Made after the fork: the server has it from the channel alone.
    let encodings = [Encoding::Jpeg, Encoding::H264];
    let limits = RingLimits {
        packets: 50,
        bytes: 1 << 20,
    };
    let memory = StreamMemory::create("left-video", &encodings, limits).expect("memory");
    let left = CameraId::new("left").expect("a name");
    sender
        .send_camera(&left, &[(MediaKind::Video, &memory)])
        .expect("sent");
    let request = until(|| sender.next_request().expect("the channel is open"));
    assert_eq!(request, Request::CamerasReceived(1));
    let mut worker = memory.worker_ends();
    for sequence in 0..PACKETS {
        worker.rings[1]
            .1
            .push(&meta(sequence), b"unit")
            .expect("it fits");
    }
    let ended = until(
        || match waitpid(server, Some(nix::sys::wait::WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => None,
            ended => Some(ended.expect("our own child")),
        },
    );
    assert_eq!(ended, WaitStatus::Exited(server, 0));
}

/// The server: 0 when it read every packet.
fn serve(mut receiver: DescriptorReceiver) -> i32 {
    if let Err(e) = sandbox::without_files(&[]) {
        println!("without a complete sandbox: {e}");
    }
    let NewCamera { camera, streams } = until(|| receiver.receive().expect("an honest supervisor"));
    assert_eq!(camera.as_str(), "left");
    let (kind, memory) = &streams[0];
    assert_eq!(*kind, MediaKind::Video);
    let mut ends = memory.server_ends();
    receiver
        .request(Request::CamerasReceived(1))
        .expect("the supervisor lives");
    let (encoding, ring) = &mut ends.rings[1];
    assert_eq!(*encoding, Encoding::H264);
    let mut payload = Vec::new();
    for sequence in 0..PACKETS {
        let found = until(|| {
            let found = ring.pop(&mut payload).expect("an honest worker");
            if found.is_none() {
                let mut event = [PollFd::new(ring.event_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut event, PollTimeout::from(100u8));
                ring.drain_event();
            }
            found
        });
        assert_eq!((found, &payload[..]), (meta(sequence), &b"unit"[..]));
    }
    0
}

fn meta(sequence: u64) -> PacketMeta {
    PacketMeta {
        generation: 1,
        sequence,
        capture_time: MonoNs(1),
        shape: Shape::Video {
            width: 64,
            height: 48,
        },
        keyframe: true,
        losses: Losses::default(),
    }
}

fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

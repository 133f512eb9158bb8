//! A 60 KB packet from one process to another, wake included: our ring against a pipe (write, poll,
//! read into a buffer) plus one memcpy (what a pipe's reader pays to keep the bytes). Both in the
//! same run, alternating, so that the load of the machine is the same for both. Medians.
//!
//! The packet is answered through an eventfd, so a round has one wake-up in each direction; the
//! answer is the same for both.
#![allow(unsafe_code)]

#[path = "common/table.rs"]
mod table;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pipe, read, write};
use stampcast::ipc::ring::{RingLimits, SharedRing};
use stampcast::media::{Losses, MonoNs, PacketMeta, Shape};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use table::{Target, row};

const BYTES: usize = 60_000;
const ROUNDS: usize = 2_000;
const BATCHES: usize = 10;
/// For one wake-up. On a machine that needs longer there are no figures.
const PATIENCE_MS: u16 = 10_000;

fn main() {
    let ring = SharedRing::create(
        "bench",
        RingLimits {
            packets: 50,
            bytes: 64 << 20,
        },
    )
    .expect("a ring");
    let (pipe_out, pipe_in) = pipe().expect("a pipe");
    let eventfd = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("an eventfd");
    let (ring_answer, pipe_answer) = (eventfd(), eventfd());

    // SAFETY: this process has one thread, so the child may do anything that the parent may.
    let child = match unsafe { fork() }.expect("fork") {
        ForkResult::Child => serve(&ring, &pipe_out, &ring_answer, &pipe_answer),
        ForkResult::Parent { child } => child,
    };
    let payload: Vec<u8> = (0..BYTES).map(|i| (i * 31) as u8).collect();
    let mut writer = ring.writer();
    wait(&ring_answer);
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for batch in 0..=BATCHES {
        for n in 0..ROUNDS / BATCHES {
            let began = Instant::now();
            writer.push(&label(n as u64), &payload).expect("it fits");
            wait(&ring_answer);
            let ring_took = began.elapsed();

            let began = Instant::now();
            let mut left = &payload[..];
            while !left.is_empty() {
                left = &left[write(&pipe_in, left).expect("the reader lives")..];
            }
            wait(&pipe_answer);
            // The first batch warms up: pages are touched for the first time.
            if batch > 0 {
                ours.push(ring_took);
                reference.push(began.elapsed());
            }
        }
    }
    kill(child, Signal::SIGKILL).expect("our own child");
    waitpid(child, None).expect("our own child");
    let (ours, reference) = (median(&mut ours), median(&mut reference));
    table::begin("Ring: a packet from one process to another; the reference is a pipe and memcpy");
    row(
        &format!("{BYTES} bytes, wake and copy, us"),
        ours,
        Some(reference),
        &Target::Ratio(1.0),
    );
}

/// The reading process: reads each packet, from ring or pipe, and answers.
fn serve(ring: &SharedRing, pipe_out: &OwnedFd, ring_answer: &EventFd, pipe_answer: &EventFd) -> ! {
    // SAFETY: `alarm` has no preconditions. If the parent dies, this process ends too.
    unsafe { libc::alarm(120) };
    let mut reader = ring.reader();
    ring_answer.write(1).expect("an empty eventfd");
    let (mut packet, mut buffer, mut kept) = (Vec::new(), vec![0; BYTES], vec![0u8; BYTES]);
    loop {
        let (ring_ready, pipe_ready) = {
            let mut fds = [
                PollFd::new(reader.event_fd(), PollFlags::POLLIN),
                PollFd::new(pipe_out.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut fds, PollTimeout::from(PATIENCE_MS)).expect("poll");
            (fds[0].any() == Some(true), fds[1].any() == Some(true))
        };
        if ring_ready {
            reader.drain_event();
            while reader.pop(&mut packet).expect("an honest writer").is_some() {
                assert_eq!(std::hint::black_box(&packet).len(), BYTES);
            }
            ring_answer.write(1).expect("an empty eventfd");
        }
        if pipe_ready {
            let mut got = 0;
            while got < BYTES {
                got += read(pipe_out, &mut buffer[got..]).expect("the writer lives");
            }
            kept.copy_from_slice(&buffer);
            std::hint::black_box(&kept);
            pipe_answer.write(1).expect("an empty eventfd");
        }
    }
}

fn wait(event: &EventFd) {
    let fd: BorrowedFd = event.as_fd();
    let ready = poll(
        &mut [PollFd::new(fd, PollFlags::POLLIN)],
        PollTimeout::from(PATIENCE_MS),
    )
    .expect("poll");
    assert!(ready == 1, "no answer in {PATIENCE_MS} ms");
    event.read().expect("it is readable");
}

fn label(sequence: u64) -> PacketMeta {
    PacketMeta {
        generation: 1,
        sequence,
        capture_time: MonoNs::now(),
        shape: Shape::Video {
            width: 640,
            height: 480,
        },
        keyframe: true,
        losses: Losses::default(),
    }
}

/// Microseconds.
fn median(took: &mut [Duration]) -> f64 {
    took.sort();
    took[took.len() / 2].as_secs_f64() * 1e6
}

//! A ring whose writer process is killed (SIGKILL) 1,000 times at random points while a reader
//! reads: every packet that arrives is whole, numbers only grow, and the ring goes on after each
//! restart.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use stampcast::ipc::ring::{RingFault, RingLimits, RingReader, SharedRing};
use stampcast::media::{Losses, MonoNs, PacketMeta, Shape};
use std::time::{Duration, Instant};

const KILLS: u32 = 1_000;
/// For a writer to deliver its first packet: far more than a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn writer_killed_anywhere_leaves_whole_records() {
    // Limited by packets, limited by bytes, and like a small video ring.
    let mut rings = [(3, 1 << 20), (1_000, 20_000), (50, 1 << 20)].map(|(packets, bytes)| {
        let ring = SharedRing::create("kill", RingLimits { packets, bytes }).expect("a small ring");
        let reader = ring.reader();
        (
            ring,
            Follower {
                reader,
                last: None,
                seen: 0,
                overtaken: 0,
                payload: Vec::new(),
            },
        )
    });
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let began = Instant::now();
    let mut generation = 0;
    // On a slow machine more are needed until enough has been read.
    while generation < KILLS || rings.iter().any(|(_, follower)| follower.seen <= 1_000) {
        generation += 1;
        let (ring, follower) = &mut rings[generation as usize % 3];
        let writer = start_writer(ring, generation);
        // Each runs this long from its first packet on; every tenth from its fork on, so it may
        // never push.
        let lifetime = Duration::from_micros(dice.below(1_500));
        let forked = Instant::now();
        let mut counts_from = generation.is_multiple_of(10).then_some(forked);
        while counts_from.is_none_or(|from| from.elapsed() < lifetime) {
            assert!(
                forked.elapsed() < PATIENCE,
                "no packet of writer {generation} came"
            );
            if follower.read() == Some(generation) {
                counts_from.get_or_insert_with(Instant::now);
            }
        }
        kill(writer, Signal::SIGKILL).expect("our own child");
        waitpid(writer, None).expect("our own child");
        // What it left behind, before or after the next one begins.
        if dice.below(2) == 0 {
            while follower.read().is_some() {}
        }
    }
    for (ring, follower) in &mut rings {
        let writer = start_writer(ring, generation + 1);
        let deadline = Instant::now() + PATIENCE;
        while follower.read() != Some(generation + 1) {
            assert!(Instant::now() < deadline, "the ring did not go on");
        }
        kill(writer, Signal::SIGKILL).expect("our own child");
        waitpid(writer, None).expect("our own child");
    }
    let seen: Vec<u64> = rings.iter().map(|(_, f)| f.seen).collect();
    let dropped: Vec<u64> = rings.iter().map(|(_, f)| f.reader.dropped()).collect();
    let overtaken: u64 = rings.iter().map(|(_, f)| f.overtaken).sum();
    println!(
        "ring_kill: {generation} writers killed in {:.1} s; packets read whole {seen:?}, dropped {dropped:?}, overtaken {overtaken} times",
        began.elapsed().as_secs_f64()
    );
}

struct Follower {
    reader: RingReader,
    /// Generation and sequence of the last packet.
    last: Option<(u32, u64)>,
    seen: u64,
    overtaken: u64,
    payload: Vec<u8>,
}

impl Follower {
    /// Reads a packet if there is one and checks it; returns its generation.
    fn read(&mut self) -> Option<u32> {
        let meta = match self.reader.pop(&mut self.payload) {
            Ok(Some(meta)) => meta,
            Ok(None) => {
                // Sleeping, not spinning: on a busy machine the writer needs the CPU.
                let mut fds = [PollFd::new(self.reader.event_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(1u8)).expect("poll");
                self.reader.drain_event();
                return None;
            }
            // The writer never pauses, so it may win the race repeatedly on a busy
            // machine.
            Err(RingFault::Overtaken) => {
                self.overtaken += 1;
                return None;
            }
            Err(fault) => panic!("an honest writer left: {fault}"),
        };
        let now = (meta.generation, meta.sequence);
        assert!(self.last < Some(now), "{now:?} came after {:?}", self.last);
        self.last = Some(now);
        self.seen += 1;
        assert_eq!(meta, label(meta.generation, meta.sequence));
        assert!(
            self.payload == payload(meta.generation, meta.sequence),
            "the payload of {now:?} is torn"
        );
        Some(meta.generation)
    }
}

/// Forks a process that pushes as fast as it can until it is killed.
fn start_writer(ring: &SharedRing, generation: u32) -> Pid {
    // SAFETY: this process has one thread, so the child may do anything that the parent may.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // SAFETY: `alarm` has no preconditions. If the test itself dies, its last child does
            // not run on.
            unsafe { nix::libc::alarm(60) };
            let mut writer = ring.writer();
            for sequence in 0.. {
                writer
                    .push(&label(generation, sequence), &payload(generation, sequence))
                    .expect("it fits");
            }
            unreachable!("2^64 packets");
        }
    }
}

fn label(generation: u32, sequence: u64) -> PacketMeta {
    let mixed = Dice(u64::from(generation) << 32 ^ sequence).next();
    PacketMeta {
        generation,
        sequence,
        capture_time: MonoNs(mixed >> 1),
        shape: Shape::Video {
            width: mixed as u16 | 1,
            height: (mixed >> 16) as u16 | 1,
        },
        keyframe: mixed & 2 != 0,
        losses: Losses {
            driver: mixed as u32,
            corrupt: 1,
            encoder: (mixed >> 16) as u32,
            xrun: (mixed >> 32) as u32,
            source_away: 3,
        },
    }
}

/// Up to 4 KB, different in every packet.
fn payload(generation: u32, sequence: u64) -> Vec<u8> {
    let mut dice = Dice(u64::from(generation) << 40 ^ sequence ^ 0x5bd1_e995);
    let length = dice.below(4_096) as usize;
    (0..length.div_ceil(8))
        .flat_map(|_| dice.next().to_ne_bytes())
        .take(length)
        .collect()
}

/// xorshift64*: the same numbers in every run, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

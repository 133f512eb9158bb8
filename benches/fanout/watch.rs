//! The viewers: many that read as fast as they can on one epoll loop, or one that reads slowly.

use super::stream::{Frames, age, connect};
use super::{say, wait_for_end_of_input};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// After the last viewer came, before the measurement.
const SETTLE: Duration = Duration::from_secs(1);

/// Prints `begin`, and at the end: frames, bytes, p50 and p99 of stamp to last byte read, in
/// microseconds.
pub fn fast(port: u16, viewers: usize, stalled: usize, seconds: Duration) {
    let _stalled: Vec<_> = (0..stalled).map(|_| connect(port, "")).collect();
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    let mut streams: Vec<_> = (0..viewers)
        .map(|at| {
            let stream = connect(port, "");
            stream.set_nonblocking(true).expect("a socket");
            epoll
                .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))
                .expect("room");
            (stream, Frames::default())
        })
        .collect();
    let mut begin = Instant::now() + SETTLE;
    let mut begun = false;
    let mut bytes = 0;
    let mut ages = Vec::new();
    let mut scratch = vec![0; 256 * 1024];
    let mut events = vec![EpollEvent::empty(); 64];
    loop {
        let ready = epoll
            .wait(&mut events, EpollTimeout::from(20u8))
            .expect("epoll waits");
        if !begun && Instant::now() >= begin {
            begun = true;
            begin = Instant::now();
            say("begin");
        }
        if begun && begin.elapsed() >= seconds {
            break;
        }
        for event in &events[..ready] {
            let (stream, frames) = &mut streams[event.data() as usize];
            match stream.read(&mut scratch) {
                Ok(0) => panic!("the server hung up"),
                Ok(n) => {
                    bytes += if begun { n } else { 0 };
                    frames.feed(&scratch[..n], |stamp| {
                        if begun {
                            ages.push(age(stamp))
                        }
                    });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
    ages.sort_unstable();
    let micros = |share: f64| ages[((ages.len() - 1) as f64 * share) as usize].as_micros();
    say(&format!(
        "{} {bytes} {} {}",
        ages.len(),
        micros(0.5),
        micros(0.99)
    ));
    wait_for_end_of_input();
}

/// Reads one frame in every two frames' time. Prints p95 of the ages in microseconds, and frames
/// per second.
pub fn slow(port: u16, query: &str, fps: u32, seconds: Duration) {
    const ACK: [u8; 9] = [0x81, 0x83, 0, 0, 0, 0, b'a', b'c', b'k'];
    let mut stream = connect(port, query);
    let mut frames = Frames::default();
    let mut scratch = vec![0; 4096];
    let mut ages = Vec::new();
    let begin = Instant::now();
    let mut next = begin;
    while begin.elapsed() < seconds {
        let mut done = None;
        while done.is_none() {
            let wanted = frames.missing().min(scratch.len());
            let n = stream
                .read(&mut scratch[..wanted])
                .expect("the stream goes on");
            frames.feed(&scratch[..n], |stamp| done = Some(age(stamp)));
        }
        if query.contains("window") {
            stream.write_all(&ACK).expect("it reads");
        }
        ages.extend(done);
        next += Duration::from_secs(2) / fps;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    // The first half fills the buffers.
    let mut ages = ages.split_off(ages.len() / 2);
    let rate = ages.len() as f64 / (seconds.as_secs_f64() / 2.0);
    ages.sort_unstable();
    say(&format!(
        "{} {rate}",
        ages[(ages.len() - 1) * 95 / 100].as_micros()
    ));
    wait_for_end_of_input();
}

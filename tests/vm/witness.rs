//! Somebody who watches the one stream while the other one fails, and vouches that nothing of it was missing, but for single
//! frames that the camera's driver itself skipped and the program told: the emulated processor was late.

use crate::program::Program;
use crate::viewer::{Body, Packet, Viewer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// By stamps, from one packet to the next: pictures come ten times a second or more often, sound fifty times.
const LONGEST_PAUSE_NS: i64 = 1_000_000_000;
/// Without a packet for so long, the pause is told at once and not at the end.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Video,
    Audio,
}

pub struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What was seen without a break.
#[derive(Default)]
struct Seen {
    packets: u32,
    /// Frames that the driver skipped, all told.
    skipped: u32,
    told: u32,
    longest_pause_ns: i64,
    last: Option<Packet>,
}

impl Witness {
    /// Returns when the stream flows.
    pub fn of(program: &Program, stream: Stream) -> Self {
        let other = if stream == Stream::Video {
            "audio=0"
        } else {
            "video=0"
        };
        let mut viewer = Viewer::connect(
            program.port,
            &format!("format=binary&delivery=all&events=1&{other}"),
        );
        let mut seen = Seen::default();
        seen.take(viewer.next_within(PATIENCE).expect("the stream flows"));
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                let packet = viewer.next_within(PATIENCE);
                seen.take(packet.unwrap_or_else(|| panic!("nothing came for {PATIENCE:?}")));
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends it; panics with what was missing, if anything was. A line for the figures.
    pub fn nothing_was_missing(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(Seen {
                packets,
                skipped,
                longest_pause_ns,
                ..
            }) => {
                format!(
                    "{packets} packets, at most {} ms apart; {skipped} skipped by the driver",
                    longest_pause_ns / 1_000_000
                )
            }
            Err(missing) => std::panic::resume_unwind(missing),
        }
    }
}

impl Seen {
    fn take(&mut self, packet: Packet) {
        if let Body::Event(event) = &packet.body {
            assert_eq!(
                (&event["event"], &event["cause"]),
                (&"gap".into(), &"driver".into()),
                "{event}"
            );
            self.told = event["count"]
                .as_u64()
                .and_then(|n| n.try_into().ok())
                .expect("a driver's gap is counted");
            self.skipped += self.told;
            return;
        }
        if let Some(last) = &self.last {
            let expected = last.sequence.map(|n| n.wrapping_add(1 + self.told));
            assert_eq!(packet.sequence, expected, "numbered = arrived + told");
            let pause = packet.stamp_ns - last.stamp_ns;
            assert!(
                (1..LONGEST_PAUSE_NS).contains(&pause),
                "{pause} ns from one stamp to the next"
            );
            self.longest_pause_ns = self.longest_pause_ns.max(pause);
        }
        self.told = 0;
        self.packets += 1;
        self.last = Some(packet);
    }
}

//! Continuity monitor: a viewer of one stream, in its own thread, while a test makes the other
//! stream fail. The only gaps that it accepts are frames that the camera's driver skipped and the
//! program reported: the emulated processor was late.

use crate::program::Program;
use crate::viewer::{Body, Packet, Viewer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// From one timestamp to the next. Video has at least 10 frames per second, audio 50 packets.
const LONGEST_PAUSE_NS: i64 = 1_000_000_000;
/// A pause this long fails at once, not only when the next packet comes.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Video,
    Audio,
}

/// Checks one stream until [`ContinuityMonitor::finish`].
pub struct ContinuityMonitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What was received so far, all of it continuous.
#[derive(Default)]
struct Seen {
    packets: u32,
    /// All frames that the driver skipped.
    skipped: u32,
    /// Of them, those reported since the last packet.
    reported: u32,
    longest_pause_ns: i64,
    last: Option<Packet>,
}

impl ContinuityMonitor {
    /// Returns after the first packet, for which it waits as long as for any device: the stream may
    /// just be starting, on a busy host for longer than a pause may last later.
    pub fn start(program: &Program, stream: Stream) -> Self {
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
        // What happened before is reported by events, and is not checked.
        let is_packet = |packet: &Packet| !matches!(packet.body, Body::Event(_));
        seen.take(viewer.wait("first packet", |packet| Some(packet).filter(is_packet)));
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                let packet = viewer.next_within(LONGEST_WAIT);
                seen.take(packet.unwrap_or_else(|| panic!("nothing came for {LONGEST_WAIT:?}")));
            }
            seen
        });
        Self { stop, thread }
    }

    /// Stops, and returns a line for the figures.
    ///
    /// # Panics
    /// When anything was missing.
    pub fn finish(self) -> String {
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
            self.reported = event["count"]
                .as_u64()
                .and_then(|n| n.try_into().ok())
                .expect("a driver's gap is counted");
            self.skipped += self.reported;
            return;
        }
        if let Some(last) = &self.last {
            let expected = last.sequence.map(|n| n.wrapping_add(1 + self.reported));
            assert_eq!(packet.sequence, expected, "numbered = received + reported");
            let pause = packet.stamp_ns - last.stamp_ns;
            assert!(
                (1..LONGEST_PAUSE_NS).contains(&pause),
                "{pause} ns from one stamp to the next"
            );
            self.longest_pause_ns = self.longest_pause_ns.max(pause);
        }
        self.reported = 0;
        self.packets += 1;
        self.last = Some(packet);
    }
}

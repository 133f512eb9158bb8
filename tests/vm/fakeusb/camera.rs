//! A camera of USB Video Class 1.0 on a bulk endpoint: MJPEG and YUYV, 640x480 and 1280x720, 30, 15
//! and 10 frames per second. Numbers in brackets are sections of "USB Device Class Definition for
//! Video Devices", 1.0a.

use crate::descriptors::{self, descriptor};
use crate::usbip::{Link, Submit};
use crate::{Answer, Function, Mode, Setup};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

const CLASS_VIDEO: u8 = 0x0e;
const STREAMING_INTERFACE: u8 = 1;
const SIZES: [(u16, u16); 2] = [(640, 480), (1280, 720)];
/// Frame intervals in units of 100 ns.
const INTERVALS: [u32; 3] = [333_333, 666_666, 1_000_000];
const DEFAULT_INTERVAL: u32 = INTERVALS[1];
const PAYLOAD_BYTES: usize = 16_384;
const MJPEG: u8 = 1;
/// The damaging modes damage one frame in this many.
const DAMAGE_EVERY: usize = 5;
/// A host that did not ask for so long gets the next frame now, not all that it missed.
const CATCH_UP: Duration = Duration::from_millis(300);

/// What the host chose in probe and commit (4.3.1.1): indices count from 1, as in the descriptors.
#[derive(Clone, Copy)]
struct Choice {
    format: u8,
    frame: u8,
    interval: u32,
}

pub struct Camera {
    jpegs: Vec<Vec<u8>>,
    choice: Choice,
    /// Frames finished so far.
    count: usize,
    /// The frame on its way and how much of it has left.
    frame: Vec<u8>,
    sent: usize,
    /// When the next frame begins.
    due: Instant,
    /// Toggles with each frame (2.4.3.2.2, FID).
    frame_id: u8,
}

impl Camera {
    pub fn new(jpegs: Vec<Vec<u8>>) -> Self {
        Self {
            jpegs,
            choice: Choice {
                format: 1,
                frame: 1,
                interval: DEFAULT_INTERVAL,
            },
            count: 0,
            frame: Vec::new(),
            sent: 0,
            due: Instant::now(),
            frame_id: 0,
        }
    }

    fn size(&self) -> (u16, u16) {
        SIZES[usize::from(self.choice.frame) - 1]
    }

    fn damaged(&self, mode: Mode) -> bool {
        matches!(mode, Mode::Corrupt | Mode::Truncate) && self.count.is_multiple_of(DAMAGE_EVERY)
    }

    /// Frame `count`: the JPEG files in turn, or a grey that grows lighter by 4 each time.
    fn next_frame(&self, mode: Mode) -> Vec<u8> {
        let (width, height) = self.size();
        let mut frame = if self.choice.format == MJPEG && !self.jpegs.is_empty() {
            self.jpegs[self.count % self.jpegs.len()].clone()
        } else {
            [(self.count * 4) as u8, 128].repeat(usize::from(width) * usize::from(height))
        };
        if self.damaged(mode) {
            frame.truncate(frame.len() / 2);
        }
        frame
    }

    /// The probe and commit block (4.3.1.1), 26 bytes.
    fn probe_block(&self) -> Vec<u8> {
        let (width, height) = self.size();
        let mut block = vec![1, 0, self.choice.format, self.choice.frame];
        block.extend(self.choice.interval.to_le_bytes());
        block.resize(18, 0);
        block.extend((u32::from(width) * u32::from(height) * 2).to_le_bytes());
        block.extend((PAYLOAD_BYTES as u32).to_le_bytes());
        block
    }

    fn choose(&mut self, block: &[u8]) {
        if let [_, _, format, frame, a, b, c, d, ..] = *block {
            let asked = u32::from_le_bytes([a, b, c, d]);
            let nearest = INTERVALS.into_iter().min_by_key(|i| i.abs_diff(asked));
            self.choice = Choice {
                format: format.clamp(1, 2),
                frame: frame.clamp(1, SIZES.len() as u8),
                interval: nearest.unwrap_or(DEFAULT_INTERVAL),
            };
        }
    }
}

impl Function for Camera {
    fn device_descriptor(&self) -> Vec<u8> {
        // Miscellaneous class with an interface association. Not a real camera's numbers: Linux has
        // quirks for those (a C920's adds 2 s to plugging in); these are pid.codes' for tests.
        descriptors::device([0xef, 2, 1], 0x1209, 0x0001)
    }

    fn product(&self) -> &'static str {
        "Fake Camera"
    }

    fn configuration(&self) -> Vec<u8> {
        let association = descriptor(&[&[0x0b, 0, 2, CLASS_VIDEO, 3, 0, 2]]);
        descriptors::configuration(&[
            association,
            descriptors::interface(0, 0, 0, [CLASS_VIDEO, 1]),
            control_descriptors(),
            descriptors::interface(STREAMING_INTERFACE, 0, 1, [CLASS_VIDEO, 2]),
            streaming_descriptors(),
            descriptor(&[&[5, 0x81, 2], &512u16.to_le_bytes(), &[0]]), // bulk, to the host
        ])
    }

    fn control(&mut self, setup: Setup, data: &[u8]) -> Answer {
        const SET_CUR: u8 = 0x01;
        const GET_LEN: u8 = 0x85;
        const GET_INFO: u8 = 0x86;
        const COMMIT: u16 = 2;
        let selector = setup.value >> 8; // 1: probe, 2: commit
        if setup.index != u16::from(STREAMING_INTERFACE) || !(1..=COMMIT).contains(&selector) {
            return Answer::Refused;
        }
        match (setup.request_type, setup.request) {
            (0x21, SET_CUR) => {
                self.choose(data);
                if selector == COMMIT {
                    self.frame.clear();
                    self.sent = 0;
                    self.due = Instant::now();
                }
                Answer::Accepted
            }
            (0xa1, GET_LEN) => Answer::Data(vec![26, 0]),
            (0xa1, GET_INFO) => Answer::Data(vec![3]),
            (0xa1, _) => Answer::Data(self.probe_block()),
            _ => Answer::Refused,
        }
    }

    /// Each transfer carries one payload: a two-byte header (2.4.3.2.2) and a piece of the frame.
    fn deliver(
        &mut self,
        mode: Mode,
        transfers: &mut VecDeque<Submit>,
        link: &mut Link,
    ) -> io::Result<Duration> {
        const LAST: u8 = 0x02;
        const ERROR: u8 = 0x40;
        const END_OF_HEADER: u8 = 0x80;
        if transfers.is_empty() || mode == Mode::Stall {
            return Ok(Duration::MAX);
        }
        if self.sent >= self.frame.len() {
            let now = Instant::now();
            if self.due + CATCH_UP < now {
                self.due = now;
            }
            if now < self.due {
                return Ok(self.due - now);
            }
            self.due += Duration::from_nanos(u64::from(self.choice.interval) * 100);
            self.frame = self.next_frame(mode);
            self.sent = 0;
        }
        while self.sent < self.frame.len() {
            let Some(transfer) = transfers.pop_front() else {
                break;
            };
            let rest = &self.frame[self.sent..];
            let piece = &rest[..rest.len().min(transfer.length.min(PAYLOAD_BYTES) - 2)];
            let last = piece.len() == rest.len();
            let mut flags = END_OF_HEADER | self.frame_id;
            if last {
                flags |= LAST;
            }
            if last && mode == Mode::Corrupt && self.damaged(mode) {
                flags |= ERROR;
            }
            link.deliver(&transfer, &[&[2, flags], piece].concat())?;
            self.sent += piece.len();
            if last {
                self.frame_id ^= 1;
                self.count += 1;
            }
        }
        Ok(Duration::ZERO)
    }
}

/// The control interface (3.7): a camera terminal wired to a streaming terminal, no controls.
fn control_descriptors() -> Vec<u8> {
    let mut terminals = descriptor(&[&[0x24, 2, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]]);
    terminals.extend(descriptor(&[&[0x24, 3, 2, 0x01, 0x01, 0, 1, 0]]));
    let header_bytes = 13;
    let total = (header_bytes + terminals.len()) as u16;
    let clock_hz = 48_000_000u32;
    let mut bytes = descriptor(&[
        &[0x24, 1, 0x00, 0x01],
        &total.to_le_bytes(),
        &clock_hz.to_le_bytes(),
        &[1, STREAMING_INTERFACE],
    ]);
    bytes.extend(terminals);
    bytes
}

/// The streaming interface (3.9): format 1 is MJPEG, format 2 is YUY2, both in all sizes and
/// intervals.
fn streaming_descriptors() -> Vec<u8> {
    const YUY2: [u8; 16] = *b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";
    let sizes = SIZES.len() as u8;
    let colour = descriptor(&[&[0x24, 0x0d, 1, 1, 4]]);
    let mut formats = descriptor(&[&[0x24, 6, MJPEG, sizes, 1, 1, 0, 0, 0, 0]]);
    formats.extend(frame_descriptors(7));
    formats.extend(&colour);
    formats.extend(descriptor(&[
        &[0x24, 4, 2, sizes],
        &YUY2,
        &[16, 1, 0, 0, 0, 0],
    ]));
    formats.extend(frame_descriptors(5));
    formats.extend(&colour);

    let header_bytes = 15;
    let total = (header_bytes + formats.len()) as u16;
    let mut bytes = descriptor(&[
        &[0x24, 1, 2],
        &total.to_le_bytes(),
        &[0x81, 0, 2, 0, 0, 0, 1, 0, 0],
    ]);
    bytes.extend(formats);
    bytes
}

fn frame_descriptors(subtype: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, (width, height)) in (1u8..).zip(SIZES) {
        let pixels = u32::from(width) * u32::from(height);
        let intervals: Vec<u8> = INTERVALS.into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.extend(descriptor(&[
            &[0x24, subtype, index, 0],
            &width.to_le_bytes(),
            &height.to_le_bytes(),
            &(pixels * 16).to_le_bytes(),  // least bit rate
            &(pixels * 480).to_le_bytes(), // greatest bit rate
            &(pixels * 2).to_le_bytes(),   // largest frame
            &DEFAULT_INTERVAL.to_le_bytes(),
            &[INTERVALS.len() as u8],
            &intervals,
        ]));
    }
    bytes
}

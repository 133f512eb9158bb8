//! The tracks of a camera in the loop and in threads, with rings and without a device.

use super::*;
use crate::ipc::ring::{RingLimits, RingReader, SharedRing};
use crate::media::PacketMeta;
use crate::media::frame::PixelFormat;
#[cfg(feature = "turbojpeg")]
use crate::source::test_pattern::TestSource;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const FRAME_NS: u64 = 33_333_333;

struct Rig {
    stream: VideoStream,
    readers: [RingReader; 2],
    frames: u64,
    _rings: [SharedRing; 2],
}

impl Rig {
    fn new(width: u32, height: u32) -> Self {
        let config = VideoConfig {
            width,
            height,
            capture_width: width,
            capture_height: height,
            fps: 30.0,
            ..VideoConfig::default()
        };
        let limits = RingLimits {
            packets: 1000,
            bytes: 64 << 20,
        };
        let encodings = [Encoding::Jpeg, Encoding::H264];
        let rings = encodings.map(|e| SharedRing::create(e.name(), limits).expect("memory"));
        let readers = rings.each_ref().map(SharedRing::reader);
        let publisher = |(&encoding, ring): (&Encoding, &SharedRing)| {
            RingPublisher::new(encoding, ring.writer(), 1, 0)
        };
        let publishers = encodings.iter().zip(&rings).map(publisher).collect();
        Self {
            stream: VideoStream::new(&config, publishers),
            readers,
            frames: 0,
            _rings: rings,
        }
    }

    fn want(&self, jpeg: bool, h264: bool) {
        self.readers[0].set_demand(jpeg);
        self.readers[1].set_demand(h264);
    }

    /// A frame of the size, with some detail.
    fn feed(&mut self, missed: u32) {
        let (width, height) = (self.stream.config.width, self.stream.config.height);
        let bytes = (width * height * 3 / 2) as usize;
        let data: Vec<u8> = (0..bytes)
            .map(|i| (i * 7 + self.frames as usize) as u8)
            .collect();
        self.frames += 1 + u64::from(missed);
        let frame = RawFrame {
            format: PixelFormat::I420,
            width,
            height,
            stride: width as usize,
            data: &data,
            full_range: true,
            capture_time: MonoNs(1_000_000_000 + self.frames * FRAME_NS),
            missed,
        };
        assert!(self.stream.accept(Capture::Frame(frame)));
    }

    fn threads(&self) -> usize {
        let is_thread = |track: &&Track| matches!(track.place, Place::Thread(_));
        self.stream.tracks.iter().filter(is_thread).count()
    }

    fn packets(&mut self, of: usize) -> Vec<PacketMeta> {
        let reader = &mut self.readers[of];
        let mut payload = Vec::new();
        std::iter::from_fn(|| reader.pop(&mut payload).expect("in order")).collect()
    }
}

/// Every frame has a packet or is counted: the last number is that of the last frame.
fn check_complete(packets: &[PacketMeta], frames: u64) {
    let last = packets.last().expect("packets");
    let lost = |of: &PacketMeta| u64::from(of.losses.encoder) + u64::from(of.losses.driver);
    assert_eq!(packets.len() as u64 + lost(last), last.sequence + 1);
    assert_eq!(last.sequence + 1, frames, "{last:?}");
    for pair in packets.windows(2) {
        let skipped = pair[1].sequence - pair[0].sequence - 1;
        assert_eq!(skipped, lost(&pair[1]) - lost(&pair[0]), "{pair:?}");
        assert!(pair[1].capture_time > pair[0].capture_time);
    }
}

#[test]
fn video_one_track_is_encoded_by_the_loop_and_two_by_threads() {
    let mut rig = Rig::new(320, 240);
    rig.want(true, false);
    (0..5).for_each(|_| rig.feed(0));
    assert_eq!((rig.threads(), rig.packets(0).len()), (0, 5));
    rig.want(true, true);
    (0..5).for_each(|_| rig.feed(0));
    assert_eq!(rig.threads(), 2);
    rig.want(true, false);
    rig.feed(0);
    assert_eq!(rig.threads(), 2, "they are kept for a while");
    (0..70).for_each(|_| rig.feed(0));
    assert_eq!(rig.threads(), 0);
    assert!(rig.stream.copies.0.is_empty());
    let jpeg = rig.packets(0);
    assert_eq!(jpeg.last().expect("packets").sequence, 80);
}

#[test]
fn video_busy_encoder_loses_frames_with_cause_encoder_and_delays_no_other() {
    let mut rig = Rig::new(640, 480);
    rig.want(true, true);
    // Far faster than either encoder.
    for n in 0..200 {
        rig.feed(if n == 100 { 3 } else { 0 });
    }
    rig.stream.source_lost();
    assert_eq!(rig.threads(), 0);
    rig.feed(0);
    rig.stream.move_to_loop();
    for of in [0, 1] {
        let packets = rig.packets(of);
        let last = packets.last().expect("packets");
        assert!(last.losses.encoder > 0, "{last:?}");
        assert_eq!(last.losses.driver, 3, "{last:?}");
        assert_eq!(last.losses.source_away, 1);
        check_complete(&packets, 204);
    }
    let sequences: Vec<u64> = rig.stream.next_sequences().map(|(_, next)| next).collect();
    assert_eq!(sequences, [204, 204]);
}

#[test]
fn video_track_without_readers_misses_nothing() {
    let mut rig = Rig::new(320, 240);
    rig.want(true, true);
    (0..3).for_each(|_| rig.feed(0));
    rig.want(true, false);
    (0..3).for_each(|_| rig.feed(2));
    rig.want(true, true);
    rig.feed(0);
    rig.stream.source_lost();
    let h264 = rig.packets(1);
    let last = h264.last().expect("packets");
    assert_eq!((last.losses.driver, last.losses.corrupt), (0, 0));
    assert_eq!(
        last.sequence + 1,
        h264.len() as u64 + u64::from(last.losses.encoder)
    );
    assert!(h264.len() <= 4 && last.keyframe, "the encoder was reset");
}

#[test]
fn video_corrupt_frame_is_counted_before_the_next_packet() {
    let mut rig = Rig::new(320, 240);
    for h264 in [false, true] {
        rig.want(true, h264);
        rig.feed(0);
        rig.frames += 1;
        let corrupt = Capture::Corrupt {
            capture_time: MonoNs(1_000_000_000 + rig.frames * FRAME_NS),
            missed: 0,
            why: "cut short".into(),
        };
        assert!(!rig.stream.accept(corrupt));
        rig.feed(0);
    }
    rig.stream.source_lost();
    let last = *rig.packets(0).last().expect("packets");
    assert_eq!(last.losses.corrupt, 2);
    assert_eq!(last.sequence, 5);
}

#[test]
fn video_finish_publishes_or_counts_every_frame_captured_before() {
    let mut rig = Rig::new(640, 480);
    rig.want(true, true);
    (0..20).for_each(|_| rig.feed(0));
    rig.stream.finish();
    assert_eq!(rig.threads(), 0, "they were joined");
    let sequences: Vec<u64> = rig.stream.next_sequences().map(|(_, next)| next).collect();
    assert_eq!(sequences, [20, 20]);
    for of in [0, 1] {
        let packets = rig.packets(of);
        let last = packets.last().expect("packets");
        assert_eq!(
            last.sequence, 19,
            "the newest frame is the one that was queued"
        );
        check_complete(&packets, 20);
    }
}

static REFUSED: AtomicU32 = AtomicU32::new(0);

#[test]
fn video_refused_thread_is_asked_for_every_5_s_and_the_loop_encodes() {
    let mut rig = Rig::new(64, 48);
    rig.stream.spawn = |_, track| {
        REFUSED.fetch_add(1, Relaxed);
        Err((track, io::ErrorKind::WouldBlock.into()))
    };
    rig.want(true, true);
    // 10 s at 30 frames per second, for each of the two tracks.
    (0..300).for_each(|_| rig.feed(0));
    assert_eq!((rig.threads(), REFUSED.load(Relaxed)), (0, 4));
    assert_eq!(rig.packets(0).len(), 300);
    assert_eq!(rig.packets(1).len(), 300);
}

#[cfg(feature = "turbojpeg")]
#[test]
fn video_settings_without_a_pipeline_are_unsupported_when_the_source_begins() {
    let mut rig = Rig::new(320, 240);
    // libjpeg-turbo refuses it. The options do not allow it.
    rig.stream.config.quality = 0;
    let source = TestSource::open(320, 240, 30.0).expect("a valid size");
    match rig.stream.begin(&source) {
        Err(SourceError::Unsupported { device, .. }) => assert_eq!(device, "test pattern"),
        other => panic!("{other:?}"),
    }
}

/// Any image of 64x48 pixels, which then claims to be larger.
fn jpeg_claiming(width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 50)
        .encode(&[128; 64 * 48], 64, 48, jpeg_encoder::ColorType::Luma)
        .expect("it encodes");
    let header = jpeg
        .windows(2)
        .position(|marker| marker == [0xff, 0xc0])
        .expect("a frame header");
    jpeg[header + 5..header + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[header + 7..header + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

#[test]
fn video_jpeg_many_times_the_size_that_was_set_is_corrupt_for_every_track() {
    let mut rig = Rig::new(64, 48);
    rig.want(true, true);
    for (n, (width, height)) in [(64, 48), (8_191, 8_191), (64, 48)].into_iter().enumerate() {
        let data = jpeg_claiming(width, height);
        let frame = RawFrame {
            format: PixelFormat::Mjpeg,
            width: width.into(),
            height: height.into(),
            stride: 0,
            data: &data,
            full_range: true,
            capture_time: MonoNs(1_000_000_000 + n as u64 * FRAME_NS),
            missed: 0,
        };
        assert!(rig.stream.accept(Capture::Frame(frame)));
        // Threads: the queue has room for one frame.
        rig.stream.move_to_loop();
    }
    for of in [0, 1] {
        let packets = rig.packets(of);
        let lost: Vec<u32> = packets.iter().map(|p| p.losses.corrupt).collect();
        assert_eq!(lost, [0, 1], "track {of}");
        assert_eq!(packets[1].sequence, 2);
    }
}

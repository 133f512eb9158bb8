//! The test pattern as its readers see it: at its instants, readable after JPEG and scaling, as
//! large as a real scene.

use super::*;
use proptest::prelude::*;

const OFFSET: i64 = 1_795_000_000_123_456_789;

fn source_at(width: u32, height: u32, number: u64) -> TestSource {
    let mut source = TestSource::open(width, height, 15.0).unwrap();
    source.clock_offset_ns = OFFSET;
    source.draw(number);
    source
}

/// The time in the time code of frame `number`.
fn expected(source: &TestSource, number: u64) -> UnixNs {
    UnixNs((source.grid.instant(number).0 + OFFSET as u64) / 1_000 * 1_000)
}

#[cfg(feature = "turbojpeg")]
fn halved(luma: &[u8], width: usize, height: usize, stride: usize) -> Vec<u8> {
    let at = |x: usize, y: usize| u32::from(luma[y * stride + x]);
    (0..height / 2)
        .flat_map(|y| (0..width / 2).map(move |x| (x * 2, y * 2)))
        .map(|(x, y)| ((at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4) as u8)
        .collect()
}

#[cfg(feature = "turbojpeg")]
fn jpeg(source: &TestSource, quality: i32) -> Vec<u8> {
    let mut c = turbojpeg::Compressor::new().unwrap();
    c.set_quality(quality).unwrap();
    let image = turbojpeg::YuvImage {
        pixels: &source.data[..],
        width: source.width as usize,
        align: 1,
        height: source.height as usize,
        subsamp: turbojpeg::Subsamp::Sub2x2,
    };
    c.compress_yuv_to_vec(image).unwrap()
}

#[cfg(feature = "turbojpeg")]
fn luma_of(jpeg: &[u8]) -> (Vec<u8>, usize, usize) {
    let i = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::GRAY).unwrap();
    assert_eq!(i.pitch, i.width);
    (i.pixels, i.width, i.height)
}

#[cfg(feature = "turbojpeg")]
#[test]
fn timecode_after_jpeg_quality_30_and_scaling_by_half_is_read() {
    for (w, h) in [
        (320, 240),
        (640, 480),
        (1280, 720),
        (1920, 1080),
        (642, 362),
    ] {
        for n in (0..2_000_000).step_by(77_777) {
            let source = source_at(w, h, n);
            let (luma, w, h) = luma_of(&jpeg(&source, 30));
            assert_eq!(
                timecode::read(&luma, w as u32, h as u32, w),
                Some(expected(&source, n)),
                "{w}x{h} frame {n}"
            );
            let half = halved(&luma, w, h, w);
            let read = timecode::read(&half, w as u32 / 2, h as u32 / 2, w / 2);
            assert_eq!(
                read,
                Some(expected(&source, n)),
                "{w}x{h} frame {n}, halved"
            );
        }
    }
}

#[cfg(feature = "turbojpeg")]
#[test]
fn timecode_after_jpeg_at_its_smallest_size_is_read() {
    assert!(!timecode::fits(79, 96) && !timecode::fits(80, 95));
    for n in (0..2_000_000).step_by(7_777) {
        let source = source_at(80, 96, n);
        let (luma, w, h) = luma_of(&jpeg(&source, 70));
        assert_eq!(
            timecode::read(&luma, w as u32, h as u32, w),
            Some(expected(&source, n)),
            "frame {n}"
        );
    }
}

#[cfg(feature = "turbojpeg")]
#[test]
fn test_source_vga_at_quality_70_is_as_large_as_a_real_scene() {
    for n in (0..3_000).step_by(97) {
        let bytes = jpeg(&source_at(640, 480, n), 70).len();
        assert!((30_000..=60_000).contains(&bytes), "{bytes} bytes");
    }
}

#[test]
fn test_source_all_sizes_are_drawn() {
    for (w, h) in [
        (1, 1),
        (2, 2),
        (3, 5),
        (16, 16),
        (64, 48),
        (65, 49),
        (128, 96),
        (333, 333),
        (640, 480),
        (1920, 1080),
    ] {
        let source = source_at(w, h, 12_345);
        assert_eq!(
            source.data.len(),
            source.stride * h as usize + source.stride / 2 * (h as usize).div_ceil(2) * 2
        );
        let read = timecode::read(&source.data, w, h, source.stride);
        assert_eq!(
            read,
            timecode::fits(w, h).then(|| expected(&source, 12_345)),
            "{w}x{h}"
        );
    }
}

#[test]
fn test_source_invalid_settings_are_refused() {
    for (w, h, fps) in [
        (0, 480, 15.0),
        (640, 0, 15.0),
        (9_000, 480, 15.0),
        (640, 480, 0.0),
        (640, 480, f64::NAN),
        (640, 480, -1.0),
        (640, 480, f64::INFINITY),
        (640, 480, 1e-9),
    ] {
        assert!(
            matches!(
                TestSource::open(w, h, fps),
                Err(SourceError::Unsupported { .. })
            ),
            "{w}x{h} {fps}"
        );
    }
}

#[test]
fn test_source_flash_is_white_for_the_first_tenth_of_each_second() {
    let flash = Rect::of(test_pattern::FLASH, 640, 480);
    for n in 0..45 {
        let source = source_at(640, 480, n);
        let on = source.grid.instant(n).0 % 1_000_000_000 < 100_000_000;
        assert_eq!(on, n % 15 < 2);
        for y in flash.top..flash.bottom {
            let row = &source.data[y * source.stride + flash.left..y * source.stride + flash.right];
            assert!(row.iter().all(|&p| p == if on { 255 } else { 0 }));
        }
    }
}

#[test]
fn test_source_without_clock_offset_draws_no_time() {
    let mut source = TestSource::open(640, 480, 15.0).unwrap();
    source.draw(99);
    assert_eq!(timecode::read(&source.data, 640, 480, 640), None);
}

#[test]
fn test_source_texture_moves() {
    let luma = |n| source_at(640, 480, n).data[480 * 620..480 * 640].to_vec();
    assert_ne!(luma(20), luma(21));
}

#[test]
fn test_source_frames_come_at_their_instants_in_order() {
    let mut source = TestSource::open(64, 48, 200.0).unwrap();
    let (mut last, mut in_time) = (source.next - 1, 0);
    // On a loaded machine frames are lost here and there.
    while in_time < 20 {
        let Capture::Frame(f) = source.next_frame(Duration::from_secs(1)).unwrap() else {
            panic!("no frame")
        };
        let (at, missed) = (f.capture_time, f.missed);
        assert!(MonoNs::now() >= at, "handed over before its instant");
        assert_eq!(at.0 % 5_000_000, 0);
        assert_eq!(at.0 / 5_000_000, last + 1 + u64::from(missed));
        last = at.0 / 5_000_000;
        in_time += u32::from(missed == 0);
    }
}

#[test]
fn test_source_late_caller_gets_the_missed_count() {
    let mut source = TestSource::open(64, 48, 100.0).unwrap();
    let before = source.next;
    while source.grid.newest(MonoNs::now()) < before + 5 {
        std::thread::yield_now();
    }
    let Capture::Frame(f) = source.next_frame(Duration::from_secs(1)).unwrap() else {
        panic!("no frame")
    };
    assert!(f.missed >= 5);
    assert_eq!(
        f.capture_time.0,
        (before + u64::from(f.missed)) * 10_000_000
    );
}

#[test]
fn test_source_wait_ends_at_the_timeout() {
    let mut source = TestSource::open(64, 48, 0.001).unwrap();
    let at = MonoNs::now();
    assert!(matches!(
        source.next_frame(Duration::from_millis(20)).unwrap(),
        Capture::TimedOut
    ));
    assert!(MonoNs::now().since(at) >= Duration::from_millis(20));
}

proptest! {
    #[test]
    fn grid_newest_inverts_instant(fps in 0.01f64..1_000.0, seconds in 0u64..100_000_000, more in 0u64..10_000) {
        let grid = Grid::new(fps).unwrap();
        let n = (seconds as f64 * fps) as u64 + more;
        let at = grid.instant(n);
        prop_assert_eq!(grid.newest(at), n);
        if n > 0 {
            prop_assert_eq!(grid.newest(MonoNs(at.0 - 1)), n - 1);
        }
    }
}

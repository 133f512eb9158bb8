//! The rpicam source against a stand-in for rpicam-vid (`tests/standin`): pairing, losses,
//! failures.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stampcast::config::{Flip, Rotate, VideoConfig};
use stampcast::media::frame::PixelFormat;
use stampcast::media::{MonoNs, Shape};
use stampcast::source::rpicam::RpiSource;
use stampcast::source::{Capture, Source, SourceError, VideoSource};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any wait of the source, for busy machines.
const PATIENCE: Duration = Duration::from_secs(30);

fn video(fps: f64) -> VideoConfig {
    VideoConfig {
        fps,
        ..VideoConfig::default()
    }
}

/// A stand-in with faults, and what it logs.
struct Standin {
    faults: String,
    folder: TempDir,
}

impl Standin {
    fn new(faults: &str) -> Self {
        Self {
            faults: faults.into(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self) -> Vec<OsString> {
        let set = |name: &str, value: &Path| {
            let mut s = OsString::from(format!("{name}="));
            s.push(value);
            s
        };
        let standin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin/rpicam-vid");
        vec![
            "env".into(),
            set("STANDIN_FAULT", Path::new(&self.faults)),
            set("STANDIN_LOG", &self.log_path()),
            standin.into(),
        ]
    }

    fn open(&self, video: &VideoConfig) -> Result<RpiSource, SourceError> {
        RpiSource::open_with(&[vec!["no-such-program".into()], self.command()], video)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Waits for the first logged line of that kind.
    fn logged(&self, kind: &str) -> String {
        logged(&self.log_path(), kind)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.logged("pid").parse().unwrap())
    }
}

fn logged(path: &Path, kind: &str) -> String {
    until(&format!("{kind} in the log"), || {
        let log = std::fs::read_to_string(path).unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole
            .lines()
            .find_map(|l| l.strip_prefix(kind))
            .map(|l| l.trim().to_owned())
    })
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_gone(pid: Pid) -> bool {
    // A zombie of another parent has ended, too.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}

/// A frame's identity.
#[derive(Debug, Clone, Copy)]
struct Seen {
    capture_time: MonoNs,
    missed: u32,
    len: usize,
}

/// The next frame, with the checks that apply to every frame.
fn frame(source: &mut RpiSource) -> Result<Seen, SourceError> {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "no frame and no error");
        match source.next_frame(Duration::from_millis(200))? {
            Capture::Frame(f) => {
                assert_eq!(
                    (f.format, f.width, f.height, f.stride),
                    (PixelFormat::Mjpeg, 640, 480, 0)
                );
                assert!(f.data.starts_with(&[0xff, 0xd8]) && f.data.ends_with(&[0xff, 0xd9]));
                assert!(f.capture_time <= MonoNs::now());
                assert_eq!(f.capture_time.0 % 1_000, 0);
                return Ok(Seen {
                    capture_time: f.capture_time,
                    missed: f.missed,
                    len: f.data.len(),
                });
            }
            Capture::TimedOut => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Frames up to the error, which is returned as text.
fn error_after(source: Result<RpiSource, SourceError>, frames: usize) -> String {
    let mut source = match source {
        Ok(source) => source,
        Err(e) => {
            assert_eq!(frames, 0, "{e}");
            return e.to_string();
        }
    };
    for n in 0..frames {
        frame(&mut source).unwrap_or_else(|e| panic!("frame {n}: {e}"));
    }
    let text = frame(&mut source).expect_err("no error").to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

const LENGTHS: [usize; 5] = [18_656, 15_491, 18_698, 15_517, 18_712];

fn stays_in_step(faults: &str, frames: usize) {
    let standin = Standin::new(faults);
    let mut source = standin.open(&video(100.0)).unwrap();
    let mut last: Option<Seen> = None;
    let mut pairs = Vec::new();
    for n in 0..frames {
        let seen = frame(&mut source).unwrap();
        assert_eq!(seen.len, LENGTHS[n % 5], "picture {n}");
        pairs.push(format!("frame {} {}", seen.len, seen.capture_time.0));
        if let Some(last) = last {
            let steps = (seen.capture_time.0 - last.capture_time.0) / 10_000_000;
            assert_eq!(
                (seen.capture_time.0 - last.capture_time.0) % 10_000_000,
                0,
                "stamps lie on the sensor's grid"
            );
            assert_eq!(u64::from(seen.missed) + 1, steps, "frame {n}");
        }
        last = Some(seen);
    }
    drop(source);
    let log = std::fs::read_to_string(standin.log_path()).unwrap();
    let written: Vec<_> = log.lines().filter(|l| l.starts_with("frame")).collect();
    assert_eq!(pairs, written[..frames], "each picture has its own stamp");
}

#[test]
fn rpicam_frames_and_metadata_stay_paired() {
    stays_in_step("", 150);
}

#[test]
fn rpicam_small_writes_are_reassembled() {
    stays_in_step("split", 60);
}

#[test]
fn rpicam_long_stderr_does_not_block_the_camera() {
    stays_in_step("chatty", 60);
}

#[test]
fn rpicam_reader_pausing_keeps_pairs_and_counts_loss() {
    let standin = Standin::new("");
    let mut source = standin.open(&video(200.0)).unwrap();
    let first = frame(&mut source).unwrap();
    // Both pipes fill up: more frames than 64 KiB hold are made while nobody reads.
    let pause = first.capture_time + Duration::from_millis(300);
    until("end of the pause", || (MonoNs::now() > pause).then_some(()));
    let mut missed = 0;
    let mut last = first;
    for n in 1..40 {
        let seen = frame(&mut source).unwrap();
        assert_eq!(seen.len, LENGTHS[n % 5]);
        assert_eq!(
            (seen.capture_time.0 - last.capture_time.0) / 5_000_000,
            u64::from(seen.missed) + 1
        );
        missed += seen.missed;
        last = seen;
    }
    assert!(missed > 20, "{missed} frames missed");
}

#[test]
fn rpicam_frames_lost_by_the_sensor_are_counted() {
    let standin = Standin::new("gap:5");
    let mut source = standin.open(&video(20.0)).unwrap();
    let seen: Vec<_> = (0..8).map(|_| frame(&mut source).unwrap().missed).collect();
    assert!(seen[5] >= 3, "{seen:?}");
}

#[test]
fn rpicam_fault_is_reported_after_the_good_frames() {
    for (fault, good, text) in [
        ("no-stamp:6", 6, "SensorTimestamp"),
        ("same-stamp:6", 6, "do not grow"),
        ("junk:6", 6, "cannot be separated"),
        ("endless:6", 6, "cannot be separated"),
        ("exit:6", 6, "exit status: 7"),
        ("no-metadata", 0, "no metadata"),
        ("future", 0, "in the future"),
    ] {
        let standin = Standin::new(fault);
        let text_seen = error_after(standin.open(&video(50.0)), good);
        assert!(text_seen.contains(text), "{fault}: {text_seen}");
        assert!(
            text_seen.starts_with("the Raspberry Pi camera"),
            "{text_seen}"
        );
        until("end of the child", || is_gone(standin.pid()).then_some(()));
    }
}

#[test]
fn rpicam_loss_on_one_pipe_is_noticed_after_catching_up() {
    for (fault, text) in [
        ("no-record:6", "without its metadata record"),
        ("no-picture:6", "without its JPEG"),
    ] {
        let standin = Standin::new(fault);
        let mut source = standin.open(&video(20.0)).unwrap();
        let mut good = 0;
        let error = loop {
            match frame(&mut source) {
                Ok(_) => good += 1,
                Err(e) => break e.to_string(),
            }
            assert!(good < 100, "{fault}: never noticed");
        };
        assert!(
            good >= 6 && error.contains(text),
            "{fault}: {error} after {good} frames"
        );
    }
}

#[test]
fn rpicam_stalled_is_given_up_with_its_stderr() {
    let standin = Standin::new("stall:3");
    let mut source = standin.open(&video(50.0)).unwrap();
    for _ in 0..3 {
        frame(&mut source).unwrap();
    }
    let start = Instant::now();
    let text = frame(&mut source).expect_err("no error").to_string();
    assert!(
        text.contains("gave no frame for") && text.contains("Device timeout detected"),
        "{text}"
    );
    assert!(start.elapsed() >= Duration::from_millis(1_800));
}

#[test]
fn rpicam_startup_failure_is_quoted_at_once() {
    let refused = |faults: &str| match Standin::new(faults).open(&video(15.0)) {
        Ok(mut source) => frame(&mut source).expect_err("no error"),
        Err(e) => e,
    };
    let e = refused("no-cameras");
    assert!(
        matches!(e, SourceError::Missing { .. })
            && e.to_string()
                .contains("ERROR: *** no cameras available ***")
            && e.to_string()
                .contains(" --list-cameras shows what it finds"),
        "{e}"
    );
    let e = refused("not-available");
    assert!(
        matches!(e, SourceError::Missing { .. })
            && e.to_string()
                .contains("*** selected camera is not available ***"),
        "{e}"
    );
    let e = refused("busy");
    assert!(
        matches!(e, SourceError::Busy { .. })
            && e.to_string()
                .contains("Pipeline handler in use by another process"),
        "{e}"
    );
    let e = refused("old");
    let text = e.to_string();
    assert!(matches!(e, SourceError::Failed { .. }), "{text}");
    assert!(
        text.contains("exit status: 255") && text.contains("unrecognised option '--metadata'"),
        "{text}"
    );
}

#[test]
fn rpicam_missing_program_says_what_to_install() {
    let e = RpiSource::open_with(&[vec!["no-such-rpicam-vid".into()]], &video(15.0))
        .err()
        .unwrap();
    let text = e.to_string();
    assert!(
        text.contains("neither rpicam-vid nor libcamera-vid is installed"),
        "{text}"
    );
    assert!(
        text.contains("--camera-type usb") || text.contains("apt install"),
        "{text}"
    );
}

#[test]
fn rpicam_adjusted_size_is_the_reported_size() {
    let standin = Standin::new("");
    let asked = VideoConfig {
        capture_width: 333,
        capture_height: 333,
        ..video(50.0)
    };
    let mut source = standin.open(&asked).unwrap();
    frame(&mut source).unwrap();
    assert_eq!(
        source.info().shape,
        Shape::Video {
            width: 640,
            height: 480
        }
    );
    assert!(standin.logged("args").contains("--width 333 --height 333"));
}

#[test]
fn rpicam_settings_reach_the_camera() {
    let standin = Standin::new("");
    let asked = VideoConfig {
        rotate: Rotate::Half,
        flip: Flip::Vertical,
        quality: 33,
        controls: vec![
            ("shutter".into(), "5000us".into()),
            ("ev".into(), "-1".into()),
        ],
        ..video(12.5)
    };
    let source = standin.open(&asked).unwrap();
    let args = standin.logged("args");
    for part in [
        "--framerate 12.5",
        "--quality 33",
        "--hflip",
        "--shutter=5000us",
        "--ev=-1",
    ] {
        assert!(args.contains(part), "{part} in {args}");
    }
    assert!(!args.contains("--vflip"));
    let left = source.remaining(&asked);
    assert_eq!(
        (left.rotate, left.flip),
        (Rotate::None, Flip::None),
        "the camera turned and mirrored"
    );
    assert!(
        !left.quality_given,
        "the program encoded at the asked quality"
    );
}

#[test]
fn rpicam_unknown_control_is_refused_with_the_list() {
    let standin = Standin::new("");
    let asked = VideoConfig {
        controls: vec![("exposure_auto".into(), "1".into())],
        ..video(15.0)
    };
    let text = standin.open(&asked).err().unwrap().to_string();
    assert!(
        text.contains("exposure_auto") && text.contains("shutter"),
        "{text}"
    );
    assert!(!standin.log_path().exists(), "nothing was started");
}

#[test]
fn rpicam_source_dropped_stops_the_camera_by_sigint_and_reaps_it() {
    let standin = Standin::new("");
    let mut source = standin.open(&video(100.0)).unwrap();
    frame(&mut source).unwrap();
    let pid = standin.pid();
    drop(source);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "reaped");
    assert_eq!(standin.logged("end"), "SIGINT");
}

#[test]
fn rpicam_ignoring_sigint_is_killed_in_time() {
    let standin = Standin::new("deaf");
    let mut source = standin.open(&video(100.0)).unwrap();
    frame(&mut source).unwrap();
    let pid = standin.pid();
    let start = Instant::now();
    drop(source);
    let took = start.elapsed();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "reaped");
    // The child sleeps for ever, so the kill ends it; in time, plus what a loaded machine adds.
    assert!(
        took >= Duration::from_millis(500) && took < PATIENCE,
        "{took:?}"
    );
}

#[test]
fn rpicam_ended_by_others_is_reported_and_its_cut_frame_dropped() {
    let standin = Standin::new("");
    let mut source = standin.open(&video(50.0)).unwrap();
    frame(&mut source).unwrap();
    kill(standin.pid(), Signal::SIGTERM).unwrap();
    let text = loop {
        match frame(&mut source) {
            Ok(_) => {}
            Err(e) => break e.to_string(),
        }
    };
    assert!(text.contains("signal: 15"), "{text}");
}

/// Run again by itself as the parent that is killed, with the log's path in this variable.
const PARENT: &str = "STAMPCAST_TEST_PARENT";

#[test]
fn rpicam_killed_parent_takes_its_camera_along() {
    if let Some(folder) = std::env::var_os(PARENT) {
        // A camera that writes nothing does not notice that its pipes have no reader.
        let standin = Standin {
            faults: "hang:3".into(),
            folder: TempDir::new_in(&folder).unwrap(),
        };
        std::os::unix::fs::symlink(Path::new(&folder).join("log"), standin.log_path()).unwrap();
        let mut source = standin.open(&video(50.0)).unwrap();
        for _ in 0..3 {
            frame(&mut source).unwrap();
        }
        std::fs::write(Path::new(&folder).join("ready"), "").unwrap();
        std::thread::sleep(PATIENCE);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let this = format!("{module}::rpicam_killed_parent_takes_its_camera_along");
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &this, "--nocapture"])
        .env(PARENT, folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(logged(&folder.path().join("log"), "pid").parse().unwrap());
    until("frames", || {
        folder.path().join("ready").exists().then_some(())
    });
    assert!(!is_gone(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("end of the camera", || is_gone(pid).then_some(()));
}

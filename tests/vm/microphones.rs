//! The test machine's audio: snd-aloop, whose capture device delivers what is played into the
//! other; and a program that keeps a microphone busy.

use crate::viewer::AudioPacket;
use crate::{unix_minus_monotonic_ns, wait_for};
use alsa::pcm::{Access, Format, HwParams, PCM, TstampType};
use alsa::{Direction, ValueOr};
use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub const RATE_HZ: u32 = 48_000;
/// What is played is captured here.
pub const LOOPBACK_MICROPHONE: &str = "hw:CARD=Loopback,DEV=1";
const LOOPBACK_SPEAKER: &str = "hw:CARD=Loopback,DEV=0";

/// Two seconds of them.
const LOOKS: usize = 100;

/// A player of one channel at 48 kHz, until this is dropped.
pub struct Player {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The last readings of the device's position, see [`began_ns`](Self::began_ns).
    looks: Arc<Mutex<VecDeque<i64>>>,
}

impl Player {
    /// Plays `sample(n)` for n = 0, 1, 2 …
    pub fn play(sample: impl Fn(u64) -> i16 + Send + 'static) -> Self {
        let pcm = open();
        let stop = Arc::new(AtomicBool::new(false));
        let mut next = 0;
        // A quarter of a second ahead, then start.
        write(&pcm, &sample, &mut next, RATE_HZ as usize / 4);
        pcm.start().expect("the loopback starts");
        let looks = Arc::new(Mutex::new(VecDeque::from([began_by(&pcm, next)])));
        let (asked, looked) = (Arc::clone(&stop), Arc::clone(&looks));
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                write(&pcm, &sample, &mut next, RATE_HZ as usize / 50);
                let mut looked = looked.lock().expect("no holder panics");
                looked.push_back(began_by(&pcm, next));
                if looked.len() > LOOKS {
                    looked.pop_front();
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
            looks,
        }
    }

    /// CLOCK_MONOTONIC when the first sample was played, nanoseconds: by the device's own account
    /// of how far it is, at the last looks. Its position moves in the steps of the emulator's timer
    /// and is never ahead, so the earliest wins. (The instant of its start will not do: the first
    /// step may be longer or shorter than the time since then; and an emulator that stood still for
    /// longer than the device's buffer has lost that time.)
    pub fn began_ns(&self) -> i64 {
        *self
            .looks
            .lock()
            .expect("no holder panics")
            .iter()
            .min()
            .expect("there was a look")
    }

    /// How late a [`click`] of this player was captured, nanoseconds.
    pub fn click_error_ns(&self, click: &Click) -> i64 {
        const SECOND_NS: i64 = 1_000_000_000;
        click.unix_ns
            - unix_minus_monotonic_ns()
            - self.began_ns()
            - i64::from(click.number) * SECOND_NS
    }
}

const LOUD: i16 = 10_000;
/// Samples of one cell. A click consists of cells, each of which begins with a few loud samples or
/// is silent.
const CELL_SAMPLES: usize = 32;
/// The first is loud; then come two for each bit of the click's number, one of which is.
const BITS: usize = 12;
const CELLS: usize = 1 + 2 * BITS;

/// A click at each whole second after the start, numbered from 0 (for more than an hour), so that
/// each is identified.
pub fn click(n: u64) -> i16 {
    let (second, at) = (n / u64::from(RATE_HZ), (n % u64::from(RATE_HZ)) as usize);
    let loud =
        at / CELL_SAMPLES < CELLS && at % CELL_SAMPLES < 4 && is_loud(second, at / CELL_SAMPLES);
    if loud { 2 * LOUD } else { 0 }
}

fn is_loud(number: u64, cell: usize) -> bool {
    let Some(cell) = cell.checked_sub(1) else {
        return true;
    };
    (number >> (cell / 2) & 1 == 1) != (cell % 2 == 1)
}

/// A click that was captured.
pub struct Click {
    /// The second after the player's start at which it was played.
    pub number: u32,
    /// When it began, by the timestamp of its packet.
    pub unix_ns: i64,
}

/// Finds clicks in audio packets.
#[derive(Default)]
pub struct Ear {
    /// Samples since the last loud one.
    silent: usize,
    /// A click that has begun: when, and which of its samples were loud.
    begun: Option<(i64, Vec<bool>)>,
}

impl Ear {
    /// The clicks that end in this packet. Incomplete ones are ignored.
    pub fn clicks(&mut self, audio: &AudioPacket) -> Vec<Click> {
        let mut clicks = Vec::new();
        for (n, sample) in audio.samples.iter().enumerate() {
            let loud = *sample > LOUD;
            if loud && self.begun.is_none() && self.silent > CELLS * CELL_SAMPLES {
                self.begun = Some((
                    audio.stamp_ns + n as i64 * 1_000_000_000 / i64::from(audio.rate_hz),
                    Vec::new(),
                ));
            }
            self.silent = if loud { 0 } else { self.silent + 1 };
            if let Some((_, samples)) = &mut self.begun {
                samples.push(loud);
            }
            if let Some((unix_ns, samples)) = self
                .begun
                .take_if(|(_, samples)| samples.len() == CELLS * CELL_SAMPLES)
            {
                clicks.extend(number(&samples).map(|number| Click { number, unix_ns }));
            }
        }
        clicks
    }
}

/// The number in a click's samples.
fn number(samples: &[bool]) -> Option<u32> {
    let cells: Vec<bool> = samples.chunks(CELL_SAMPLES).map(|cell| cell[1]).collect();
    let bits = cells[1..].chunks(2).enumerate();
    bits.map(|(at, pair)| (pair[0] != pair[1]).then_some(u32::from(pair[0]) << at))
        .sum()
}

/// When the first sample must have been played, after `written` were handed over.
fn began_by(pcm: &PCM, written: u64) -> i64 {
    let status = pcm.status().expect("a running device has a status");
    let at = status.get_htstamp();
    let played = written as i64 - status.get_delay();
    at.tv_sec * 1_000_000_000 + at.tv_nsec - played * 1_000_000_000 / i64::from(RATE_HZ)
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A player that failed has printed why; the test finds that audio is missing.
            let _ = thread.join();
        }
    }
}

fn open() -> PCM {
    let pcm = PCM::new(LOOPBACK_SPEAKER, Direction::Playback, false).expect("snd-aloop is loaded");
    {
        let hardware = HwParams::any(&pcm).expect("the device has parameters");
        hardware
            .set_access(Access::RWInterleaved)
            .expect("interleaved");
        hardware.set_format(Format::S16LE).expect("16 bits");
        hardware.set_channels(1).expect("one channel");
        hardware
            .set_rate(RATE_HZ, ValueOr::Nearest)
            .expect("48 kHz");
        hardware
            .set_buffer_size_near(i64::from(RATE_HZ / 2))
            .expect("half a second of buffer");
        pcm.hw_params(&hardware).expect("the parameters fit");
        let software = pcm.sw_params_current().expect("the device has parameters");
        software
            .set_start_threshold(i64::from(RATE_HZ))
            .expect("it starts on request"); // more than the buffer holds
        software.set_tstamp_mode(true).expect("stamps");
        software
            .set_tstamp_type(TstampType::Monotonic)
            .expect("monotonic stamps");
        pcm.sw_params(&software).expect("the parameters fit");
    }
    pcm
}

fn write(pcm: &PCM, sample: &impl Fn(u64) -> i16, next: &mut u64, count: usize) {
    let samples: Vec<i16> = (*next..*next + count as u64).map(sample).collect();
    let written = pcm
        .io_i16()
        .and_then(|io| io.writei(&samples))
        .expect("the player keeps up");
    *next += written as u64;
}

/// The kernel's state of the loopback's capture device: an independent record of what the program
/// does with it.
#[derive(Debug, PartialEq)]
pub struct LoopbackState {
    /// `RUNNING`, `XRUN`; empty when it is not open.
    pub state: String,
    /// CLOCK_MONOTONIC when it was last started.
    pub started: String,
    pub owner: String,
}

impl LoopbackState {
    pub fn now() -> Self {
        let text = std::fs::read_to_string("/proc/asound/Loopback/pcm1c/sub0/status")
            .expect("snd-aloop is loaded");
        let value = |name: &str| {
            let of = |line: &str| {
                Some(
                    line.strip_prefix(name)?
                        .trim_start()
                        .strip_prefix(':')?
                        .trim()
                        .to_owned(),
                )
            };
            text.lines().find_map(of).unwrap_or_default()
        };
        Self {
            state: value("state"),
            started: value("trigger_time"),
            owner: value("owner_pid"),
        }
    }
}

/// One of ALSA's own programs with a sound card, until this is dropped.
pub struct AlsaProgram(Child);

impl AlsaProgram {
    /// Records from the USB microphone, like another program that came first.
    pub fn holding_the_usb_microphone() -> Self {
        Self::running(
            "arecord",
            "-D hw:CARD=Microphone -r 48000 -c 1 /dev/null",
            "Microphone/pcm0c",
        )
    }

    /// Plays two channels at 16 kHz into the loopback.
    pub fn playing_stereo(samples: &[u8]) -> Self {
        std::fs::write("/tmp/stereo.raw", samples).expect("/tmp is writable");
        Self::running(
            "aplay",
            &format!("-D {LOOPBACK_SPEAKER} -r 16000 -c 2 /tmp/stereo.raw"),
            "Loopback/pcm0p",
        )
    }

    /// `pcm`: the card and device that it uses, as in /proc/asound.
    fn running(program: &str, arguments: &str, pcm: &str) -> Self {
        let mut command = Command::new(program);
        command
            .args(["-q", "-t", "raw", "-f", "S16_LE"])
            .args(arguments.split(' '))
            .stdin(Stdio::null());
        let running = Self(command.spawn().expect("it is installed"));
        wait_for(&format!("running {program}"), || {
            let status = std::fs::read_to_string(format!("/proc/asound/{pcm}/sub0/status"))
                .unwrap_or_default();
            status.contains("RUNNING").then_some(())
        });
        running
    }
}

impl Drop for AlsaProgram {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

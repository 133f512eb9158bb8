//! Speech recognition end to end: a sentence is played into the loopback microphone, the program
//! captures and resamples it, a TCP tunnel leads to examples/speech.py, and each word is printed
//! with the UNIX time at which it was spoken.

use crate::microphones::{LOOPBACK_MICROPHONE, Player, RATE_HZ};
use crate::program::Program;
use crate::{built, figure, unix_minus_monotonic_ns};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// In this order and at this speed they are recognised wherever the recogniser's frames of 10 ms
/// begin.
const WORDS: [&str; 4] = ["forward", "stop", "left", "right"];
/// What the recogniser listens for.
const VOCABULARY: [&str; 5] = ["left", "right", "stop", "forward", "back"];
/// On an emulated processor recognition is many times slower.
const HEARING: Duration = Duration::from_secs(90);
/// An emulator that stands still for seconds breaks the player's audio, or the connection: the
/// program replaces a server that does not move.
const ATTEMPTS: usize = 3;
/// At 16 kHz.
const SECOND_BYTES: usize = 32_000;
/// How far a recognised beginning may be from the first audible sample: the recogniser counts in
/// hundredths of a second, and a soft beginning is a guess of any model.
const BEGIN_NS: i64 = 100_000_000;
/// A word ends with a burst of air, which the recogniser may take for silence: 0.2 s of "right".
const END_NS: i64 = 250_000_000;

/// espeak-ng's voice at the loopback's rate.
fn sentence() -> Vec<i16> {
    let text = WORDS.join(". ");
    let pipe = format!(
        "espeak-ng -v en-us -s 110 -g 20 --stdout '{text}' | ffmpeg -v error -i - -f s16le -ar {RATE_HZ} -ac 1 -"
    );
    let done = Command::new("sh")
        .args(["-c", &pipe])
        .output()
        .expect("sh starts");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect()
}

/// Begin and end of each word, in samples. Between two words there is a third of a second
/// of silence; within one, before its p or t, a tenth.
fn words_in(samples: &[i16]) -> Vec<(usize, usize)> {
    const AUDIBLE: u16 = 300;
    const PAUSE: usize = RATE_HZ as usize / 5;
    let mut words: Vec<(usize, usize)> = Vec::new();
    for (n, _) in samples
        .iter()
        .enumerate()
        .filter(|(_, sample)| sample.unsigned_abs() > AUDIBLE)
    {
        match words.last_mut() {
            Some((_, end)) if n - *end < PAUSE => *end = n,
            _ => words.push((n, n)),
        }
    }
    words
}

/// Carries one connection's bytes, as `ssh -L` does.
struct Tunnel {
    port: u16,
    /// Notified when a second of audio has passed.
    flows: Receiver<()>,
}

impl Tunnel {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let (tell, flows) = channel();
        let tunnel = Self {
            port: listener.local_addr().expect("it is bound").port(),
            flows,
        };
        std::thread::spawn(move || {
            let (near, _) = listener.accept().expect("it listens");
            let far = TcpStream::connect(("127.0.0.1", port)).expect("the program listens");
            let (from, to) = (
                near.try_clone().expect("a descriptor"),
                far.try_clone().expect("a descriptor"),
            );
            std::thread::spawn(move || carry(from, to, None));
            carry(far, near, Some(tell));
        });
        tunnel
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut tell: Option<Sender<()>>) {
    let (mut bytes, mut carried) = ([0; 4096], 0);
    while let Ok(length @ 1..) = from.read(&mut bytes)
        && to.write_all(&bytes[..length]).is_ok()
    {
        carried += length;
        if let Some(tell) = tell.take_if(|_| carried > SECOND_BYTES) {
            let _ = tell.send(());
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// examples/speech.py at work.
struct Recogniser {
    child: Child,
    lines: Receiver<String>,
}

/// A recognised word, with its UNIX times in nanoseconds.
struct Word {
    begin_ns: i64,
    end_ns: i64,
    text: String,
}

impl Recogniser {
    fn listening_to(port: u16) -> Self {
        // At the lowest priority: it keeps an emulated processor busy, and audio and server must
        // not stall.
        let mut child = Command::new("nice")
            .args(["-n", "19"])
            .arg(built("examples-python/bin/python3"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/speech.py"))
            .arg(format!("127.0.0.1:{port}"))
            .args(VOCABULARY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let said = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            said.map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    fn word(&self) -> Option<Word> {
        let line = self.lines.recv_timeout(HEARING).ok()?;
        println!("  speech.py: {line}"); // shown when the test fails
        let [begin, end, text] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?}")
        };
        let ns = |seconds: &str| {
            let (seconds, millis) = seconds.split_once('.').expect("a fraction");
            format!("{seconds}{millis}000000").parse().expect("digits")
        };
        Some(Word {
            begin_ns: ns(begin),
            end_ns: ns(end),
            text: text.to_owned(),
        })
    }
}

impl Drop for Recogniser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the sentence once: the recognised words, and the UNIX time of the sentence's first sample,
/// nanoseconds. `None`: words were missing or wrong.
fn say(sentence: &[i16]) -> Option<(Vec<Word>, i64)> {
    const NOT_YET: u64 = u64::MAX;
    // Silence until the sentence begins.
    let first_sample = Arc::new(AtomicU64::new(NOT_YET));
    let next_sample = Arc::new(AtomicU64::new(0));
    let (first, next, samples) = (
        Arc::clone(&first_sample),
        Arc::clone(&next_sample),
        sentence.to_vec(),
    );
    let player = Player::play(move |n| {
        next.store(n, Ordering::Relaxed);
        let at = n
            .checked_sub(first.load(Ordering::Relaxed))
            .and_then(|n| usize::try_from(n).ok());
        at.and_then(|at| samples.get(at)).copied().unwrap_or(0)
    });
    let program = Program::start(&format!(
        "--camera-type none --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let tunnel = Tunnel::to(program.port);
    let recogniser = Recogniser::listening_to(tunnel.port);
    tunnel.flows.recv_timeout(HEARING).ok()?;
    let begins = next_sample.load(Ordering::Relaxed) + u64::from(RATE_HZ);
    first_sample.store(begins, Ordering::Relaxed);

    let words = WORDS
        .iter()
        .map(|_| recogniser.word())
        .collect::<Option<Vec<Word>>>()?;
    let began_ns = player.began_ns()
        + unix_minus_monotonic_ns()
        + (begins * 1_000_000_000 / u64::from(RATE_HZ)) as i64;
    program.stop();
    words
        .iter()
        .map(|word| &word.text)
        .eq(WORDS)
        .then_some((words, began_ns))
}

#[test]
fn speech_through_a_tunnel_each_word_has_its_spoken_time() {
    let sentence = sentence();
    let said = words_in(&sentence);
    assert_eq!(said.len(), WORDS.len(), "words in the sentence: {said:?}");
    let (recognised, began_ns) = (0..ATTEMPTS)
        .find_map(|_| say(&sentence))
        .expect("the sentence is recognised");

    let unix_ns = |at: usize| began_ns + (at as u64 * 1_000_000_000 / u64::from(RATE_HZ)) as i64;
    let errors: Vec<(i64, i64)> = recognised
        .iter()
        .zip(said)
        .map(|(word, (from, to))| (word.begin_ns - unix_ns(from), word.end_ns - unix_ns(to)))
        .collect();
    let milliseconds: Vec<_> = errors
        .iter()
        .map(|(begin, end)| format!("{}, {}", begin / 1_000_000, end / 1_000_000))
        .collect();
    figure(
        "words' beginnings and ends against their playing, ms",
        milliseconds.join("; "),
    );
    for (begin, end) in &errors {
        assert!(begin.abs() <= BEGIN_NS && end.abs() <= END_NS, "{errors:?}");
    }
}

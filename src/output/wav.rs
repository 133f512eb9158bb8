//! `GET /audio.wav`: the sound as one WAV file, endless or of so many seconds. Its length is true to time: where packets are
//! missing there is silence of the same length. Knows the hub.

use super::packets::{Packets, Peer};
use crate::http::App;
use crate::http::access::Scope;
use crate::http::error::Problem;
use crate::hub::Packet;
use crate::media::{Encoding, MonoNs, Shape};
use crate::wire::Delivery;
use crate::wire::stamp::Seconds;
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a first packet may take.
const FIRST_PACKET: Duration = Duration::from_secs(5);
/// An absence is filled with so much silence at most: memory is bounded, and nobody listens to an hour of nothing.
const MOST_SILENCE: Duration = Duration::from_secs(10);
/// What a size field holds where the size is not known (as ffmpeg writes it to a pipe; docs/recipes.md says what readers make of it).
const UNKNOWN: u32 = u32::MAX;

#[derive(Debug, Default, Deserialize)]
pub struct Length {
    seconds: Option<f64>,
}

pub async fn wav(
    State(app): State<App>,
    Extension(scope): Extension<Scope>,
    Extension(peer): Extension<Peer>,
    length: Result<Query<Length>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Length { seconds }) = length.map_err(|_| Problem::BadSeconds)?;
    if scope == Scope::PictureOnly {
        return Err(Problem::SoundForbidden);
    }
    if seconds.is_some_and(|s| !(s > 0.0 && s <= 86_400.0)) {
        return Err(Problem::BadSeconds);
    }
    let sound = Packets::subscribe(&app, Encoding::Pcm, Delivery::All, None)?;
    let first = timeout(FIRST_PACKET, sound.next())
        .await
        .ok()
        .flatten()
        .ok_or(Problem::SilentMicrophone)?;
    let Shape::Audio { rate_hz, channels } = first.shape else {
        return Err(Problem::SilentMicrophone);
    };
    let frame_bytes = 2 * u64::from(channels);
    let whole = seconds.map(|s| (s * f64::from(rate_hz)).round() as u64 * frame_bytes);
    let header = wav_header(rate_hz, channels, whole.and_then(|n| u32::try_from(n).ok()));
    let stamp =
        HeaderValue::try_from(Seconds(first.stamp).to_string()).expect("digits and a point");
    let tape = Tape {
        rate_hz,
        frame_bytes,
        next: first.capture_time,
        left: whole,
    };
    let bytes = async move {
        // Not before somebody reads: HEAD reads nothing.
        let sound = sound.logged(peer, "audio, wav");
        let state = Recording {
            sound,
            tape,
            ready: Some(header),
            packet: Some(first),
        };
        stream::unfold(state, |mut state| async move {
            state
                .next()
                .await
                .map(|b| (Ok::<_, std::convert::Infallible>(b), state))
        })
    };
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static("audio/wav")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-timestamp"), stamp),
    ];
    let mut response = (about, Body::from_stream(bytes.flatten_stream())).into_response();
    if let Some(whole) = whole {
        response.headers_mut().insert(
            header::CONTENT_LENGTH,
            HeaderValue::from(whole + WAV_HEADER as u64),
        );
    }
    Ok(response)
}

struct Recording {
    sound: Packets,
    tape: Tape,
    ready: Option<Bytes>,
    packet: Option<Arc<Packet>>,
}

impl Recording {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(ready) = self.ready.take() {
            return Some(ready);
        }
        if self.tape.left == Some(0) {
            return None;
        }
        let packet = match self.packet.take() {
            Some(packet) => packet,
            None => self.sound.next().await?,
        };
        // Another rate or channel count cannot be told in the middle of a WAV file: here it ends.
        let same = matches!(packet.shape, Shape::Audio { rate_hz, channels } if rate_hz == self.tape.rate_hz && 2 * u64::from(channels) == self.tape.frame_bytes);
        same.then(|| self.tape.record(packet.capture_time, &packet.payload))
    }
}

/// Where the file has got to. Pure.
struct Tape {
    rate_hz: u32,
    frame_bytes: u64,
    /// The instant at which the next frame of the file was captured.
    next: MonoNs,
    /// Bytes still wanted; `None`: no end.
    left: Option<u64>,
}

impl Tape {
    /// The file's next bytes: silence for what is missing before this packet, then its samples.
    fn record(&mut self, capture_time: MonoNs, samples: &Bytes) -> Bytes {
        let missing = capture_time.since(self.next).min(MOST_SILENCE);
        let silence = (missing.as_nanos() as u64 * u64::from(self.rate_hz) / 1_000_000_000)
            * self.frame_bytes;
        let frames = samples.len() as u64 / self.frame_bytes;
        self.next = capture_time
            + Duration::from_nanos(frames * 1_000_000_000 / u64::from(self.rate_hz.max(1)));
        // A stamp moves by microseconds from packet to packet; a frame or two of silence for that would be a click.
        let bytes = if silence > self.frame_bytes * u64::from(self.rate_hz) / 500 {
            let mut bytes = vec![0; silence as usize];
            bytes.extend_from_slice(samples);
            Bytes::from(bytes)
        } else {
            samples.clone()
        };
        let Some(left) = &mut self.left else {
            return bytes;
        };
        let taken = bytes.slice(
            ..bytes
                .len()
                .min(usize::try_from(*left).unwrap_or(usize::MAX)),
        );
        *left -= taken.len() as u64;
        taken
    }
}

const WAV_HEADER: usize = 44;

/// RIFF WAVE, PCM (Multimedia Programming Interface and Data Specifications 1.0).
fn wav_header(rate_hz: u32, channels: u16, data_bytes: Option<u32>) -> Bytes {
    let frame = channels * 2;
    let mut head = Vec::with_capacity(WAV_HEADER);
    head.extend_from_slice(b"RIFF");
    head.extend_from_slice(
        &data_bytes
            .and_then(|n| n.checked_add(36))
            .unwrap_or(UNKNOWN)
            .to_le_bytes(),
    );
    head.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
    head.extend_from_slice(&channels.to_le_bytes());
    head.extend_from_slice(&rate_hz.to_le_bytes());
    head.extend_from_slice(&(rate_hz * u32::from(frame)).to_le_bytes());
    head.extend_from_slice(&frame.to_le_bytes());
    head.extend_from_slice(b"\x10\0data");
    head.extend_from_slice(&data_bytes.unwrap_or(UNKNOWN).to_le_bytes());
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape(left: Option<u64>) -> Tape {
        Tape {
            rate_hz: 1_000,
            frame_bytes: 2,
            next: MonoNs(1_000_000_000),
            left,
        }
    }

    #[test]
    fn what_is_missing_is_silence_of_its_length() {
        let mut tape = tape(None);
        let packet = Bytes::from(vec![7; 40]); // 20 ms
        assert_eq!(tape.record(MonoNs(1_000_000_000), &packet).len(), 40);
        assert_eq!(
            tape.record(MonoNs(1_020_010_000), &packet).len(),
            40,
            "ten microseconds are no gap"
        );
        let after = tape.record(MonoNs(1_140_010_000), &packet);
        assert_eq!(after.len(), 200 + 40);
        assert!(after[..200].iter().all(|b| *b == 0) && after[200..].iter().all(|b| *b == 7));
        assert_eq!(
            tape.record(MonoNs(99_000_000_000), &packet).len(),
            20_000 + 40,
            "ten seconds at most"
        );
    }

    #[test]
    fn a_length_that_was_asked_for_is_kept_to_the_byte() {
        let mut tape = tape(Some(50));
        let packet = Bytes::from(vec![7; 40]);
        assert_eq!(tape.record(MonoNs(1_000_000_000), &packet).len(), 40);
        assert_eq!(tape.record(MonoNs(1_020_000_000), &packet).len(), 10);
        assert_eq!(tape.left, Some(0));
    }
}

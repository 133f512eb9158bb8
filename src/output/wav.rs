//! `GET /audio.wav`: the audio as one WAV file, endless or of a given duration. Its duration is
//! true to time: missing packets are replaced by silence of the same duration.

use super::camera::{self, CameraAccess};
use super::http_viewer::HttpViewer;
use super::{Address, ApiError, Context, Output};
use crate::config::CameraConfig;
use crate::hub::{AudioFormat, Delivery, Packet, Request};
use crate::media::{Encoding, MonoNs, Shape};
use crate::wire::stamp::Seconds;
use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Time for a first packet.
const FIRST_PACKET: Duration = Duration::from_secs(5);
/// The most silence for one gap: memory stays bounded, and nobody listens to an hour of silence.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// The value of a size field where the size is not known (as ffmpeg writes it to a pipe;
/// docs/recipes.md says what readers make of it).
const UNKNOWN_SIZE: u32 = u32::MAX;

#[derive(Debug)]
pub struct Wav;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct WavQuery {
    /// Duration of the file, > 0 and at most a day; `None`: endless.
    seconds: Option<f64>,
}

impl Output for Wav {
    fn name(&self) -> &'static str {
        "wav"
    }

    fn needs(&self, _: &CameraConfig) -> &[Encoding] {
        &[Encoding::Pcm]
    }

    fn addresses(&self) -> &'static [Address] {
        &[Address {
            path: "/audio.wav",
            about: "audio; ?seconds=10 for a file of that duration",
        }]
    }

    fn routes(&self, cx: &Context) -> Router {
        camera::route(Router::new(), "/audio.wav", get(wav)).with_state(cx.clone())
    }
}

async fn wav(
    camera: CameraAccess,
    query: Result<Query<WavQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(WavQuery { seconds }) = query.map_err(|_| ApiError::BadSeconds)?;
    if seconds.is_some_and(|s| !(s > 0.0 && s <= 86_400.0)) {
        return Err(ApiError::BadSeconds);
    }
    let packets = camera.subscribe(&Request {
        video: None,
        audio: Some(camera.audio(AudioFormat::default())?),
        delivery: Delivery::All,
        max_fps: None,
        events: false,
    })?;
    let first = timeout(FIRST_PACKET, packets.next())
        .await
        .ok()
        .flatten()
        .ok_or(ApiError::NoSamples)?;
    let Shape::Audio { rate_hz, channels } = first.shape else {
        return Err(ApiError::NoSamples);
    };
    let frame_bytes = 2 * u64::from(channels);
    let data_bytes = seconds.map(|s| (s * f64::from(rate_hz)).round() as u64 * frame_bytes);
    let header = wav_header(
        rate_hz,
        channels,
        data_bytes.and_then(|n| u32::try_from(n).ok()),
    );
    let stamp =
        HeaderValue::try_from(Seconds(first.stamp).to_string()).expect("digits and a point");
    let timeline = WavTimeline {
        rate_hz,
        frame_bytes,
        next: first.capture_time,
        left: data_bytes,
    };
    let bytes = async move {
        // Logged when the body is first read: for HEAD it never is.
        let packets = packets.logged(camera.client, "audio, wav");
        let wav = WavStream {
            packets,
            timeline,
            header: Some(header),
            first: Some(first),
        };
        stream::unfold(wav, |mut wav| async move {
            let bytes = wav.next().await?;
            Some((Ok::<_, Infallible>(bytes), wav))
        })
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("audio/wav")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-timestamp"), stamp),
    ];
    let mut response = (headers, Body::from_stream(bytes.flatten_stream())).into_response();
    if let Some(data_bytes) = data_bytes {
        let length = HeaderValue::from(data_bytes + WAV_HEADER as u64);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    Ok(response)
}

/// The bytes of one response.
struct WavStream {
    packets: HttpViewer,
    timeline: WavTimeline,
    header: Option<Bytes>,
    /// Already read, for its format.
    first: Option<Arc<Packet>>,
}

impl WavStream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(header) = self.header.take() {
            return Some(header);
        }
        if self.timeline.left == Some(0) {
            return None;
        }
        let packet = match self.first.take() {
            Some(packet) => packet,
            None => self.packets.next().await?,
        };
        // A WAV file has one rate and channel count: it ends where they change.
        self.timeline
            .has_format(packet.shape)
            .then(|| self.timeline.append(packet.capture_time, &packet.payload))
    }
}

/// The position in the file. Pure.
struct WavTimeline {
    rate_hz: u32,
    frame_bytes: u64,
    /// The capture time of the file's next sample.
    next: MonoNs,
    /// Bytes still wanted; `None`: endless.
    left: Option<u64>,
}

impl WavTimeline {
    fn has_format(&self, shape: Shape) -> bool {
        matches!(shape, Shape::Audio { rate_hz, channels }
            if rate_hz == self.rate_hz && 2 * u64::from(channels) == self.frame_bytes)
    }

    /// The file's next bytes: silence for what is missing before this packet, then its samples.
    fn append(&mut self, captured: MonoNs, samples: &Bytes) -> Bytes {
        let missing = captured.since(self.next).min(MAX_SILENCE);
        let silence = (missing.as_nanos() as u64 * u64::from(self.rate_hz) / 1_000_000_000)
            * self.frame_bytes;
        let frames = samples.len() as u64 / self.frame_bytes;
        self.next = captured
            + Duration::from_nanos(frames * 1_000_000_000 / u64::from(self.rate_hz.max(1)));
        // Capture times vary by microseconds from packet to packet; a sample or two of silence for
        // that would be audible as a click.
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
            .unwrap_or(UNKNOWN_SIZE)
            .to_le_bytes(),
    );
    head.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
    head.extend_from_slice(&channels.to_le_bytes());
    head.extend_from_slice(&rate_hz.to_le_bytes());
    head.extend_from_slice(&(rate_hz * u32::from(frame)).to_le_bytes());
    head.extend_from_slice(&frame.to_le_bytes());
    head.extend_from_slice(b"\x10\0data");
    head.extend_from_slice(&data_bytes.unwrap_or(UNKNOWN_SIZE).to_le_bytes());
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(left: Option<u64>) -> WavTimeline {
        WavTimeline {
            rate_hz: 1_000,
            frame_bytes: 2,
            next: MonoNs(1_000_000_000),
            left,
        }
    }

    #[test]
    fn timeline_gap_is_silence_of_its_duration() {
        let mut timeline = timeline(None);
        let packet = Bytes::from(vec![7; 40]); // 20 ms
        assert_eq!(timeline.append(MonoNs(1_000_000_000), &packet).len(), 40);
        assert_eq!(
            timeline.append(MonoNs(1_020_010_000), &packet).len(),
            40,
            "ten microseconds are not a gap"
        );
        let after = timeline.append(MonoNs(1_140_010_000), &packet);
        assert_eq!(after.len(), 200 + 40);
        assert!(after[..200].iter().all(|b| *b == 0) && after[200..].iter().all(|b| *b == 7));
        assert_eq!(
            timeline.append(MonoNs(99_000_000_000), &packet).len(),
            20_000 + 40,
            "ten seconds at most"
        );
    }

    #[test]
    fn timeline_requested_duration_is_exact_to_the_byte() {
        let mut timeline = timeline(Some(50));
        let packet = Bytes::from(vec![7; 40]);
        assert_eq!(timeline.append(MonoNs(1_000_000_000), &packet).len(), 40);
        assert_eq!(timeline.append(MonoNs(1_020_000_000), &packet).len(), 10);
        assert_eq!(timeline.left, Some(0));
    }
}

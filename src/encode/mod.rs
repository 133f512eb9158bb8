//! Encodes frames and audio: the pixel pipeline, JPEG, H.264, PCM, Opus; and the encoder that a
//! track needs. Independent of devices, rings and the network.

#[cfg(feature = "h264")]
pub mod h264;
pub mod jpeg;
#[cfg(feature = "opus")]
pub mod opus;
pub mod pcm;
pub mod pipeline;
pub mod planes;

use crate::config::VideoConfig;
use crate::media::frame::AudioChunk;
use crate::media::{Encoding, MonoNs};
use pipeline::{Frame, PipelineError};
use std::ops::Range;

/// What the readers of a track ask of its encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeRequest {
    /// Counts requests for a keyframe; a change is a new one.
    pub keyframes: u32,
    /// Bits per second; 0: the encoder's default.
    pub bitrate_bps: u32,
}

/// One frame, encoded.
#[derive(Clone, Copy, Debug)]
pub struct EncodedFrame<'a> {
    pub bytes: &'a [u8],
    /// Pixels.
    pub width: u16,
    pub height: u16,
    /// Decodable without earlier frames.
    pub keyframe: bool,
}

/// Encodes the frames of one track.
pub trait VideoEncoder: Send {
    /// Encodes one frame, captured at `capture_time`. `None` when the encoder skips it.
    ///
    /// # Errors
    /// The camera's bytes are not an image, or an image of this size cannot be encoded.
    fn encode<'a>(
        &'a mut self,
        frame: &'a mut Frame<'_>,
        capture_time: MonoNs,
        request: EncodeRequest,
    ) -> Result<Option<EncodedFrame<'a>>, PipelineError>;

    /// The track has no readers, or the camera was opened again: forgets earlier frames and
    /// releases memory.
    fn reset(&mut self) {}
}

/// The encoder of a video track; `None` for what is not video or not included in this build.
pub fn video_encoder(encoding: Encoding, video: &VideoConfig) -> Option<Box<dyn VideoEncoder>> {
    match encoding {
        Encoding::Jpeg => Some(Box::new(jpeg::JpegEncoder)),
        #[cfg(feature = "h264")]
        Encoding::H264 => Some(Box::new(h264::H264Encoder::new(video))),
        _ => {
            let _ = video;
            None
        }
    }
}

/// Packets of one track, made of one chunk of audio. The memory is kept from chunk to chunk.
#[derive(Debug, Default)]
pub struct AudioPackets {
    bytes: Vec<u8>,
    packets: Vec<(MonoNs, Range<usize>)>,
}

impl AudioPackets {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
    }

    /// Adds a packet whose first sample was captured at `capture_time`.
    pub fn push(&mut self, capture_time: MonoNs, packet: impl IntoIterator<Item = u8>) {
        let start = self.bytes.len();
        self.bytes.extend(packet);
        self.packets.push((capture_time, start..self.bytes.len()));
    }

    /// Capture time and bytes of each packet, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (MonoNs, &[u8])> {
        self.packets
            .iter()
            .map(|(at, range)| (*at, &self.bytes[range.clone()]))
    }
}

/// Why audio was not encoded.
#[derive(Debug, thiserror::Error)]
pub enum AudioEncodeError {
    #[cfg(feature = "opus")]
    #[error(transparent)]
    Opus(#[from] opus::OpusError),
}

/// Encodes the audio of one track.
pub trait AudioEncoder: Send {
    /// Adds the packets that `chunk` completes to `packets`.
    ///
    /// # Errors
    /// The library failed, or audio of this rate or number of channels cannot be encoded.
    fn encode(
        &mut self,
        chunk: &AudioChunk<'_>,
        packets: &mut AudioPackets,
    ) -> Result<(), AudioEncodeError>;

    /// The packets' sample rate, Hz, and channels.
    fn format(&self, chunk: &AudioChunk<'_>) -> (u32, u16);

    /// The track has no readers, or the microphone was opened again: the next packet begins with
    /// the next chunk.
    fn reset(&mut self) {}
}

/// The encoder of an audio track; `None` for what is not audio or not included in this build.
pub fn audio_encoder(encoding: Encoding) -> Option<Box<dyn AudioEncoder>> {
    match encoding {
        Encoding::Pcm => Some(Box::new(pcm::PcmEncoder)),
        #[cfg(feature = "opus")]
        Encoding::Opus => Some(Box::new(opus::OpusEncoder::default())),
        _ => None,
    }
}

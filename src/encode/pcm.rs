//! PCM: samples as they are, little-endian.

use super::{AudioEncodeError, AudioEncoder, AudioPackets};
use crate::media::frame::AudioChunk;

/// One packet per chunk, in the source's rate and channels.
pub struct PcmEncoder;

impl AudioEncoder for PcmEncoder {
    fn encode(
        &mut self,
        chunk: &AudioChunk<'_>,
        packets: &mut AudioPackets,
    ) -> Result<(), AudioEncodeError> {
        packets.push(
            chunk.first_sample,
            chunk.samples.iter().flat_map(|sample| sample.to_le_bytes()),
        );
        Ok(())
    }

    fn format(&self, chunk: &AudioChunk<'_>) -> (u32, u16) {
        (chunk.rate_hz, chunk.channels)
    }
}

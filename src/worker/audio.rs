//! The sound worker's loop: microphone to rings, one chunk at a time.

use super::{Description, End, GRAB, Lane, Worker};
use crate::config::AudioConfig;
#[cfg(feature = "webrtc")]
use crate::encode::opus::{OpusEncoder, RATE_HZ};
use crate::media::frame::AudioChunk;
use crate::media::{Encoding, MonoNs, Shape, WorkerState};
use crate::source;
use crate::source::{AudioSource, SourceError, SourceIdentity};
use std::time::Duration;

/// Runs until the supervisor asks it to end, or a device fails and that was to be the end.
pub fn run(mut worker: Worker, sound: &AudioConfig, lanes: Vec<Lane>) -> End {
    let mut outlets: Vec<Outlet> = lanes.into_iter().map(Outlet::new).collect();
    let mut known: Option<SourceIdentity> = worker.noted_device();
    worker.status.set_interval(Duration::from_millis(20));
    for outlet in &outlets {
        worker.note_number(&outlet.lane);
    }
    loop {
        let mut source = match worker.open(|| source::open_audio(sound, known.as_ref())) {
            Ok(source) => source,
            Err(end) => return end,
        };
        known = source.identity().or(known);
        if let Some(microphone) = &known {
            worker.note_device(microphone);
        }
        match stream(&mut worker, source.as_mut(), &mut outlets) {
            Ok(end) => return end,
            Err(e) => {
                drop(source);
                outlets.iter_mut().for_each(Outlet::source_was_away);
                if let Err(end) = worker.failed(&e) {
                    return end;
                }
            }
        }
    }
}

fn stream(
    worker: &mut Worker,
    source: &mut dyn AudioSource,
    outlets: &mut [Outlet],
) -> Result<End, SourceError> {
    let mut description = Description::default();
    for note in source.take_notes() {
        if worker.is_new_note(&note) {
            tracing::info!("{note}");
        }
    }
    while !worker.stop.asked() {
        let now = MonoNs::now();
        worker.status.set_heartbeat(now);
        worker.read_requests();
        description.tell(worker, now, || source.info());
        worker.status.set_state(WorkerState::Streaming);
        let Some(chunk) = source.next_chunk(GRAB)? else {
            continue;
        };
        for outlet in &mut *outlets {
            outlet.chunk(&chunk);
            worker.note_number(&outlet.lane);
        }
        let now = MonoNs::now();
        worker.status.set_last_capture(now);
        if worker.good(now) {
            outlets.iter_mut().for_each(|outlet| outlet.told.clear());
        }
    }
    Ok(End::Asked)
}

/// From a chunk of samples to one ring.
struct Outlet {
    lane: Lane,
    coder: Coder,
    /// The last fault that was logged.
    told: String,
}

enum Coder {
    Pcm(Vec<u8>),
    #[cfg(feature = "webrtc")]
    Opus(OpusEncoder),
}

impl Outlet {
    fn new(lane: Lane) -> Self {
        let coder = match lane.encoding {
            #[cfg(feature = "webrtc")]
            Encoding::Opus => Coder::Opus(OpusEncoder::default()),
            Encoding::Pcm => Coder::Pcm(Vec::new()),
            other => unreachable!("no ring for {other:?} is made for the sound worker"),
        };
        Self {
            lane,
            coder,
            told: String::new(),
        }
    }

    fn source_was_away(&mut self) {
        self.lane.source_was_away();
        self.rest();
    }

    /// An encoder with a memory forgets it.
    fn rest(&mut self) {
        match &mut self.coder {
            Coder::Pcm(_) => {}
            #[cfg(feature = "webrtc")]
            Coder::Opus(encoder) => encoder.rest(),
        }
    }

    fn chunk(&mut self, chunk: &AudioChunk<'_>) {
        if chunk.after_xrun {
            self.lane.lose_to_xrun();
        }
        // Without a listener nothing is sent and nothing is missing: numbers stand still.
        if !self.lane.demand().wanted {
            return self.rest();
        }
        let lane = &mut self.lane;
        let fault = match &mut self.coder {
            Coder::Pcm(bytes) => {
                bytes.clear();
                bytes.extend(chunk.samples.iter().flat_map(|s| s.to_le_bytes()));
                let shape = Shape::Audio {
                    rate_hz: chunk.rate_hz,
                    channels: chunk.channels,
                };
                lane.send(chunk.first_sample, shape, true, bytes)
                    .err()
                    .map(|e| e.to_string())
            }
            #[cfg(feature = "webrtc")]
            Coder::Opus(encoder) => {
                let shape = Shape::Audio {
                    rate_hz: RATE_HZ,
                    channels: chunk.channels,
                };
                let mut fault = None;
                let coded = encoder.take(chunk, |first_sample, packet| {
                    fault = lane
                        .send(first_sample, shape, true, packet)
                        .err()
                        .map(|e| e.to_string());
                });
                if let Err(e) = coded {
                    encoder.rest();
                    fault = Some(crate::log::chain(&e));
                }
                fault
            }
        };
        if let Some(why) = fault.filter(|why| *why != self.told) {
            tracing::warn!("sound was dropped: {why}");
            self.told = why;
        }
    }
}

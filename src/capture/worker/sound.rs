//! The sound worker's loop: microphone to ring, one packet at a time.

use super::{Description, End, GRAB, Numbering, Worker};
use crate::capture::audio::beep::BeepSource;
use crate::capture::audio::find::Identity;
use crate::capture::audio::mic::MicSource;
use crate::capture::{SoundChunk, SoundSource, SourceError};
use crate::config::{Microphone, Sound};
use crate::packet::{Encoding, MonoNs, Shape, WorkerState};
use crate::ring::RingWriter;
use std::time::Duration;

/// The beep's rate where none is asked for, Hz.
const BEEP_HZ: u32 = 48_000;

/// Runs until the supervisor asks it to end, or a device fails and that was to be the end.
pub fn run(mut worker: Worker, sound: &Sound, ring: RingWriter) -> End {
    let mut outlet = Outlet { ring, numbering: Numbering::new(&worker), pcm: Vec::new() };
    let mut known = None;
    worker.status.set_interval(Duration::from_millis(20));
    worker.status.set_next_sequence(Encoding::Pcm, outlet.numbering.next);
    loop {
        let mut source = match worker.open(|| open(sound, &mut known)) {
            Ok(source) => source,
            Err(end) => return end,
        };
        match stream(&mut worker, source.as_mut(), &mut outlet) {
            Ok(end) => return end,
            Err(e) => {
                drop(source);
                if outlet.numbering.next > worker.first_sequence {
                    outlet.numbering.losses.source_away += 1;
                }
                if let Err(end) = worker.away(&e, &mut String::new()) {
                    return end;
                }
            }
        }
    }
}

/// `known`: which microphone it was before, to be found again under whatever card number.
fn open(sound: &Sound, known: &mut Option<Identity>) -> Result<Box<dyn SoundSource>, SourceError> {
    if sound.device == Microphone::Beep {
        return Ok(Box::new(BeepSource::open(sound.rate_hz.unwrap_or(BEEP_HZ), sound.channels)?));
    }
    let source = MicSource::open(sound, known.as_ref())?;
    if let Some(identity) = source.identity() {
        *known = Some(identity.clone());
    }
    for note in source.notes() {
        tracing::info!("{note}");
    }
    Ok(Box::new(source))
}

fn stream(worker: &mut Worker, source: &mut dyn SoundSource, outlet: &mut Outlet) -> Result<End, SourceError> {
    let mut description = Description::default();
    while !worker.stop.asked() {
        let now = MonoNs::now();
        worker.status.beat(now);
        description.tell(worker, now, || source.info());
        worker.status.set_state(WorkerState::Streaming);
        let Some(chunk) = source.grab(GRAB)? else { continue };
        outlet.chunk(&chunk);
        worker.status.captured(MonoNs::now());
        worker.status.set_losses(outlet.numbering.losses);
        worker.status.set_next_sequence(Encoding::Pcm, outlet.numbering.next);
    }
    Ok(End::Asked)
}

/// From a chunk of samples to the ring.
struct Outlet {
    ring: RingWriter,
    numbering: Numbering,
    pcm: Vec<u8>,
}

impl Outlet {
    fn chunk(&mut self, chunk: &SoundChunk<'_>) {
        if chunk.after_xrun {
            self.numbering.losses.xrun += 1;
        }
        // Without a listener nothing is sent and nothing is missing: numbers stand still.
        if !self.ring.demand().wanted {
            return;
        }
        self.pcm.clear();
        self.pcm.extend(chunk.samples.iter().flat_map(|s| s.to_le_bytes()));
        let meta = self.numbering.label(chunk.first_sample, Shape::Audio { rate_hz: chunk.rate_hz, channels: chunk.channels });
        if let Err(e) = self.ring.push(&meta, &self.pcm) {
            // Numbered and not sent: the ring's loss.
            tracing::warn!("sound packet {} was dropped: {e}", meta.sequence);
        }
    }
}

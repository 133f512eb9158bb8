//! The hub without sockets.

mod accounting;
mod delivery;
mod events;
mod keyframes;

use super::*;
use crate::media::clock::ClockSample;
use crate::media::{Cause, Gap, Losses, Shape, UnixNs};

pub(super) const MS: u64 = 1_000_000;
/// Between two packets of the tests' sources.
pub(super) const INTERVAL: Duration = Duration::from_millis(20);
/// Audio of exactly that duration.
pub(super) const AUDIO: Shape = Shape::Audio {
    rate_hz: 48_000,
    channels: 1,
};
pub(super) const AUDIO_BYTES: usize = 48_000 / 50 * 2;
pub(super) const FRAME: Shape = Shape::Video {
    width: 64,
    height: 48,
};

pub(super) fn meta(sequence: u64, shape: Shape) -> PacketMeta {
    PacketMeta {
        generation: 1,
        sequence,
        capture_time: MonoNs((sequence + 1).saturating_mul(INTERVAL.as_nanos() as u64)),
        shape,
        keyframe: true,
        losses: Losses::default(),
    }
}

/// A reading of the clocks that took no time.
pub(super) fn clocks(at_ms: u64, offset_ms: u64) -> ClockSample {
    let at = MonoNs(at_ms * MS);
    ClockSample {
        before: at,
        unix: UnixNs(at.0 + offset_ms * MS),
        after: at,
    }
}

pub(super) fn packets(cause: Cause, count: u64, span_ms: u64) -> Gap {
    Gap {
        cause,
        count: Some(count),
        seconds: None,
        span_seconds: Some(Duration::from_millis(span_ms).as_secs_f64()),
    }
}

pub(super) fn outage(cause: Cause, seconds: f64, span_ms: u64) -> Gap {
    Gap {
        cause,
        count: None,
        seconds: Some(seconds),
        span_seconds: Some(Duration::from_millis(span_ms).as_secs_f64()),
    }
}

pub(super) fn hub() -> Arc<Hub> {
    hub_of(hub_plan())
}

pub(super) fn hub_plan() -> Plan {
    let backlog = Backlog {
        packets: 5,
        bytes: 1 << 20,
    };
    let plan = |encoding| {
        Some(StreamPlan {
            encodings: vec![encoding],
            fps: Some(15.0),
            backlog,
        })
    };
    Plan {
        video: plan(Encoding::Jpeg),
        audio: plan(Encoding::Pcm),
    }
}

/// UNIX time and monotonic time are equal until [`observe`] sets them apart.
pub(super) fn hub_of(plan: Plan) -> Arc<Hub> {
    let clock = Arc::new(Clock::new(clocks(0, 0)));
    Arc::new(Hub::new(CameraId::main(), plan, clock))
}

/// What the server does with each sample.
pub(super) fn observe(hub: &Hub, sample: ClockSample) {
    if let Some(step) = hub.clock().observe(sample) {
        hub.clock_stepped(step);
    }
}

/// What a stream lost for one cause.
pub(super) fn totals(stream: &StreamSnapshot, cause: Cause) -> LossTotals {
    let mut totals = stream.losses.iter();
    totals
        .find(|(c, _)| *c == cause)
        .expect("a cause of a source")
        .1
}

pub(super) fn ask(delivery: Delivery) -> Request {
    Request {
        video: Some(TrackSelector::Encoded(Encoding::Jpeg)),
        audio: Some(TrackSelector::Encoded(Encoding::Pcm)),
        delivery,
        max_fps: None,
        events: true,
    }
}

pub(super) fn video(hub: &Hub, sequence: u64) {
    hub.publish(
        Encoding::Jpeg,
        &meta(sequence, FRAME),
        Bytes::from_static(b"jpeg"),
        MonoNs::now(),
    );
}

pub(super) fn audio(hub: &Hub, sequence: u64) {
    hub.publish(
        Encoding::Pcm,
        &meta(sequence, AUDIO),
        vec![0; AUDIO_BYTES].into(),
        MonoNs::now(),
    );
}

/// Everything that waits, as (stream, sequence, packets reported missing).
pub(super) fn drain(subscription: &Subscription) -> Vec<(MediaKind, u64, u64)> {
    let mut taken = Vec::new();
    while let Some(item) = subscription.take(true) {
        if let Item::Packet { packet, gaps, .. } = item {
            let missing = gaps.iter().filter_map(|g| g.count).sum();
            taken.push((packet.encoding.kind(), packet.sequence, missing));
        }
    }
    taken
}

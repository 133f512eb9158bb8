//! Microphones that are not there, and alsa-lib's `null` device.

use super::*;
use crate::config;
use crate::config::Microphone;

fn named(name: &str) -> Microphone {
    Microphone::Named(name.into())
}

fn sound() -> config::AudioConfig {
    config::AudioConfig {
        source: config::AudioSourceConfig::Test,
        channels: 1,
        rate_hz: None,
        queue_packets: 500,
    }
}

#[test]
fn microphone_unknown_name_is_missing() {
    for name in [
        "hw:CARD=NoSuchCard,DEV=0",
        "no such microphone",
        "with\0nul",
        "plughw:CARD=NoSuchCard",
    ] {
        match MicrophoneSource::open(&named(name), &sound(), None) {
            Err(SourceError::Missing { device, available }) => {
                assert!(
                    device.contains("NoSuch")
                        || device.contains("no such")
                        || device.contains("nul"),
                    "{device}"
                );
                assert_eq!(available.len(), list_microphones().len());
            }
            other => panic!("{name}: {:?}", other.err()),
        }
    }
}

#[test]
fn microphone_known_device_is_not_replaced_by_another() {
    let known = Identity {
        model: "ffff:ffff".into(),
        device: 0,
        serial: Some("none has this".into()),
        serial_is_unique: true,
        port: "nowhere".into(),
    };
    let opened = MicrophoneSource::open(&named("null"), &sound(), Some(&known));
    assert!(
        matches!(opened, Err(SourceError::Missing { device, .. }) if device.contains("none has this"))
    );
}

/// alsa-lib's `null` device delivers a full ring of silence at once and at every look: no clock
/// fits that.
#[test]
fn microphone_faster_than_time_neither_blocks_nor_fills_the_memory() {
    for rate_hz in [None, Some(16_000)] {
        let mut source = MicrophoneSource::open(
            &named("null"),
            &config::AudioConfig { rate_hz, ..sound() },
            None,
        )
        .unwrap();
        let began = Instant::now();
        for _ in 0..20 {
            if let Some(chunk) = source.next_chunk(Duration::from_millis(20)).unwrap() {
                assert_eq!(
                    chunk.samples.len() as u32,
                    chunk.rate_hz / 50 * u32::from(chunk.channels)
                );
            }
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it does not block"
        );
        // At most one ring more than the bound.
        assert!(
            source.waiting.len() <= 2 * (48_000 * 2 + 192_000),
            "{}",
            source.waiting.len()
        );
    }
}

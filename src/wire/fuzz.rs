//! Fuzz target: messages of either format, commands and queries. What is decoded and encoded again
//! decodes to the same value.

use super::{AudioFormat, Event, Message, Query, binary, text};
use crate::media::Shape;

/// The first byte selects the decoder of the others.
pub fn decode(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    match (kind % 4, std::str::from_utf8(bytes)) {
        (0, _) => binary_message(bytes),
        (1, Ok(received)) => text_message(received),
        (2, Ok(received)) => query(received),
        (_, Ok(received)) => {
            if let Some(text::Command::Ping(id)) = text::command(received) {
                assert!(id.len() <= text::MAX_PING_ID && !id.contains(':'));
            }
        }
        (_, Err(_)) => {
            let _ = Event::from_json(bytes);
        }
    }
}

fn binary_message(bytes: &[u8]) {
    let Ok(message) = binary::decode(bytes) else {
        return;
    };
    let again = match &message {
        Message::Video {
            stamp,
            label,
            width,
            height,
            jpeg,
        } => {
            let shape = Shape::Video {
                width: *width,
                height: *height,
            };
            [
                &binary::packet_header(label.expect("binary has one"), *stamp, shape)[..],
                jpeg,
            ]
            .concat()
        }
        Message::Audio {
            stamp,
            label,
            format,
            pcm,
        } => {
            let AudioFormat { rate_hz, channels } = format.expect("binary has one");
            let shape = Shape::Audio { rate_hz, channels };
            [
                &binary::packet_header(label.expect("binary has one"), *stamp, shape)[..],
                pcm,
            ]
            .concat()
        }
        // The last digit of a float may change in JSON.
        Message::Event { event, .. } => {
            return assert!(Event::from_json(event.to_json().as_bytes()).is_some());
        }
        Message::Pong { .. } => unreachable!("pongs are text"),
    };
    assert_eq!(binary::decode(&again), Ok(message));
}

fn text_message(received: &str) {
    let Ok(message) = text::decode(received) else {
        return;
    };
    let again = match &message {
        Message::Video {
            stamp,
            width,
            height,
            jpeg,
            ..
        } => text::packet(
            *stamp,
            Shape::Video {
                width: *width,
                height: *height,
            },
            jpeg,
        ),
        Message::Audio { stamp, pcm, .. } => text::packet(
            *stamp,
            Shape::Audio {
                rate_hz: 1,
                channels: 1,
            },
            pcm,
        ),
        Message::Event { event, .. } => {
            return assert!(Event::from_json(event.to_json().as_bytes()).is_some());
        }
        Message::Pong { id, received, sent } => text::pong(id, *received, *sent),
    };
    assert_eq!(text::decode(&again), Ok(message));
}

fn query(received: &str) {
    let pairs = received
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    match Query::from_pairs(pairs) {
        Ok(query) => {
            assert!(query.max_fps.is_none_or(|fps| fps.is_finite() && fps > 0.0));
            assert!(
                query
                    .window
                    .is_none_or(|window| (1..=100).contains(&window))
            );
            assert!(
                query
                    .audio_rate
                    .is_none_or(|rate| (8_000..=48_000).contains(&rate))
            );
        }
        Err(e) => {
            let line = e.to_string();
            assert!(
                line.len() < 400 && !line.contains(char::is_control),
                "{line:?}"
            );
        }
    }
}

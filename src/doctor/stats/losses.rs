//! What gap events reported, by stream and cause.

use crate::media::printable;
use crate::wire::{Cause, Gap, MediaKind};
use std::collections::BTreeMap;

/// Entries for causes that this version does not know; beyond them all count as "other".
const MAX_UNKNOWN_CAUSES: usize = 64;

/// Of one stream and cause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    pub packets: u64,
    /// Gaps without a number of packets.
    pub outages: u64,
    /// Total duration of the outages.
    pub seconds: f64,
}

impl Loss {
    /// Packets and outages.
    pub fn count(&self) -> u64 {
        self.packets.saturating_add(self.outages)
    }
}

/// Bounded, and with names of causes that can be printed, whatever the server sends.
#[derive(Debug, Default)]
pub struct Losses(BTreeMap<(MediaKind, Cause), Loss>);

impl Losses {
    pub fn add(&mut self, stream: MediaKind, gap: &Gap) {
        let key = (stream, self.countable(stream, &gap.cause));
        let loss = self.0.entry(key).or_default();
        loss.packets = loss.packets.saturating_add(gap.count.unwrap_or(0));
        loss.outages += u64::from(gap.count.is_none());
        loss.seconds += gap.seconds.unwrap_or(0.0);
    }

    fn countable(&self, stream: MediaKind, cause: &Cause) -> Cause {
        let Cause::Other(name) = cause else {
            return cause.clone();
        };
        let cause = Cause::Other(printable(name));
        let unknown = self.0.keys().filter(|(_, c)| matches!(c, Cause::Other(_)));
        let key = (stream, cause);
        if self.0.contains_key(&key) || unknown.count() < MAX_UNKNOWN_CAUSES {
            key.1
        } else {
            Cause::Other("other".into())
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (MediaKind, &Cause, &Loss)> {
        self.0
            .iter()
            .map(|((kind, cause), loss)| (*kind, cause, loss))
    }

    pub fn packets(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, l| sum.saturating_add(l.packets))
    }

    pub fn outages(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, l| sum.saturating_add(l.outages))
    }

    /// Packets and outages of both streams, by cause.
    pub fn by_cause(&self) -> Vec<(&str, u64)> {
        let mut causes: Vec<(&str, u64)> = Vec::new();
        for (_, cause, loss) in self.iter() {
            match causes.iter_mut().find(|(name, _)| *name == cause.name()) {
                Some((_, sum)) => *sum = sum.saturating_add(loss.count()),
                None => causes.push((cause.name(), loss.count())),
            }
        }
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media;

    fn gap(cause: Cause, count: Option<u64>) -> Gap {
        Gap {
            count,
            seconds: count.is_none().then_some(1.5),
            span_seconds: None,
            cause,
        }
    }

    fn unknown(name: impl Into<String>) -> Gap {
        gap(Cause::Other(name.into()), Some(1))
    }

    #[test]
    fn losses_names_of_unknown_causes_are_printable() {
        let mut losses = Losses::default();
        for name in [
            "\u{1b}]0;owned\u{7}\u{1b}[2J".to_owned(),
            "a\nFAILED: b\r".to_owned(),
            "\u{9b}31m\u{202e}".to_owned(),
            "x".repeat(1 << 20),
        ] {
            losses.add(MediaKind::Video, &unknown(name));
        }
        assert_eq!(losses.iter().count(), 4);
        for (_, cause, _) in losses.iter() {
            let name = cause.name();
            assert!(
                name.chars().count() <= media::MAX_PRINTABLE_CHARS
                    && name.chars().all(media::is_printable),
                "{name}"
            );
        }
    }

    #[test]
    fn losses_many_unknown_causes_are_counted_as_other() {
        let mut losses = Losses::default();
        for n in 0..1000 {
            losses.add(MediaKind::Audio, &unknown(format!("cause {n}")));
        }
        losses.add(MediaKind::Audio, &unknown("cause 0"));
        losses.add(MediaKind::Video, &unknown("cause 0"));
        losses.add(MediaKind::Video, &gap(media::Cause::Ring.into(), None));
        let entries: Vec<_> = losses
            .iter()
            .map(|(stream, cause, loss)| (stream, cause.name(), loss.count()))
            .collect();
        // 64 names, "other" of both streams, and the known cause.
        assert_eq!(entries.len(), 67);
        for expected in [
            (MediaKind::Audio, "cause 0", 2),
            (MediaKind::Audio, "other", 936),
            (MediaKind::Video, "other", 1),
            (MediaKind::Video, "ring", 1),
        ] {
            assert!(entries.contains(&expected), "{expected:?}: {entries:?}");
        }
        assert_eq!((losses.packets(), losses.outages()), (1002, 1));
    }

    #[test]
    fn losses_counts_saturate() {
        let mut losses = Losses::default();
        for cause in [media::Cause::Ring, media::Cause::Driver] {
            losses.add(MediaKind::Video, &gap(cause.into(), Some(u64::MAX)));
            losses.add(MediaKind::Video, &gap(cause.into(), None));
        }
        assert_eq!((losses.packets(), losses.outages()), (u64::MAX, 2));
        assert!(
            losses
                .by_cause()
                .iter()
                .all(|(_, count)| *count == u64::MAX)
        );
    }
}

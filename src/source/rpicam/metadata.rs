//! Parses rpicam-vid's metadata in text form: one record per frame, `Name=Value` lines ended by an
//! empty line. The order and set of names differ between builds, cameras and frames, so fields are
//! found by name.

use std::time::Duration;

/// A real record is about 500 bytes.
const MAX_RECORD_BYTES: usize = 64 << 10;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRecord {
    #[error("a metadata record has no valid SensorTimestamp")]
    NoStamp,
    #[error("two metadata records are merged")]
    Merged,
    #[error("a metadata record does not end")]
    Endless,
}

/// The fields of a record that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// libcamera's control `SensorTimestamp`, nanoseconds.
    pub sensor_timestamp_ns: u64,
    /// libcamera's control `FrameDuration` (in microseconds there): the time from this frame to the
    /// next.
    pub frame_duration: Option<Duration>,
}

/// Splits a stream of bytes into records. Holds at most [`MAX_RECORD_BYTES`] and the bytes of the
/// last push.
#[derive(Debug, Default)]
pub(crate) struct Records {
    buffer: Vec<u8>,
    /// No record ends before this offset.
    searched: usize,
}

impl Records {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record; `None` while it is incomplete.
    ///
    /// # Errors
    /// A record that is too long or malformed.
    pub fn next(&mut self) -> Result<Option<Record>, BadRecord> {
        let end = |at: usize| at == 0 || self.buffer[at - 1] == b'\n';
        let Some(end) =
            (self.searched..self.buffer.len()).find(|&at| self.buffer[at] == b'\n' && end(at))
        else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > MAX_RECORD_BYTES {
                Err(BadRecord::Endless)
            } else {
                Ok(None)
            };
        };
        let record = parse(&self.buffer[..end]);
        self.buffer.drain(..=end);
        self.searched = 0;
        record.map(Some)
    }
}

fn parse(record: &[u8]) -> Result<Record, BadRecord> {
    let mut stamp = None;
    let mut frame_duration = None;
    for line in record.split(|&b| b == b'\n') {
        let mut parts = line.splitn(2, |&b| b == b'=');
        let (name, value) = (parts.next(), parts.next().and_then(number));
        match name {
            // Twice in one record: the empty line between two records was lost.
            Some(b"SensorTimestamp") if stamp.is_some() => return Err(BadRecord::Merged),
            Some(b"SensorTimestamp") => stamp = Some(value.ok_or(BadRecord::NoStamp)?),
            Some(b"FrameDuration") => frame_duration = value.filter(|&us| us > 0),
            _ => {}
        }
    }
    Ok(Record {
        sensor_timestamp_ns: stamp.ok_or(BadRecord::NoStamp)?,
        frame_duration: frame_duration.map(Duration::from_micros),
    })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// All records of these bytes, read `step` at a time.
#[cfg(any(test, fuzzing))]
pub(crate) fn all(bytes: &[u8], step: usize) -> Result<Vec<Record>, BadRecord> {
    let (mut records, mut found) = (Records::default(), Vec::new());
    for part in bytes.chunks(step) {
        records.push(part);
        while let Some(record) = records.next()? {
            found.push(record);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a real rpicam-vid 1.12 wrote for five frames.
    const RECORDED: &[u8] = include_bytes!("../../../tests/data/rpicam/meta.txt");

    #[test]
    fn records_recorded_metadata_in_any_reads_is_parsed() {
        let expected: Vec<_> = (0..5)
            .map(|n| Record {
                sensor_timestamp_ns: 2_547_981_311_000 + n * 100_000_000,
                frame_duration: Some(Duration::from_millis(100)),
            })
            .collect();
        for step in 1..RECORDED.len() {
            assert_eq!(
                all(RECORDED, step).unwrap(),
                expected,
                "reads of {step} bytes"
            );
        }
    }

    #[test]
    fn records_any_order_and_unknown_names_are_parsed() {
        let record = |text: &[u8]| all(text, 7).unwrap();
        let expected = vec![Record {
            sensor_timestamp_ns: 5,
            frame_duration: None,
        }];
        assert_eq!(record(b"Lux=1\nSensorTimestamp=5\n\n"), expected);
        assert_eq!(
            record(b"SensorTimestamp=5\nNoise\nAe==\n=\n\xff=\xfe\nFrameDuration=-1\n\n"),
            expected
        );
    }

    #[test]
    fn records_invalid_gives_its_error() {
        assert_eq!(all(b"Lux=1\n\n", 9), Err(BadRecord::NoStamp));
        assert_eq!(all(b"\n", 9), Err(BadRecord::NoStamp));
        assert_eq!(all(b"SensorTimestamp=-5\n\n", 9), Err(BadRecord::NoStamp));
        assert_eq!(
            all(b"SensorTimestamp=99999999999999999999\n\n", 9),
            Err(BadRecord::NoStamp)
        );
        assert_eq!(
            all(b"SensorTimestamp=5\nLux=1\nSensorTimestamp=6\n\n", 9),
            Err(BadRecord::Merged)
        );
        assert_eq!(
            all(&vec![b'x'; MAX_RECORD_BYTES + 1], 4096),
            Err(BadRecord::Endless)
        );
    }

    proptest! {
        #[test]
        fn records_any_bytes_in_any_reads_give_the_same_result(
            bytes in proptest::collection::vec(prop_oneof![
                Just(b"SensorTimestamp=".to_vec()), Just(b"FrameDuration=66666\n".to_vec()), Just(b"\n".to_vec()),
                Just(b"123\n\n".to_vec()), proptest::collection::vec(any::<u8>(), 0..9)], 0..40),
            step in 1usize..30,
        ) {
            let bytes = bytes.concat();
            prop_assert_eq!(all(&bytes, step), all(&bytes, usize::MAX));
        }
    }
}

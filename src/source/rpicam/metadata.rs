//! rpicam-vid's metadata as text: one record per frame, `Name=Value` lines ended by an empty line. Knows no pipe and no
//! picture. The order and the set of names differ between builds, cameras and frames, so only names are looked for.

use std::time::Duration;

/// A real record is about 500 bytes.
const LONGEST_RECORD: usize = 64 << 10;

/// Why what came is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    #[error("a metadata record has no valid SensorTimestamp")]
    NoStamp,
    #[error("two metadata records came as one")]
    Merged,
    #[error("a metadata record has no end")]
    Endless,
}

/// What is used of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// libcamera's control `SensorTimestamp`, nanoseconds.
    pub sensor_timestamp_ns: u64,
    /// libcamera's control `FrameDuration` (there in microseconds): the time from this frame to the next.
    pub frame_duration: Option<Duration>,
}

/// Records from bytes as they come. Holds at most [`LONGEST_RECORD`] and what the last push brought.
#[derive(Debug, Default)]
pub struct Records {
    buffer: Vec<u8>,
    /// No record ends before this offset.
    searched: usize,
}

impl Records {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole record; `None` when it has not come yet.
    pub fn next(&mut self) -> Result<Option<Record>, BadRecord> {
        let end = |at: usize| at == 0 || self.buffer[at - 1] == b'\n';
        let Some(end) =
            (self.searched..self.buffer.len()).find(|&at| self.buffer[at] == b'\n' && end(at))
        else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > LONGEST_RECORD {
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
            // Two in one record: the empty line between two records was lost.
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
pub fn all(bytes: &[u8], step: usize) -> Result<Vec<Record>, BadRecord> {
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
    fn recorded_metadata_is_read_whatever_the_reads() {
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
    fn order_and_unknown_names_do_not_matter() {
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
    fn faulty_records_are_named() {
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
            all(&vec![b'x'; LONGEST_RECORD + 1], 4096),
            Err(BadRecord::Endless)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_reads_do_not_change_the_answer(
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

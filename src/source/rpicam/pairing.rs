//! Puts picture k of one pipe and record k of the other together, and notices when they are out of step. Pure: bytes in,
//! frames out; knows no process and no clock.
//!
//! rpicam-vid writes picture k whole, then record k, then begins picture k + 1, from one thread (its `Output::OutputReady`).
//! So each pipe proves what the other must hold already, and a lost record or picture is noticed without a time-out. Nothing
//! in a picture names its record: were a second picture and its record written before the lost one is looked for, they
//! would be taken for the first's, until the reader has caught up. The caller keeps its pipe shorter than a picture.

use super::metadata::{BadRecord, Record, Records};
use crate::encode::jpeg::markers::{Corrupt, Layout, MAX_JPEG_BYTES, Walker};
use std::time::Duration;

/// Why the two pipes cannot be put together any more: the camera must be started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("its pictures cannot be told apart: {0}")]
    Picture(#[from] Corrupt),
    #[error("a picture came without its metadata record")]
    MissingRecord,
    #[error(
        "it sends pictures but no metadata at all (rpicam-apps older than 1.0 has none: update it)"
    )]
    NoMetadata,
    #[error("a metadata record came without its picture")]
    MissingPicture,
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("its sensor's time did not grow: {now} ns after {before} ns")]
    StampNotGrowing { before: u64, now: u64 },
}

/// A picture with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Pixels, as the picture itself says.
    pub width: u16,
    pub height: u16,
    pub sensor_timestamp_ns: u64,
    /// Frames that the sensor made between the last pair and this one, as its time and frame duration tell.
    pub missed: u32,
}

/// What has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    Both,
    Picture,
    Record,
    Nothing,
}

/// Holds at most one picture ([`MAX_JPEG_BYTES`]) and one record, and what the last push brought beyond them: the caller
/// reads a pipe only while something is awaited of it, or once to see that the next picture has begun.
#[derive(Debug)]
pub struct Pairing {
    /// Begins with the picture that is coming, or has come whole.
    pictures: Vec<u8>,
    walker: Walker,
    picture: Option<Layout>,
    records: Records,
    record: Option<Record>,
    /// The pair that the picture and record are has been taken.
    taken: bool,
    last: Option<Record>,
    asked_interval: Duration,
}

impl Pairing {
    /// `asked_interval`: from frame to frame, where the metadata does not tell.
    pub fn new(asked_interval: Duration) -> Self {
        Self {
            pictures: Vec::new(),
            walker: Walker::new(MAX_JPEG_BYTES),
            picture: None,
            records: Records::default(),
            record: None,
            taken: false,
            last: None,
            asked_interval,
        }
    }

    pub fn push_picture_bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.pictures.extend_from_slice(bytes);
        self.look_for_picture()
    }

    pub fn push_metadata(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.records.push(bytes);
        self.look_for_record()
    }

    pub fn awaited(&self) -> Awaited {
        match (self.picture, self.record) {
            (None, None) => Awaited::Both,
            (None, Some(_)) => Awaited::Picture,
            (Some(_), None) => Awaited::Record,
            (Some(_), Some(_)) => Awaited::Nothing,
        }
    }

    /// True when bytes beyond a whole picture are there: then its record was written before them.
    pub fn next_picture_begun(&self) -> bool {
        self.picture.is_some_and(|p| self.pictures.len() > p.len)
    }

    /// The fault that it is when the next picture has begun and the record is not there.
    pub fn missing_record(&self) -> Fault {
        if self.last.is_none() {
            Fault::NoMetadata
        } else {
            Fault::MissingRecord
        }
    }

    /// The pair, once nothing is awaited; its bytes are [`Self::picture`] until [`Self::release`].
    pub fn take(&mut self) -> Result<Option<Pair>, Fault> {
        let (Some(picture), Some(record), false) = (self.picture, self.record, self.taken) else {
            return Ok(None);
        };
        let missed = match self.last {
            None => 0,
            Some(last) => self.missed_between(last, record)?,
        };
        self.taken = true;
        self.last = Some(record);
        Ok(Some(Pair {
            width: picture.width,
            height: picture.height,
            sensor_timestamp_ns: record.sensor_timestamp_ns,
            missed,
        }))
    }

    /// The whole JPEG that [`Self::take`] told of.
    pub fn picture(&self) -> &[u8] {
        &self.pictures[..self.picture.map_or(0, |p| p.len)]
    }

    /// Lets go of the pair that was taken, if any, and turns to the next.
    pub fn release(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.taken) {
            return Ok(());
        }
        let len = self.picture().len();
        self.pictures.drain(..len);
        self.picture = None;
        self.record = None;
        self.look_for_picture()?;
        self.look_for_record()
    }

    fn look_for_picture(&mut self) -> Result<(), Fault> {
        if self.picture.is_none() {
            self.picture = self.walker.walk(&self.pictures)?;
        }
        Ok(())
    }

    fn look_for_record(&mut self) -> Result<(), Fault> {
        if self.record.is_none() {
            self.record = self.records.next()?;
        }
        Ok(())
    }

    fn missed_between(&self, last: Record, this: Record) -> Result<u32, Fault> {
        let (before, now) = (last.sensor_timestamp_ns, this.sensor_timestamp_ns);
        if now <= before {
            return Err(Fault::StampNotGrowing { before, now });
        }
        // While the exposure control changes the rate, the longer of the two is the one that invents no loss.
        let interval = last
            .frame_duration
            .max(this.frame_duration)
            .unwrap_or(self.asked_interval);
        let interval = u64::try_from(interval.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let steps = ((now - before).saturating_add(interval / 2)) / interval;
        Ok(u32::try_from(steps.saturating_sub(1)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
pub mod tests;

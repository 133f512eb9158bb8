//! Pairs JPEG k from one pipe with metadata record k from the other, and detects when they are out
//! of step. Pure: bytes in, frames out.
//!
//! rpicam-vid writes JPEG k, then record k, then begins JPEG k + 1, from one thread (its
//! `Output::OutputReady`). So each pipe proves what the other must contain already, and a lost
//! record or JPEG is detected without a timeout. Nothing in a JPEG identifies its record: if a
//! second JPEG and its record were written before a lost record is looked for, that record would be
//! paired with the first JPEG, until the reader has caught up. The caller therefore keeps the
//! JPEGs' pipe smaller than a JPEG.

use super::metadata::{BadRecord, Record, Records};
use crate::encode::jpeg::markers::{Corrupt, Layout, MAX_JPEG_BYTES, Walker};
use std::time::Duration;

/// Why JPEGs and records cannot be paired any longer: rpicam-vid must be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("its JPEGs cannot be separated: {0}")]
    Jpeg(#[from] Corrupt),
    #[error("a JPEG without its metadata record")]
    MissingRecord,
    #[error("it writes JPEGs but no metadata (rpicam-apps older than 1.0 has none: update it)")]
    NoMetadata,
    #[error("a metadata record without its JPEG")]
    MissingJpeg,
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("sensor timestamps do not grow: {now} ns after {before} ns")]
    StampNotGrowing { before: u64, now: u64 },
}

/// A JPEG with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Pixels, from the JPEG.
    pub width: u16,
    pub height: u16,
    pub sensor_timestamp_ns: u64,
    /// Frames that the sensor made between the last pair and this one, from its timestamps and
    /// frame duration.
    pub missed: u32,
}

/// What has not arrived yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Both,
    Jpeg,
    Record,
    Nothing,
}

/// Pairs JPEGs and records. Holds at most one JPEG ([`MAX_JPEG_BYTES`]) and one record, and the
/// bytes of the last push beyond them: the caller reads a pipe only while something is awaited from
/// it, or once to see that the next JPEG has begun.
#[derive(Debug)]
pub(crate) struct Pairing {
    /// Begins with the current JPEG, complete or not.
    jpegs: Vec<u8>,
    walker: Walker,
    jpeg: Option<Layout>,
    records: Records,
    record: Option<Record>,
    /// The current pair was taken.
    taken: bool,
    last: Option<Record>,
    requested_interval: Duration,
}

impl Pairing {
    /// `requested_interval`: from frame to frame, where the metadata has none.
    pub fn new(requested_interval: Duration) -> Self {
        Self {
            jpegs: Vec::new(),
            walker: Walker::new(MAX_JPEG_BYTES),
            jpeg: None,
            records: Records::default(),
            record: None,
            taken: false,
            last: None,
            requested_interval,
        }
    }

    /// Adds bytes of the pipe of JPEGs.
    ///
    /// # Errors
    /// [`Fault::Jpeg`]; the pipes are out of step.
    pub fn push_jpeg_bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.jpegs.extend_from_slice(bytes);
        self.find_jpeg()
    }

    /// Adds bytes of the pipe of metadata.
    ///
    /// # Errors
    /// [`Fault::Record`]; the pipes are out of step.
    pub fn push_metadata(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.records.push(bytes);
        self.find_record()
    }

    pub fn awaited(&self) -> Awaited {
        match (self.jpeg, self.record) {
            (None, None) => Awaited::Both,
            (None, Some(_)) => Awaited::Jpeg,
            (Some(_), None) => Awaited::Record,
            (Some(_), Some(_)) => Awaited::Nothing,
        }
    }

    /// True when there are bytes beyond a complete JPEG: its record was written before them.
    pub fn next_jpeg_begun(&self) -> bool {
        self.jpeg.is_some_and(|p| self.jpegs.len() > p.len)
    }

    /// The fault where the next JPEG has begun and the record is missing.
    pub fn missing_record(&self) -> Fault {
        if self.last.is_none() {
            Fault::NoMetadata
        } else {
            Fault::MissingRecord
        }
    }

    /// The pair, once nothing is awaited. Its bytes are [`Self::jpeg`] until [`Self::release`].
    ///
    /// # Errors
    /// [`Fault::StampNotGrowing`].
    pub fn take(&mut self) -> Result<Option<Pair>, Fault> {
        let (Some(jpeg), Some(record), false) = (self.jpeg, self.record, self.taken) else {
            return Ok(None);
        };
        let missed = match self.last {
            None => 0,
            Some(last) => self.missed_between(last, record)?,
        };
        self.taken = true;
        self.last = Some(record);
        Ok(Some(Pair {
            width: jpeg.width,
            height: jpeg.height,
            sensor_timestamp_ns: record.sensor_timestamp_ns,
            missed,
        }))
    }

    /// The JPEG of the pair that [`Self::take`] returned.
    pub fn jpeg(&self) -> &[u8] {
        &self.jpegs[..self.jpeg.map_or(0, |p| p.len)]
    }

    /// Drops the pair that was taken, if any, and goes on to the next.
    ///
    /// # Errors
    /// Those of the bytes that are already there: see the two functions that add bytes.
    pub fn release(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.taken) {
            return Ok(());
        }
        let len = self.jpeg().len();
        self.jpegs.drain(..len);
        self.jpeg = None;
        self.record = None;
        self.find_jpeg()?;
        self.find_record()
    }

    fn find_jpeg(&mut self) -> Result<(), Fault> {
        if self.jpeg.is_none() {
            self.jpeg = self.walker.walk(&self.jpegs)?;
        }
        Ok(())
    }

    fn find_record(&mut self) -> Result<(), Fault> {
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
        // While automatic exposure changes the rate, the longer of the two reports no false loss.
        let interval = last
            .frame_duration
            .max(this.frame_duration)
            .unwrap_or(self.requested_interval);
        let interval = u64::try_from(interval.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let steps = ((now - before).saturating_add(interval / 2)) / interval;
        Ok(u32::try_from(steps.saturating_sub(1)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;

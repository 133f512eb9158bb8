//! What video and audio do differently in a worker's loop.

use crate::media::{Encoding, StreamInfo};
use crate::source::{ClockOffset, Source, SourceError, SourceIdentity};
use std::time::Duration;

/// The tracks of one source.
pub(super) trait Stream {
    type Source: Source + ?Sized;
    /// What the source delivers.
    type Item<'a>;

    /// The time expected between two items.
    fn interval(&self) -> Duration;

    /// Opens the source; `known` is the device that was open before.
    ///
    /// # Errors
    /// The device is missing, busy, or cannot do what was asked.
    fn open(
        &self,
        known: Option<&SourceIdentity>,
        clock_offset: ClockOffset,
    ) -> Result<Box<Self::Source>, SourceError>;

    /// Prepares for the items of a source that was opened.
    ///
    /// # Errors
    /// What it delivers cannot be encoded as asked.
    fn begin(&mut self, source: &Self::Source) -> Result<(), SourceError>;

    /// Waits for the next item, at most `timeout`; `None` when nothing came.
    ///
    /// # Errors
    /// The device failed or was unplugged.
    fn next<'a>(
        source: &'a mut Self::Source,
        timeout: Duration,
    ) -> Result<Option<Self::Item<'a>>, SourceError>;

    /// Encodes an item and publishes its packets. False for an item that is damaged.
    fn accept(&mut self, item: Self::Item<'_>) -> bool;

    /// The device works again after failures: they may be logged again.
    fn recovered(&mut self);

    /// The source, with what the stream makes of it; `None` while that is not known.
    fn describe(&self, source: &Self::Source) -> Option<StreamInfo>;

    /// The source failed or was unplugged, and is closed.
    fn source_lost(&mut self);

    /// The worker ends: publishes what was captured before, and joins the encoder threads.
    fn finish(&mut self);

    /// The number that each track's next packet gets.
    fn next_sequences(&self) -> impl Iterator<Item = (Encoding, u64)>;
}

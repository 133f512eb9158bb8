//! Fuzz target: what rpicam-vid writes to its three pipes, in any order and in any reads.

use super::metadata;
use super::pairing::{Fault, Pairing};
use super::stderr_tail::StderrTail;
use crate::encode::jpeg::size_of;
use crate::fuzz::Input;
use std::time::Duration;

/// The input is a sequence of reads: which pipe, how many bytes, the bytes.
pub fn pipes(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (mut pairing, mut stderr) = (
        Pairing::new(Duration::from_millis(33)),
        StderrTail::default(),
    );
    let mut last = None;
    while !input.is_empty() {
        let head = input.u8();
        let read = input.take(usize::from(head >> 2));
        let outcome = match head & 3 {
            0 => pairing.push_jpeg_bytes(read),
            1 => pairing.push_metadata(read),
            _ => {
                stderr.push(read);
                Ok(())
            }
        };
        if outcome
            .and_then(|()| take_pairs(&mut pairing, &mut last))
            .is_err()
        {
            break;
        }
    }
    let quoted = stderr.quote();
    assert!(
        quoted.len() <= 3000 && !quoted.contains(char::is_control),
        "{quoted:?}"
    );
    reads_do_not_change_the_records(bytes);
}

fn take_pairs(pairing: &mut Pairing, last: &mut Option<u64>) -> Result<(), Fault> {
    while let Some(pair) = pairing.take()? {
        assert_eq!(size_of(pairing.jpeg()), Some((pair.width, pair.height)));
        assert!(last.is_none_or(|last| last < pair.sensor_timestamp_ns));
        *last = Some(pair.sensor_timestamp_ns);
        pairing.release()?;
    }
    Ok(())
}

fn reads_do_not_change_the_records(bytes: &[u8]) {
    let step = bytes.first().map_or(1, |&b| usize::from(b).max(1));
    assert_eq!(metadata::all(bytes, step), metadata::all(bytes, usize::MAX));
}

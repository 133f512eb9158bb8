//! Fuzzing: a ring and a status text over memory that a hostile worker writes to at random, while
//! reader and writer continue.

use super::layout::Geometry;
use super::reader::Reader;
use super::record_header;
use super::record_header::LABEL_WORDS;
use super::writer::Writer;
use crate::fuzz::Input;
use crate::ipc::status::seqlock_text::Text;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const DATA_BYTES: usize = 6 * 64;
/// The text follows the ring.
const TEXT_BYTES: usize = 64;

/// The input is a sequence of operations.
pub fn memory(bytes: &[u8]) {
    let geometry = Geometry::new(3, DATA_BYTES, LABEL_WORDS).expect("a small ring");
    let ring_words = geometry.total_words();
    let text = Text {
        at: ring_words,
        capacity: TEXT_BYTES,
    };
    let shared: Arc<[AtomicU64]> = (0..ring_words + 2 + TEXT_BYTES / 8)
        .map(|_| AtomicU64::new(0))
        .collect();
    Writer::<_, LABEL_WORDS>::format(&shared, &geometry);
    let mut writer = Writer::<_, LABEL_WORDS>::recover(shared.clone(), geometry);
    let mut reader = Reader::<_, LABEL_WORDS>::new(shared.clone(), geometry);
    let (mut input, mut payload) = (Input(bytes), Vec::new());
    while !input.is_empty() {
        match input.u8() % 8 {
            0 => {
                let length = usize::from(input.u16()) % (DATA_BYTES + 1);
                writer
                    .push(std::array::from_fn(|_| input.word()), &vec![7; length])
                    .expect("it fits");
            }
            1 => writer = Writer::recover(shared.clone(), geometry),
            2 => text.write(&shared, input.take(80)),
            3 => assert!(
                text.read(&shared)
                    .is_none_or(|read| read.len() <= TEXT_BYTES)
            ),
            // Words with a meaning: the first lines of the header, the slots, the text.
            4 => shared[usize::from(input.u8()) % 24].store(input.word(), Relaxed),
            5 => shared[geometry.slot(input.u8().into()) + usize::from(input.u8() % 8)]
                .store(input.word(), Relaxed),
            6 => shared[text.at + usize::from(input.u8() % 10)].store(input.word(), Relaxed),
            _ => match reader.pop(&mut payload) {
                Ok(Some(record)) => {
                    assert!(payload.len() <= DATA_BYTES);
                    if let Ok(meta) = record_header::decode(record.header) {
                        assert_eq!(
                            record_header::decode(record_header::encode(&meta)),
                            Ok(meta)
                        );
                    }
                }
                Ok(None) | Err(_) => assert!(payload.is_empty()),
            },
        }
    }
    // Whatever was done to it: with a new worker it is a ring again.
    let mut writer = Writer::<_, LABEL_WORDS>::recover(shared.clone(), geometry);
    let _ = reader.pop(&mut payload);
    while reader
        .pop(&mut payload)
        .expect("one fault is reported once")
        .is_some()
    {}
    writer.push([1; LABEL_WORDS], b"whole").expect("it fits");
    let record = reader
        .pop(&mut payload)
        .expect("it is a ring")
        .expect("with one record");
    assert_eq!(
        (record.header, &payload[..]),
        ([1; LABEL_WORDS], &b"whole"[..])
    );
}

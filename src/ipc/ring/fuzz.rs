//! Fuzzed: a ring and a status text over memory in which a hostile worker writes what it likes, while reader and writer go on.

use super::layout::Geometry;
use super::reader::Reader;
use super::record_header;
use super::record_header::LABEL;
use super::writer::Writer;
use crate::fuzz::Input;
use crate::ipc::status::seqlock_text::Text;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const DATA_BYTES: usize = 6 * 64;
/// The text lies behind the ring.
const TEXT_BYTES: usize = 64;

/// The input is a row of acts.
pub fn memory(bytes: &[u8]) {
    let geometry = Geometry::new(3, DATA_BYTES, LABEL).expect("a small ring");
    let ring_words = geometry.total_words();
    let text = Text {
        at: ring_words,
        capacity: TEXT_BYTES,
    };
    let shared: Arc<[AtomicU64]> = (0..ring_words + 2 + TEXT_BYTES / 8)
        .map(|_| AtomicU64::new(0))
        .collect();
    Writer::<_, LABEL>::format(&shared, &geometry);
    let mut writer = Writer::<_, LABEL>::recover(shared.clone(), geometry);
    let mut reader = Reader::<_, LABEL>::new(shared.clone(), geometry);
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
            // Words that mean something lie in three places: the header's first lines, the slots, the text.
            4 => shared[usize::from(input.u8()) % 24].store(input.word(), Relaxed),
            5 => shared[geometry.slot(input.u8().into()) + usize::from(input.u8() % 8)]
                .store(input.word(), Relaxed),
            6 => shared[text.at + usize::from(input.u8() % 10)].store(input.word(), Relaxed),
            _ => match reader.pop(&mut payload) {
                Ok(Some(record)) => {
                    assert!(payload.len() <= DATA_BYTES);
                    if let Ok(meta) = record_header::decode(record.label) {
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
    // Whatever was done to it: with a worker started anew, it is a ring again.
    let mut writer = Writer::<_, LABEL>::recover(shared.clone(), geometry);
    let _ = reader.pop(&mut payload);
    while reader
        .pop(&mut payload)
        .expect("one fault is told once")
        .is_some()
    {}
    writer.push([1; LABEL], b"whole").expect("it fits");
    let record = reader
        .pop(&mut payload)
        .expect("it is a ring")
        .expect("with one record");
    assert_eq!((record.label, &payload[..]), ([1; LABEL], &b"whole"[..]));
}

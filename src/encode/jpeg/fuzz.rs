//! Fuzz target: any bytes, in reads of any length. The walker never panics, gives the same answer
//! for each way of reading, and an image that it calls complete is complete.

use super::markers::{Walker, walk};
use super::{repair, size_of};
use crate::fuzz::Input;

const MAX_BYTES: usize = 4096;

pub fn markers(bytes: &[u8]) {
    let mut input = Input(bytes);
    let step = usize::from(input.u16()).max(1);
    let bytes = input.rest();
    let whole = Walker::new(MAX_BYTES).walk(bytes);

    let (mut walker, mut answer, mut given) = (Walker::new(MAX_BYTES), Ok(None), 0);
    while answer == Ok(None) && given < bytes.len() {
        given = (given + step).min(bytes.len());
        answer = walker.walk(&bytes[..given]);
    }
    assert_eq!(answer, whole);

    if let Ok(Some(layout)) = whole {
        assert_eq!(walk(bytes), Ok(layout));
        assert_eq!(size_of(bytes), Some((layout.width, layout.height)));
        let mut memory = Vec::new();
        if let Ok(repaired) = repair(bytes, &mut memory) {
            let again = Walker::new(usize::MAX)
                .walk(repaired.bytes)
                .expect("a repaired image is valid")
                .expect("and complete");
            assert_eq!(
                (again.len, again.tables_missing_at, again.unneeded_bytes),
                (repaired.bytes.len(), None, 0)
            );
        }
    }
}

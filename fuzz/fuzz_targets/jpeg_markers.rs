//! Any bytes, in any reads: the walker never panics, gives the same answer, and what it calls whole is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stampcast::capture::jpeg::markers::{Walker, walk};
use stampcast::capture::jpeg::{repair, size_of};

const MAX_BYTES: usize = 4096;

fuzz_target!(|input: (u16, &[u8])| {
    let (step, bytes) = (usize::from(input.0).max(1), input.1);
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
            let again = Walker::new(usize::MAX).walk(repaired.bytes).expect("what was repaired is good").expect("and whole");
            assert_eq!((again.len, again.tables_missing_at), (repaired.bytes.len(), None));
        }
    }
});

//! `/stream`'s query with arbitrary input: it is parsed or refused in one line, and never panics.

use proptest::prelude::*;
use stampcast::wire::Query;

const NAMES: &str = "(video|audio|events|format|delivery|max_fps|window|audio_rate|audio_channels|token|[a-z]{0,8})";

proptest! {
    #[test]
    fn query_any_is_read_or_refused_in_one_line(pairs in prop::collection::vec((NAMES, "(0|1|text|all|[0-9.eE+-]{0,12}|\\PC{0,12})"), 0..6)) {
        if let Err(refusal) = Query::from_pairs(pairs) {
            prop_assert!(!refusal.to_string().contains('\n'), "{refusal}");
        }
    }
}

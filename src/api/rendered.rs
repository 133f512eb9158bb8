//! Answers that are rendered once for all who ask within a moment, so that a client that asks without
//! pause costs no more than one that asks now and then.

use axum::body::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old an answer may be.
const MAX_AGE: Duration = Duration::from_millis(100);

/// The last answer for each key. The caller bounds the number of keys.
pub(super) struct Rendered<K>(Mutex<BTreeMap<K, (Instant, Bytes)>>);

impl<K: Ord> Rendered<K> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// The answer for `key`, made by `render` where the last one is older than 100 ms.
    ///
    /// # Errors
    /// Those of `render`; they are not kept.
    pub(super) fn get<E>(
        &self,
        key: K,
        now: Instant,
        render: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        // A panic of `render` leaves the answers as they were.
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, answer)) = answers.get(&key)
            && now.saturating_duration_since(*at) < MAX_AGE
        {
            return Ok(answer.clone());
        }
        let answer = render()?;
        answers.insert(key, (now, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn rendered_once_for_all_who_ask_within_a_moment() {
        let (answers, start) = (Rendered::new(), Instant::now());
        let mut renders = 0;
        let mut get = |key, ms| {
            let now = start + Duration::from_millis(ms);
            let answer = answers.get(key, now, || {
                renders += 1;
                Ok::<_, Infallible>(Bytes::from(vec![renders]))
            });
            answer.map(|bytes| bytes[0])
        };
        let rendered = [
            ("a", 0),
            ("a", 99),
            ("b", 99),
            ("a", 100),
            ("b", 198),
            ("b", 199),
        ];
        let found = rendered.map(|(key, ms)| get(key, ms));
        assert_eq!(found, [1, 1, 2, 3, 2, 4].map(Ok));
    }

    #[test]
    fn rendered_panic_does_not_prevent_later_answers() {
        let (answers, now) = (Rendered::new(), Instant::now());
        let panicked = std::thread::scope(|scope| {
            let panics = || answers.get((), now, || -> Result<Bytes, Infallible> { panic!("x") });
            scope.spawn(panics).join().is_err()
        });
        assert!(panicked);
        let answer = answers.get((), now, || Ok::<_, Infallible>(Bytes::from_static(b"yes")));
        assert_eq!(answer, Ok(Bytes::from_static(b"yes")));
    }

    #[test]
    fn rendered_error_is_not_kept() {
        let (answers, now) = (Rendered::new(), Instant::now());
        assert_eq!(answers.get((), now, || Err("no")), Err("no"));
        let answer = answers.get((), now, || Ok::<_, &str>(Bytes::from_static(b"yes")));
        assert_eq!(answer, Ok(Bytes::from_static(b"yes")));
    }
}

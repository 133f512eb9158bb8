//! What every benchmark needs: this thread's CPU time, medians of interleaved runs.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// CPU time of this thread, without that of other processes.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("the thread has a clock")
        .into()
}

/// Median times of one call of each of `candidates`, which are called in turn, so that a slow
/// second affects all alike. Each sample is the mean of `calls` calls.
pub fn interleaved<const N: usize>(
    samples: usize,
    calls: u32,
    candidates: [&mut dyn FnMut(); N],
) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    let mut candidates = candidates;
    for sample in 0..samples + 2 {
        for (candidate, times) in candidates.iter_mut().zip(&mut times) {
            let begin = cpu_time();
            (0..calls).for_each(|_| candidate());
            // The first two warm the caches and the memory up.
            if sample >= 2 {
                times.push((cpu_time() - begin) / calls);
            }
        }
    }
    times.map(median)
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

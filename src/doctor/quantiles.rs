//! Quantiles of many values in bounded memory, and a line through points. Pure.

/// Values for quantiles, at most [`Quantiles::CAPACITY`]: when it is full, every second value is
/// discarded, and from then on only every second (fourth, …) new one is kept.
#[derive(Clone, Debug, Default)]
pub struct Quantiles {
    kept: Vec<f64>,
    /// Of so many values one is kept; 0 means 1.
    every: u64,
    seen: u64,
}

impl Quantiles {
    const CAPACITY: usize = 65_536;

    pub fn add(&mut self, value: f64) {
        let every = self.every.max(1);
        if self.seen.is_multiple_of(every) {
            self.kept.push(value);
            if self.kept.len() > Self::CAPACITY {
                let mut odd = false;
                self.kept.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.every = every * 2;
            }
        }
        self.seen += 1;
    }

    /// Values added, including those that were discarded.
    pub fn count(&self) -> u64 {
        self.seen
    }

    pub fn extend(&mut self, value: Option<f64>) {
        value.into_iter().for_each(|value| self.add(value));
    }

    /// The smallest value that is at least as large as `share` (0 to 1) of all; `None` without
    /// values.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.kept.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied()
    }

    pub fn standard_deviation(&self) -> Option<f64> {
        let n = self.kept.len() as f64;
        let mean = self.kept.iter().sum::<f64>() / n;
        (n > 0.0).then(|| (self.kept.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
    }
}

/// The slope of a least-squares line.
#[derive(Clone, Copy, Debug)]
pub struct LinearFit {
    pub slope: f64,
    pub standard_error: f64,
}

impl LinearFit {
    /// `None` for fewer than ten points, and for points with one x.
    pub fn new(points: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let points: Vec<_> = points.collect();
        let n = points.len() as f64;
        let (mx, my) = (
            points.iter().map(|p| p.0).sum::<f64>() / n,
            points.iter().map(|p| p.1).sum::<f64>() / n,
        );
        let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
        let sxy: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
        let slope = sxy / sxx;
        let residuals: f64 = points
            .iter()
            .map(|p| (p.1 - my - slope * (p.0 - mx)).powi(2))
            .sum();
        (points.len() >= 10 && sxx > 0.0).then(|| Self {
            slope,
            standard_error: (residuals / (n - 2.0) / sxx).sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_beyond_capacity_stay_correct() {
        let mut quantiles = Quantiles::default();
        for i in 0..1_000_000u32 {
            quantiles.add(f64::from(i % 1000));
        }
        assert!(quantiles.kept.len() <= Quantiles::CAPACITY);
        assert_eq!(quantiles.count(), 1_000_000);
        for share in [0.5, 0.95, 0.99] {
            let value = quantiles.quantile(share).expect("there are values");
            assert!((value - share * 1000.0).abs() < 20.0, "{share}: {value}");
        }
    }

    #[test]
    fn quantiles_of_few_values_are_those_values() {
        let mut quantiles = Quantiles::default();
        assert_eq!(quantiles.quantile(0.5), None);
        quantiles.add(3.0);
        for share in [0.0, 0.5, 1.0] {
            assert_eq!(quantiles.quantile(share), Some(3.0));
        }
    }
}

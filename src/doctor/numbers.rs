//! Small statistics: quantiles of many values in bounded memory, and a line through points. Pure.

/// Values for quantiles. Bounded: beyond [`Spread::MOST`] every second value is forgotten, and from then on only every
/// second (fourth, …) one is kept.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    kept: Vec<f64>,
    every: u64,
    seen: u64,
}

impl Spread {
    const MOST: usize = 65_536;

    pub fn add(&mut self, value: f64) {
        let every = self.every.max(1);
        if self.seen.is_multiple_of(every) {
            self.kept.push(value);
            if self.kept.len() > Self::MOST {
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

    pub fn count(&self) -> u64 {
        self.seen
    }

    pub fn extend(&mut self, value: Option<f64>) {
        value.into_iter().for_each(|value| self.add(value));
    }

    /// The value that this share of the values (0 to 1) does not exceed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.kept.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied()
    }

    /// Root of the mean square distance from the mean.
    pub fn deviation(&self) -> Option<f64> {
        let n = self.kept.len() as f64;
        let mean = self.kept.iter().sum::<f64>() / n;
        (n > 0.0).then(|| (self.kept.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
    }
}

/// A least-squares line, and how sure it is.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub slope: f64,
    /// The slope's standard error.
    pub error: f64,
}

impl Line {
    /// `None` for fewer than ten points, or points one above the other.
    pub fn through(points: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let points: Vec<_> = points.collect();
        let n = points.len() as f64;
        let (mx, my) = (
            points.iter().map(|p| p.0).sum::<f64>() / n,
            points.iter().map(|p| p.1).sum::<f64>() / n,
        );
        let across: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
        let along: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
        let slope = along / across;
        let off: f64 = points
            .iter()
            .map(|p| (p.1 - my - slope * (p.0 - mx)).powi(2))
            .sum();
        (points.len() >= 10 && across > 0.0).then(|| Self {
            slope,
            error: (off / (n - 2.0) / across).sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stay_right_when_values_are_thinned() {
        let mut spread = Spread::default();
        for i in 0..1_000_000u32 {
            spread.add(f64::from(i % 1000));
        }
        assert!(spread.kept.len() <= Spread::MOST);
        assert_eq!(spread.count(), 1_000_000);
        for share in [0.5, 0.95, 0.99] {
            let value = spread.quantile(share).expect("there are values");
            assert!((value - share * 1000.0).abs() < 20.0, "{share}: {value}");
        }
    }

    #[test]
    fn few_values_have_quantiles_too() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantile(0.5), None);
        spread.add(3.0);
        assert_eq!(
            (
                spread.quantile(0.0),
                spread.quantile(0.5),
                spread.quantile(1.0)
            ),
            (Some(3.0), Some(3.0), Some(3.0))
        );
    }
}

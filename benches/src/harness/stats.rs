//! Summary statistics of samples.

use serde::{Deserialize, Serialize};

/// The statistics of the samples of one way, in the unit of its row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The median.
    pub(crate) median: f64,
    /// The minimum.
    pub(crate) min: f64,
    /// The 10th percentile.
    pub(crate) p10: f64,
    /// The 90th percentile.
    pub(crate) p90: f64,
    /// The 99th percentile, if there are enough samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) p99: Option<f64>,
    /// The number of samples.
    pub(crate) samples: usize,
}

/// The minimum number of samples for a 99th percentile.
pub(crate) const PERCENTILE: usize = 100;

impl Summary {
    /// Summarizes the finite samples. `None` if there are none.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted: Vec<_> = samples.iter().copied().filter(|sample| sample.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            min: *sorted.first()?,
            p10: quantile(&sorted, 0.1)?,
            p90: quantile(&sorted, 0.9)?,
            p99: if sorted.len() >= PERCENTILE { quantile(&sorted, 0.99) } else { None },
            samples: sorted.len(),
        })
    }
}

/// The comparison of one way with another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// The ratio of the two medians.
    pub(crate) median: f64,
    /// The 10th percentile of the ratios within each round.
    pub(crate) p10: f64,
    /// Their 90th percentile.
    pub(crate) p90: f64,
}

impl Ratio {
    /// Compares samples that were taken side by side. `None` if the other way has no samples.
    pub(crate) fn of(ours: &[f64], other: &[f64]) -> Option<Self> {
        let (a, b) = (Summary::of(ours)?, Summary::of(other)?);
        let pairs: Vec<_> = ours.iter().zip(other).map(|(a, b)| a / b).collect();
        let spread = Summary::of(&pairs)?;
        let median = a.median / b.median;
        median.is_finite().then_some(Self { median, p10: spread.p10, p90: spread.p90 })
    }
}

/// Interpolates between the two samples around the position `q` (0..=1) of `sorted`.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let place = q * sorted.len().checked_sub(1)? as f64;
    let low = *sorted.get(place.floor() as usize)?;
    let high = *sorted.get(place.ceil() as usize)?;
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_of_the_sorted_samples() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(summary, Summary { median: 3.0, min: 1.0, p10: 1.4, p90: 4.6, p99: None, samples: 5 });
        assert_eq!(Summary::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Summary::of(&[7.0]).unwrap().p90, 7.0);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[f64::NAN]), None);
        assert_eq!(Summary::of(&[f64::NAN, 2.0]).unwrap().samples, 1);
        let hundred: Vec<_> = (0..=100).map(f64::from).collect();
        assert_eq!(Summary::of(&hundred).unwrap().p99, Some(99.0));
        assert_eq!(Summary::of(&hundred[..99]).unwrap().p99, None);
    }

    #[test]
    fn a_ratio_is_of_the_medians_and_its_spread_of_the_rounds() {
        // The machine is twice as slow in the second round for both ways, which does not affect the
        // spread.
        let ratio = Ratio::of(&[1.1, 2.2, 1.1], &[1.0, 2.0, 1.0]).unwrap();
        assert!((ratio.median - 1.1).abs() < 1e-12 && (ratio.p90 - ratio.p10).abs() < 1e-12, "{ratio:?}");
        assert_eq!(Ratio::of(&[1.0], &[0.0]), None);
        assert_eq!(Ratio::of(&[], &[1.0]), None);
    }
}

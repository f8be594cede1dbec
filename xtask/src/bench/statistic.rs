//! What several measurements come to.

/// The middle one, and how far the others are from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of some values; `None` where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, low, high })
    }
}

/// The smallest of some values that at least such a share of them (0 to 1) does not exceed; `None` where there are none.
pub fn percentile(values: impl IntoIterator<Item = f64>, share: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // a place among them
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        assert_eq!(percentile([], 0.5), None);
        assert_eq!(percentile([7.0], 0.99), Some(7.0));
        let hundred = || (1..=100).rev().map(f64::from);
        assert_eq!(percentile(hundred(), 0.5), Some(50.0));
        assert_eq!(percentile(hundred(), 0.99), Some(99.0));
        assert_eq!(percentile(hundred(), 1.0), Some(100.0));
        assert_eq!(percentile(hundred(), 0.0), Some(1.0));
    }
}

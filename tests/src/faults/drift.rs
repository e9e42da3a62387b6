//! Whether something grows: robust against single values that are far off.

/// The slope of the Theil-Sen line: the median of the slopes between all pairs of points. 0 with less than two points.
#[must_use]
pub fn theil_sen(points: &[(f64, f64)]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(n, a)| points[n + 1..].iter().map(move |b| (a, b)));
    let slopes = pairs.filter(|(a, b)| a.0 < b.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0));
    quantile(slopes.collect(), 0.5).unwrap_or(0.0)
}

/// The value below which that share of the values is; none of none.
#[must_use]
pub fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_that_is_far_off_makes_no_slope() {
        let mut points: Vec<_> = (0..50).map(|n| (f64::from(n), 2.0 * f64::from(n))).collect();
        points[49].1 = 10_000.0;
        assert!((theil_sen(&points) - 2.0).abs() < 0.01);
        assert_eq!(theil_sen(&points[..1]), 0.0);
    }

    #[test]
    fn takes_quantiles_of_any_number_of_values() {
        assert_eq!(quantile(vec![3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(quantile(vec![3.0, 1.0, 2.0], 1.0), Some(3.0));
        assert_eq!(quantile(Vec::new(), 0.99), None);
    }
}

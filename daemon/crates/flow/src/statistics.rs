//! Intervals and comparisons of means.

use autodidact_domain::random::Random;
use autodidact_domain::report::Interval;

/// Resamples of a bootstrap; the 2.5% ends then rest on 50 resamples each.
const RESAMPLES: usize = 2000;
/// The 97.5% point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The mean, 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        0.0
    } else {
        values.iter().sum::<f64>() / values.len() as f64
    }
}

/// The 95% percentile bootstrap interval of a ratio of sums (Efron 1979), resampling pairs of (part, whole).
pub(crate) fn ratio_interval(pairs: &[(f64, f64)], seed: u64) -> Interval {
    let ratio = |indices: &mut dyn Iterator<Item = usize>| {
        let (part, whole) = indices.fold((0.0, 0.0), |(p, w), i| (p + pairs[i].0, w + pairs[i].1));
        if whole == 0.0 { 0.0 } else { part / whole }
    };
    percentile_interval(pairs.len(), seed, ratio)
}

/// The 95% percentile bootstrap interval of a mean.
pub(crate) fn mean_interval(values: &[f64], seed: u64) -> Interval {
    let pairs: Vec<(f64, f64)> = values.iter().map(|value| (*value, 1.0)).collect();
    ratio_interval(&pairs, seed)
}

/// The 95% Wilson score interval of a share (Wilson 1927).
pub(crate) fn wilson_interval(successes: u64, n: u64) -> Interval {
    const Z: f64 = 1.959_963_984_540_054; // the 97.5% point of the normal distribution
    score_interval(successes, n, Z)
}

/// Finds where the normal distribution's cumulative probability is `p`, from 0.5 to 0.9999, by bisection.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 5.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        match normal_probability(middle) < p {
            true => low = middle,
            false => high = middle,
        }
    }
    (low + high) / 2.0
}

/// The normal distribution's cumulative probability from 0 to 5, by its series (Marsaglia 2004, "Evaluating the Normal
/// Distribution").
fn normal_probability(x: f64) -> f64 {
    let (mut sum, mut term, mut divisor) = (x, x, 1.0);
    while term > sum * f64::EPSILON {
        divisor += 2.0;
        term *= x * x / divisor;
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

/// The Wilson score interval of a share, at a quantile of the normal distribution.
pub(crate) fn score_interval(successes: u64, n: u64, z: f64) -> Interval {
    if n == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    let (n, p) = (n as f64, successes as f64 / n as f64);
    let center = p + z * z / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    Interval {
        low: ((center - spread) / scale).max(0.0),
        high: ((center + spread) / scale).min(1.0),
    }
}

/// The 95% normal interval of a statistic by its delete-one jackknife (Tukey 1958, Efron & Stein 1981): `without_one` has its values
/// without each of the things that it is of.
pub(crate) fn jackknife_interval(value: f64, without_one: &[f64]) -> Interval {
    let (n, center) = (without_one.len() as f64, mean(without_one));
    let squares: f64 = without_one.iter().map(|x| (x - center).powi(2)).sum();
    let half = match without_one.len() {
        0 => 0.0,
        _ => Z * (squares * (n - 1.0) / n).sqrt(),
    };
    Interval {
        low: value - half,
        high: value + half,
    }
}

/// The 95% interval of the mean of paired differences `after - before` (paired bootstrap, Koehn 2004).
pub(crate) fn paired_difference(before: &[f64], after: &[f64], seed: u64) -> (f64, Interval) {
    let differences: Vec<f64> = before.iter().zip(after).map(|(b, a)| a - b).collect();
    (mean(&differences), mean_interval(&differences, seed))
}

/// The difference `after - before` of two ratios of sums over the same things, each a pair of (part, whole), with its 95% interval
/// (paired bootstrap, Koehn 2004: both ratios are of the same things that were drawn).
pub(crate) fn paired_ratio_difference(
    before: &[(f64, f64)],
    after: &[(f64, f64)],
    seed: u64,
) -> (f64, Interval) {
    let n = before.len().min(after.len());
    let difference = |places: &mut dyn Iterator<Item = usize>| {
        let mut sums = [(0.0, 0.0); 2];
        for place in places {
            for (sum, pair) in sums.iter_mut().zip([before[place], after[place]]) {
                *sum = (sum.0 + pair.0, sum.1 + pair.1);
            }
        }
        let [before, after] = sums.map(|(part, whole)| match whole {
            0.0 => 0.0,
            whole => part / whole,
        });
        after - before
    };
    (
        difference(&mut (0..n)),
        percentile_interval(n, seed, difference),
    )
}

/// The 95% percentile bootstrap interval of a statistic of `n` things, computed from the places of those that were drawn.
pub(crate) fn percentile_interval(
    n: usize,
    seed: u64,
    statistic: impl Fn(&mut dyn Iterator<Item = usize>) -> f64,
) -> Interval {
    if n == 0 {
        return Interval {
            low: 0.0,
            high: 0.0,
        };
    }
    let mut random = Random::from_seed(seed);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| statistic(&mut (0..n).map(|_| random.below(n))))
        .collect();
    values.sort_by(f64::total_cmp);
    Interval {
        low: values[RESAMPLES * 25 / 1000],
        high: values[RESAMPLES * 975 / 1000 - 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_matches_published_values() {
        // Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
        let interval = wilson_interval(81, 263);
        assert!(
            (interval.low - 0.2553).abs() < 1e-4 && (interval.high - 0.3662).abs() < 1e-4,
            "{interval:?}"
        );
        let interval = wilson_interval(0, 20);
        assert!(
            interval.low == 0.0 && (interval.high - 0.1611).abs() < 1e-4,
            "{interval:?}"
        );
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.9, 1.281552),
            (0.95, 1.644854),
            (0.975, 1.959964),
            (0.9999, 3.719016),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-6, "{p}");
        }
        let two_sided = wilson_interval(81, 263);
        let each = |confidence| score_interval(81, 263, normal_quantile(confidence)).low;
        assert!((two_sided.low - each(0.975)).abs() < 1e-12);
        assert!(each(0.95) > two_sided.low);
    }

    #[test]
    fn a_bootstrap_interval_is_near_the_normal_one() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
        let interval = mean_interval(&values, 1);
        let half = 1.96 * (399.0f64 / 12.0).sqrt() / 20.0;
        assert!(
            (interval.low - (9.5 - half)).abs() < 0.1 && (interval.high - (9.5 + half)).abs() < 0.1,
            "{interval:?}"
        );
    }

    #[test]
    fn the_jackknife_of_a_mean_is_its_normal_interval() {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let without = |place: usize| (190.0 - values[place]) / 19.0;
        let without: Vec<f64> = (0..20).map(without).collect();
        let interval = jackknife_interval(9.5, &without);
        // The standard error of the mean of 0 to 19 is the root of 35 / 20.
        let half = 1.959_964 * (35.0f64 / 20.0).sqrt();
        assert!((interval.high - 9.5 - half).abs() < 1e-5, "{interval:?}");
        assert!((9.5 - interval.low - half).abs() < 1e-5, "{interval:?}");
    }

    #[test]
    fn a_paired_difference_sees_what_separate_intervals_hide() {
        let before: Vec<f64> = (0..50).map(f64::from).collect();
        let after: Vec<f64> = before.iter().map(|x| x - 0.5).collect();
        let (mean, interval) = paired_difference(&before, &after, 3);
        assert!((mean + 0.5).abs() < 1e-9 && interval.high < 0.0);
    }

    #[test]
    fn ratios_are_paired_as_means_are() {
        let before: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i) * 2.0, 2.0)).collect();
        let after: Vec<(f64, f64)> = before
            .iter()
            .map(|(part, n)| (part - n * 0.5, *n))
            .collect();
        let (difference, interval) = paired_ratio_difference(&before, &after, 3);
        assert!((difference + 0.5).abs() < 1e-9);
        assert!(interval.high < -0.4 && interval.low > -0.6, "{interval:?}");
        let nothing = paired_ratio_difference(&[], &[], 3);
        assert_eq!(nothing.0, 0.0);
    }
}

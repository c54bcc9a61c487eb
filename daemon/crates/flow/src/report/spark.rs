//! Curves for a line of text and for a drawing: how many points there is room for, and where marks on an axis stand.

/// Blocks of rising height (Unicode: Block Elements).
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The most blocks of a line.
const MOST_BLOCKS: usize = 60;

/// Draws values as blocks, the lowest at the least of them; many values are averaged to fit a line.
pub(super) fn sparkline(values: &[f64]) -> String {
    let points: Vec<(f64, f64)> = values.iter().map(|value| (0.0, *value)).collect();
    let values: Vec<f64> = thin(&points, MOST_BLOCKS).iter().map(|p| p.1).collect();
    let Some((low, high)) = range(values.iter().copied()) else {
        return String::new();
    };
    let block = |value: &f64| {
        let share = if high > low {
            (value - low) / (high - low)
        } else {
            0.5
        };
        BLOCKS[(share * (BLOCKS.len() - 1) as f64).round() as usize]
    };
    values.iter().map(block).collect()
}

/// Averages neighbours until at most so many points are left.
pub(super) fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most || most == 0 {
        return points.to_vec();
    }
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        let sum = part.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
        (sum.0 / n, sum.1 / n)
    };
    let bounds = |i: usize| i * points.len() / most;
    (0..most)
        .map(|i| mean(&points[bounds(i)..bounds(i + 1)]))
        .collect()
}

/// Finds the least and the greatest value; none of nothing.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |found, value| {
        let (low, high) = found.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// Places marks on an axis: multiples of 1, 2 or 5 times a power of ten, about as many as are wanted, with the decimals to show them.
pub(super) fn ticks(low: f64, high: f64, wanted: u32) -> (Vec<f64>, usize) {
    if high <= low {
        return (vec![low], 2);
    }
    let rough = (high - low) / f64::from(wanted.max(1));
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|unit| unit * power);
    let step = step
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    let marks = (first..=last).map(|i| i as f64 * step);
    (marks.collect(), decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_blocks_rises_and_falls_with_its_values() {
        let check = |values: &[f64], expect: &str| assert_eq!(sparkline(values), expect);
        check(&[], "");
        check(&[3.0], "▅");
        check(&[7.0, 3.5, 0.0], "█▅▁");
        let many: Vec<f64> = (0..600).map(f64::from).collect();
        let drawn = sparkline(&many);
        assert_eq!(drawn.chars().count(), MOST_BLOCKS);
        assert!(drawn.starts_with('▁') && drawn.ends_with('█'));
    }

    #[test]
    fn thinning_keeps_the_mean() {
        let points: Vec<(f64, f64)> = (0..10).map(|i| (f64::from(i), f64::from(i * i))).collect();
        assert_eq!(thin(&points, 10), points);
        let thinned = thin(&points, 5);
        assert_eq!(thinned[0], (0.5, 0.5));
        assert_eq!(thinned.len(), 5);
        let sum: f64 = thinned.iter().map(|p| p.1).sum();
        assert!((sum * 2.0 - 285.0).abs() < 1e-9);
    }

    #[test]
    fn marks_are_round_numbers_within_the_axis() {
        let check = |low: f64, high: f64, wanted: u32, expect: &[f64], decimals: usize| {
            let (marks, shown) = ticks(low, high, wanted);
            assert_eq!(shown, decimals, "{marks:?}");
            assert_eq!(marks.len(), expect.len(), "{marks:?}");
            for (mark, expect) in marks.iter().zip(expect) {
                assert!((mark - expect).abs() < 1e-9, "{marks:?}");
            }
        };
        check(1.0, 96.0, 5, &[20.0, 40.0, 60.0, 80.0], 0);
        check(1.62, 3.4, 4, &[2.0, 2.5, 3.0], 1);
        check(0.01, 0.05, 4, &[0.01, 0.02, 0.03, 0.04, 0.05], 2);
        check(2.0, 2.0, 4, &[2.0], 2);
    }
}

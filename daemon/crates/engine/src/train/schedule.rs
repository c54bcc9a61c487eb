//! The learning rate of each step.

use autodidact_domain::{LrScheduler, TrainOptions};

/// A linear warm-up and what follows it, as transformers has them, save that the warm-up begins one part above 0: no step is
/// spent at a rate of 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    kind: LrScheduler,
    peak: f64,
    warmup_steps: u32,
    /// Where the fall begins.
    falls_from: u32,
    total_steps: u32,
}

impl Schedule {
    /// Makes the schedule of a run of so many steps; shares of them are rounded up.
    pub(crate) fn new(options: &TrainOptions, total_steps: u32) -> Self {
        let share = |ratio: f64| (f64::from(total_steps) * ratio).ceil() as u32;
        let warmup_steps = match options.warmup_steps {
            0 => share(options.warmup_ratio),
            steps => steps,
        };
        let warmup_steps = warmup_steps.min(total_steps);
        let falls_from = match options.lr_scheduler_type {
            LrScheduler::Cosine | LrScheduler::Linear => warmup_steps,
            LrScheduler::Constant => total_steps,
            LrScheduler::WarmupStableDecay => total_steps
                .saturating_sub(share(options.decay_ratio))
                .max(warmup_steps),
        };
        Self {
            kind: options.lr_scheduler_type,
            peak: options.learning_rate,
            warmup_steps,
            falls_from,
            total_steps,
        }
    }

    /// Tells the rate of a step, from 0.
    pub(crate) fn rate(&self, step: u32) -> f64 {
        if step < self.warmup_steps {
            return self.peak * f64::from(step + 1) / f64::from(self.warmup_steps + 1);
        }
        if step < self.falls_from {
            return self.peak;
        }
        let falling = f64::from(self.total_steps.saturating_sub(self.falls_from).max(1));
        let progress = (f64::from(step - self.falls_from) / falling).min(1.0);
        self.peak
            * match self.kind {
                LrScheduler::Linear => 1.0 - progress,
                LrScheduler::Constant => 1.0,
                LrScheduler::Cosine | LrScheduler::WarmupStableDecay => {
                    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: LrScheduler, warmup_ratio: f64) -> TrainOptions {
        TrainOptions {
            learning_rate: 2.0,
            lr_scheduler_type: kind,
            warmup_ratio,
            decay_ratio: 0.25,
            ..TrainOptions::default()
        }
    }

    fn rates(options: &TrainOptions, steps: u32) -> Vec<f64> {
        let schedule = Schedule::new(options, steps);
        (0..steps).map(|step| schedule.rate(step)).collect()
    }

    fn check(rates: &[f64], expected: &[(usize, f64)]) {
        for (step, expected) in expected {
            let found = rates[*step];
            assert!((found - expected).abs() < 1e-12, "step {step}: {found}");
        }
    }

    #[test]
    fn rises_to_the_peak_and_falls_as_a_cosine() {
        let rates = rates(&options(LrScheduler::Cosine, 0.2), 20);
        check(&rates, &[(0, 0.4), (3, 1.6), (4, 2.0), (12, 1.0)]);
        assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!(rates[19] > 0.0);
        let rate =
            |ratio, steps, at| Schedule::new(&options(LrScheduler::Cosine, ratio), steps).rate(at);
        assert_eq!(rate(0.0, 1, 0), 2.0);
        assert!(rate(1.0, 3, 2) > 0.0);
    }

    #[test]
    fn or_in_a_line_or_not_at_all_or_at_the_end() {
        let linear = rates(&options(LrScheduler::Linear, 0.2), 20);
        check(&linear, &[(3, 1.6), (4, 2.0), (12, 1.0), (19, 0.125)]);
        let constant = rates(&options(LrScheduler::Constant, 0.2), 20);
        check(&constant, &[(0, 0.4), (4, 2.0), (19, 2.0)]);
        let stable = rates(&options(LrScheduler::WarmupStableDecay, 0.1), 20);
        check(&stable, &[(1, 4.0 / 3.0), (2, 2.0), (15, 2.0)]);
        let half_way = 1.0 + (std::f64::consts::PI * 0.4).cos();
        check(&stable, &[(17, half_way)]);
        // Where there is no room for it to stay, it falls as soon as it has risen.
        let short = rates(&options(LrScheduler::WarmupStableDecay, 0.9), 10);
        check(&short, &[(9, 2.0)]);
    }

    #[test]
    fn steps_stand_above_the_share() {
        let by_steps = TrainOptions {
            warmup_steps: 3,
            ..options(LrScheduler::Constant, 0.9)
        };
        check(&rates(&by_steps, 8), &[(0, 0.5), (2, 1.5), (3, 2.0)]);
        let longer = TrainOptions {
            warmup_steps: 30,
            ..by_steps
        };
        assert!(rates(&longer, 4).iter().all(|rate| *rate < 2.0));
    }
}

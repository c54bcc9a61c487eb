//! The learning rate of each step.

/// Linear warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017), as transformers' `cosine` schedule, save that
/// the warm-up begins one part above 0: no step is spent at a rate of 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    peak: f64,
    warmup_steps: u32,
    total_steps: u32,
}

impl Schedule {
    /// Makes the schedule of a run; the share `warmup_ratio` of its steps, rounded up, rises.
    pub(crate) fn new(peak: f64, warmup_ratio: f64, total_steps: u32) -> Self {
        let warmup_steps = (f64::from(total_steps) * warmup_ratio).ceil() as u32;
        Self {
            peak,
            warmup_steps: warmup_steps.min(total_steps),
            total_steps,
        }
    }

    /// Tells the rate of a step, from 0.
    pub(crate) fn rate(&self, step: u32) -> f64 {
        if step < self.warmup_steps {
            return self.peak * f64::from(step + 1) / f64::from(self.warmup_steps + 1);
        }
        let falling = f64::from((self.total_steps - self.warmup_steps).max(1));
        let progress = f64::from(step - self.warmup_steps) / falling;
        self.peak * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_as_a_cosine() {
        let schedule = Schedule::new(2.0, 0.2, 20);
        let rates: Vec<f64> = (0..20).map(|step| schedule.rate(step)).collect();
        let near = |step: usize, want: f64| {
            assert!(
                (rates[step] - want).abs() < 1e-12,
                "step {step}: {}",
                rates[step]
            )
        };
        near(0, 0.4);
        near(3, 1.6);
        near(4, 2.0);
        near(12, 1.0);
        assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!(rates[19] > 0.0);
        assert_eq!(Schedule::new(2.0, 0.0, 1).rate(0), 2.0);
        assert!(Schedule::new(2.0, 1.0, 3).rate(2) > 0.0);
    }
}

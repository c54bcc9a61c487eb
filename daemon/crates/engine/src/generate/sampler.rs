//! Chooses the next token of one sequence, from its logits and its own random numbers alone.

use autodidact_domain::Sampling;
use autodidact_domain::random::Random;

use crate::kernels::lanes::LANES;
use crate::kernels::{Isa, softmax};

/// Below this temperature the distribution is the likeliest token's for any difference of logits that f32 resolves.
const GREEDY_BELOW: f32 = 1e-4;
/// Where the search for the likeliest tokens starts, and by what it goes on.
const FIRST_CUTOFF: f32 = 1e-3;
const CUTOFF_STEP: f32 = 1.0 / 32.0;
const LAST_CUTOFF: f32 = 1e-12;

/// Tells what is wrong with sampling options, if anything.
pub(super) fn check(sampling: &Sampling) -> Result<(), String> {
    if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
        return Err(format!(
            "temperature: expected 0 or more, found {}",
            sampling.temperature
        ));
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return Err(format!(
            "top_p: expected above 0, at most 1, found {}",
            sampling.top_p
        ));
    }
    if !(sampling.repetition_penalty > 0.0 && sampling.repetition_penalty.is_finite()) {
        return Err(format!(
            "repetition_penalty: expected above 0, found {}",
            sampling.repetition_penalty
        ));
    }
    if !sampling.presence_penalty.is_finite() {
        return Err(format!(
            "presence_penalty: expected a number, found {}",
            sampling.presence_penalty
        ));
    }
    Ok(())
}

/// The state of one sequence's choices.
pub(super) struct Sampler {
    sampling: Sampling,
    random: Random,
    /// Distinct tokens of prompt and completion.
    in_context: TokenSet,
    /// Distinct tokens of the completion.
    in_completion: TokenSet,
    probabilities: Vec<f32>,
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling, prompt: &[u32], vocab_size: usize) -> Self {
        let mut in_context = TokenSet::new(vocab_size);
        if sampling.repetition_penalty != 1.0 {
            prompt.iter().for_each(|id| in_context.insert(*id));
        }
        Self {
            sampling: sampling.clone(),
            random: Random::at(sampling.seed, &["completion"]),
            in_context,
            in_completion: TokenSet::new(vocab_size),
            probabilities: Vec::new(),
        }
    }

    /// Chooses a token and remembers it. Order of operations as in transformers: penalties, temperature, top-k, top-p.
    pub(super) fn next(&mut self, isa: Isa, logits: &mut [f32]) -> u32 {
        self.penalize(logits);
        let id = if self.sampling.temperature < GREEDY_BELOW {
            likeliest(logits)
        } else {
            self.draw(isa, logits)
        };
        self.in_context.insert(id);
        self.in_completion.insert(id);
        id
    }

    fn penalize(&self, logits: &mut [f32]) {
        let penalty = self.sampling.repetition_penalty;
        if penalty != 1.0 {
            for id in &self.in_context.ids {
                let logit = &mut logits[*id as usize];
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
        if self.sampling.presence_penalty != 0.0 {
            for id in &self.in_completion.ids {
                logits[*id as usize] -= self.sampling.presence_penalty;
            }
        }
    }

    fn draw(&mut self, isa: Isa, logits: &[f32]) -> u32 {
        self.probabilities.clear();
        self.probabilities.extend_from_slice(logits);
        self.probabilities
            .resize(logits.len().next_multiple_of(LANES), 0.0);
        softmax(
            isa,
            &mut self.probabilities,
            0..logits.len(),
            1.0 / self.sampling.temperature,
        );
        self.probabilities.truncate(logits.len());
        let point = self.random.next_f64();
        if self.sampling.top_k == 0 && self.sampling.top_p >= 1.0 {
            let all = self
                .probabilities
                .iter()
                .enumerate()
                .map(|(id, p)| (*p, id as u32));
            return pick(
                all,
                self.probabilities.iter().map(|p| f64::from(*p)).sum(),
                point,
            );
        }
        let kept = self.likeliest_tokens();
        pick(
            kept.iter().copied(),
            kept.iter().map(|(p, _)| f64::from(*p)).sum(),
            point,
        )
    }

    /// Collects the tokens that top-k and top-p keep, the likeliest first.
    fn likeliest_tokens(&self) -> Vec<(f32, u32)> {
        let top_k = match self.sampling.top_k {
            0 => usize::MAX,
            k => k as usize,
        };
        let top_p = f64::from(self.sampling.top_p);
        let mut cutoff = FIRST_CUTOFF;
        let mut found: Vec<(f32, u32)>;
        loop {
            let likely = self
                .probabilities
                .iter()
                .enumerate()
                .filter(|(_, p)| **p >= cutoff);
            found = likely.map(|(id, p)| (*p, id as u32)).collect();
            // Top-p counts within what top-k leaves, so without top-k the found have to hold that much of everything.
            let enough = if top_k == usize::MAX {
                found.iter().map(|(p, _)| f64::from(*p)).sum::<f64>() >= top_p
            } else {
                found.len() >= top_k
            };
            if enough || cutoff == 0.0 {
                break;
            }
            cutoff = if cutoff < LAST_CUTOFF {
                0.0
            } else {
                cutoff * CUTOFF_STEP
            };
        }
        found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.truncate(top_k);
        if self.sampling.top_p < 1.0 {
            let whole = if top_k == usize::MAX {
                1.0
            } else {
                found.iter().map(|(p, _)| f64::from(*p)).sum()
            };
            let mut sum = 0.0;
            let kept = found.iter().take_while(|(p, _)| {
                let before = sum;
                sum += f64::from(*p);
                before < top_p * whole
            });
            let kept = kept.count().max(1);
            found.truncate(kept);
        }
        found
    }
}

/// Picks the token in which `point` of the way through the total lies.
fn pick(tokens: impl Iterator<Item = (f32, u32)>, total: f64, point: f64) -> u32 {
    let mut left = point * total;
    let mut last = 0;
    for (p, id) in tokens {
        if p > 0.0 {
            last = id;
            left -= f64::from(p);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

/// Finds the greatest logit; of equal ones, the first.
fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// Tokens, each once.
struct TokenSet {
    ids: Vec<u32>,
    present: Vec<u64>,
}

impl TokenSet {
    fn new(vocab_size: usize) -> Self {
        Self {
            ids: Vec::new(),
            present: vec![0; vocab_size.div_ceil(64)],
        }
    }

    fn insert(&mut self, id: u32) {
        let (word, bit) = (id as usize / 64, 1 << (id % 64));
        if self.present[word] & bit == 0 {
            self.present[word] |= bit;
            self.ids.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sampling: &Sampling, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling, &[], logits.len());
        let mut counts = vec![0; logits.len()];
        for _ in 0..draws {
            counts[sampler.next(Isa::detect(), &mut logits.to_vec()) as usize] += 1;
        }
        counts
    }

    fn logits_of(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = logits_of(&[0.5, 0.3, 0.15, 0.05]);
        let warm = Sampling {
            temperature: 1.0,
            seed: 1,
            ..Sampling::default()
        };
        let found = counts(&warm, &logits, 20_000);
        for (count, expect) in found.iter().zip([10_000, 6_000, 3_000, 1_000]) {
            assert!(count.abs_diff(expect) < 300, "{found:?}");
        }
        // Temperature 0.5 squares the odds: 25 : 9 : 2.25 : 0.25.
        let found = counts(
            &Sampling {
                temperature: 0.5,
                ..warm
            },
            &logits,
            20_000,
        );
        assert!(
            found[0].abs_diff(13_699) < 300 && found[1].abs_diff(4_932) < 300,
            "{found:?}"
        );
    }

    #[test]
    fn top_k_and_top_p_keep_the_likeliest() {
        let logits = logits_of(&[0.05, 0.5, 0.15, 0.3]);
        let warm = Sampling {
            temperature: 1.0,
            seed: 2,
            ..Sampling::default()
        };
        let kept = |sampling| {
            counts(&sampling, &logits, 4_000)
                .iter()
                .map(|count| *count > 0)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kept(Sampling {
                top_k: 2,
                ..warm.clone()
            }),
            [false, true, false, true]
        );
        assert_eq!(
            kept(Sampling {
                top_p: 0.79,
                ..warm.clone()
            }),
            [false, true, false, true]
        );
        assert_eq!(
            kept(Sampling {
                top_p: 0.81,
                ..warm.clone()
            }),
            [false, true, true, true]
        );
        // Of the two that top-k leaves, the first alone has 0.625 of the mass.
        assert_eq!(
            kept(Sampling {
                top_k: 2,
                top_p: 0.6,
                ..warm.clone()
            }),
            [false, true, false, false]
        );
        assert_eq!(
            kept(Sampling {
                top_p: 1e-6,
                ..warm
            }),
            [false, true, false, false]
        );
    }

    #[test]
    fn a_flat_distribution_reaches_every_token_under_top_p() {
        let flat = Sampling {
            temperature: 1.0,
            top_p: 0.999,
            seed: 3,
            ..Sampling::default()
        };
        let found = counts(&flat, &vec![0.0; 5000], 30_000);
        assert!(found.iter().filter(|count| **count > 0).count() > 4_900);
    }

    #[test]
    fn penalties_change_the_greedy_choice() {
        let mut sampler_options = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(&sampler_options, &[0], 3);
        assert_eq!(
            sampler.next(Isa::Scalar, &mut [3.0, 2.0, 1.2]),
            1,
            "the prompt's token counts 1.5"
        );
        assert_eq!(
            sampler.next(Isa::Scalar, &mut [3.0, 2.0, 1.2]),
            0,
            "both are halved now"
        );
        sampler_options = Sampling {
            presence_penalty: 1.5,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(&sampler_options, &[0], 3);
        assert_eq!(
            sampler.next(Isa::Scalar, &mut [3.0, 2.0, 1.2]),
            0,
            "the prompt does not count"
        );
        assert_eq!(sampler.next(Isa::Scalar, &mut [3.0, 2.0, 1.2]), 1);
        assert_eq!(
            sampler.next(Isa::Scalar, &mut [3.0, 2.0, 1.2]),
            0,
            "1.5 again, once only, against 0.5 and 1.2"
        );
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let good = Sampling::default();
        assert!(check(&good).is_ok());
        for bad in [
            Sampling {
                temperature: -1.0,
                ..good.clone()
            },
            Sampling {
                temperature: f32::NAN,
                ..good.clone()
            },
            Sampling {
                top_p: 0.0,
                ..good.clone()
            },
            Sampling {
                top_p: 1.5,
                ..good.clone()
            },
            Sampling {
                repetition_penalty: 0.0,
                ..good.clone()
            },
            Sampling {
                presence_penalty: f32::INFINITY,
                ..good
            },
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}

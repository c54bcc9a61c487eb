//! Chooses the next token of one sequence, from its logits and its own random numbers alone.

mod logprobs;
mod options;

use std::collections::{BTreeMap, VecDeque};

use autodidact_domain::random::Random;
use autodidact_domain::{FinishReason, GenerateRequest, Sampling, TokenLogprob};

pub(super) use options::check;

use super::constraint::Form;
use crate::engine::LoadedModel;
use crate::kernels::lanes::LANES;
use crate::kernels::{Isa, softmax};
use logprobs::Place;

/// Below this temperature the distribution is the likeliest token's for any difference of logits that f32 resolves.
const GREEDY_BELOW: f32 = 1e-4;
/// Where the search for the likeliest tokens starts, and by what it goes on.
const FIRST_CUTOFF: f32 = 1e-3;
const CUTOFF_STEP: f32 = 1.0 / 32.0;
const LAST_CUTOFF: f32 = 1e-12;

/// What a sampler decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The next token; none where no token may come.
    pub(super) token: Option<u32>,
    /// Why the completion ends here, where the sampler knows it.
    pub(super) finish: Option<FinishReason>,
}

/// The state of one sequence's choices.
pub(super) struct Sampler<'a> {
    sampling: Sampling,
    random: Random,
    /// Distinct tokens of prompt and completion.
    in_context: TokenSet,
    /// The tokens that are written where a completion would end too early, and those of them that are still to come.
    early_end: Vec<u32>,
    forced: VecDeque<u32>,
    /// How many tokens it chose.
    chosen: u32,
    /// The completion's tokens, each with how often it came.
    in_completion: BTreeMap<u32, u32>,
    probabilities: Vec<f32>,
    form: Option<Form>,
    /// Whether some logits may be minus infinity.
    forbids: bool,
    logprobs: Option<Logprobs<'a>>,
}

/// The log-probabilities that a request asks for.
struct Logprobs<'a> {
    model: &'a LoadedModel,
    /// The alternatives told beside each chosen token.
    top: u32,
    told: Vec<TokenLogprob>,
}

impl<'a> Sampler<'a> {
    /// Makes the sampler of a request, its constraint compiled and its early end split into tokens.
    pub(super) fn new(
        model: &'a LoadedModel,
        request: &GenerateRequest,
        form: Option<Form>,
        early_end: Vec<u32>,
        prompt: &[u32],
    ) -> Self {
        let mut sampler = Self::bare(&request.sampling, prompt, model.config.vocab_size);
        sampler.forbids |= form.is_some();
        sampler.early_end = early_end;
        sampler.form = form;
        sampler.logprobs = request.logprobs.map(|top| Logprobs {
            model,
            top,
            told: Vec::new(),
        });
        sampler
    }

    /// Makes a sampler of options alone.
    pub(super) fn bare(sampling: &Sampling, prompt: &[u32], vocab_size: usize) -> Self {
        let mut in_context = TokenSet::new(vocab_size);
        if sampling.repetition_penalty != 1.0 {
            prompt.iter().for_each(|id| in_context.insert(*id));
        }
        Self {
            sampling: sampling.clone(),
            random: Random::at(sampling.seed, &["completion"]),
            in_context,
            early_end: Vec::new(),
            forced: VecDeque::new(),
            chosen: 0,
            in_completion: BTreeMap::new(),
            probabilities: Vec::new(),
            form: None,
            forbids: (sampling.min_tokens > 0 && sampling.early_end.is_empty())
                || sampling.logit_bias.values().any(|bias| bias.is_infinite()),
            logprobs: None,
        }
    }

    /// Chooses a token and remembers it.
    ///
    /// Order of operations as in transformers: biases, penalties, ends that come too early, what the constraint rules out,
    /// temperature, top-k, top-p, min-p. Log-probabilities are taken before all of them.
    pub(super) fn next(&mut self, isa: Isa, ends: &[u32], logits: &mut [f32]) -> Choice {
        let place = self.logprobs.as_ref().map(|_| Place::of(isa, logits));
        self.adjust(logits);
        let is_early = self.chosen < self.sampling.min_tokens;
        if is_early && self.early_end.is_empty() {
            for id in ends {
                logits[*id as usize] = f32::NEG_INFINITY;
            }
        }
        let fits = self.form.as_mut().is_none_or(|form| form.rule_out(logits));
        let is_nothing = |logits: &[f32]| logits.iter().all(|x| *x == f32::NEG_INFINITY);
        if self.forbids && (!fits || is_nothing(logits)) {
            return self.give_up();
        }
        let drawn = if self.sampling.temperature < GREEDY_BELOW {
            likeliest(logits)
        } else {
            self.draw(isa, logits)
        };
        if is_early && self.forced.is_empty() && ends.contains(&drawn) {
            self.forced.extend(&self.early_end);
        }
        let id = self.forced.pop_front().unwrap_or(drawn);
        self.chosen += 1;
        self.in_context.insert(id);
        *self.in_completion.entry(id).or_default() += 1;
        if let (Some(place), Some(logprobs)) = (place, &mut self.logprobs) {
            let told = place.tell(&logprobs.model.tokenizer, id, logprobs.top);
            logprobs.told.push(told);
        }
        Choice {
            token: Some(id),
            finish: match &mut self.form {
                Some(form) if !ends.contains(&id) => form.take(id),
                _ => None,
            },
        }
    }

    /// Ends a completion for which no token is left: well, where its form is whole.
    fn give_up(&mut self) -> Choice {
        let is_whole = self.form.as_mut().is_some_and(Form::is_whole);
        Choice {
            token: None,
            finish: Some(match is_whole {
                true => FinishReason::Eos,
                false => FinishReason::Length,
            }),
        }
    }

    /// Gives the log-probabilities of all tokens chosen; none where none were asked for.
    pub(super) fn into_logprobs(self) -> Vec<TokenLogprob> {
        self.logprobs.map(|asked| asked.told).unwrap_or_default()
    }

    /// Adds biases and applies penalties.
    fn adjust(&self, logits: &mut [f32]) {
        for (id, bias) in &self.sampling.logit_bias {
            logits[*id as usize] += bias;
        }
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
        let (once, each) = (
            self.sampling.presence_penalty,
            self.sampling.frequency_penalty,
        );
        if once != 0.0 || each != 0.0 {
            for (id, count) in &self.in_completion {
                logits[*id as usize] -= once + each * *count as f32;
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
        if self.forbids {
            // The kernel's exponential gives the impossible a tiny share.
            for (p, logit) in self.probabilities.iter_mut().zip(logits) {
                if *logit == f32::NEG_INFINITY {
                    *p = 0.0;
                }
            }
        }
        let point = self.random.next_f64();
        if self.sampling.top_k == 0 && self.sampling.top_p >= 1.0 && self.sampling.min_p == 0.0 {
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

    /// Collects the tokens that top-k, top-p and min-p keep, the likeliest first.
    fn likeliest_tokens(&self) -> Vec<(f32, u32)> {
        let top_k = match self.sampling.top_k {
            0 => usize::MAX,
            k => k as usize,
        };
        let top_p = f64::from(self.sampling.top_p);
        let least = match self.sampling.min_p {
            0.0 => 0.0,
            share => self.probabilities.iter().copied().fold(0.0, f32::max) * share,
        };
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
            // What is below `least` falls anyway, unless top-p has to know the sum of what top-k leaves.
            let sum_counts = top_k < usize::MAX && top_p < 1.0;
            if enough || cutoff == 0.0 || (cutoff <= least && !sum_counts) {
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
        // Only ratios count, so it does not matter what the others left.
        found.truncate(found.partition_point(|(p, _)| *p >= least).max(1));
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
mod tests;

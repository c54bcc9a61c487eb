//! Log-probabilities at one place, by the model alone: before biases, penalties, constraints and temperature.

use autodidact_domain::TokenLogprob;

use crate::kernels::{Isa, log_sum_exp};
use crate::tokenizer::Tokenizer;

/// The log-probabilities of one place, before its token is chosen.
pub(super) struct Place {
    logits: Vec<f32>,
    log_total: f64,
}

impl Place {
    /// Keeps what the model says, before the logits are changed.
    pub(super) fn of(isa: Isa, logits: &[f32]) -> Self {
        Self {
            logits: logits.to_vec(),
            log_total: log_sum_exp(isa, logits),
        }
    }

    fn logprob(&self, id: u32) -> f32 {
        (f64::from(self.logits[id as usize]) - self.log_total) as f32
    }

    /// Tells how likely the chosen token was, and which were the likeliest.
    pub(super) fn tell(&self, tokenizer: &Tokenizer, chosen: u32, top: u32) -> TokenLogprob {
        let bytes = |id: u32| match tokenizer.is_special(id) {
            true => Vec::new(),
            false => tokenizer.piece(id).to_vec(),
        };
        let mut ids: Vec<u32> = (0..self.logits.len() as u32).collect();
        let top = (top as usize).min(ids.len());
        let likelier = |a: &u32, b: &u32| {
            let (left, right) = (self.logits[*a as usize], self.logits[*b as usize]);
            right.total_cmp(&left).then(a.cmp(b))
        };
        if top < ids.len() {
            ids.select_nth_unstable_by(top, likelier);
        }
        ids.truncate(top);
        ids.sort_unstable_by(likelier);
        TokenLogprob {
            bytes: bytes(chosen),
            logprob: self.logprob(chosen),
            top: ids
                .into_iter()
                .map(|id| (bytes(id), self.logprob(id)))
                .collect(),
        }
    }
}

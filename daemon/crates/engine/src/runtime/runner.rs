//! What runs a batch: our decoder, or a model of candle-transformers.

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};

use super::cache::KvCache;
use super::decoder::Decoder;
use super::forward::{Batch, Buffers};
use super::lora::LoraLayer;
use super::team::Team;
use crate::EngineError;
use crate::models::foreign::ForeignModel;

/// Computes the next tokens' logits.
pub(crate) enum Runner {
    /// Many sequences at once, on our kernels.
    Own(Box<Decoder>),
    /// One sequence at a time.
    Foreign(ForeignRunner),
}

/// A foreign model and how far it has read its sequence.
pub(crate) struct ForeignRunner {
    state: Mutex<(Box<dyn ForeignModel>, usize)>,
    vocab_size: usize,
    bytes: usize,
}

impl Runner {
    /// As [`Decoder::forward`].
    pub(crate) fn forward(
        &self,
        team: &Team,
        batch: &Batch,
        caches: &mut [&mut KvCache],
        lora: Option<&[LoraLayer]>,
        buffers: &mut Buffers,
        sink: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        match self {
            Self::Own(decoder) => decoder.forward(team, batch, caches, lora, buffers, sink),
            Self::Foreign(model) => model.forward(batch, sink),
        }
    }

    /// As [`Decoder::hidden_states`].
    pub(crate) fn hidden_states<'a>(
        &self,
        team: &Team,
        batch: &Batch,
        caches: &mut [&mut KvCache],
        lora: Option<&[LoraLayer]>,
        buffers: &'a mut Buffers,
    ) -> Result<&'a [f32], EngineError> {
        match self {
            Self::Own(decoder) => decoder.hidden_states(team, batch, caches, lora, buffers),
            Self::Foreign(_) => Err(EngineError::Invalid(
                "this model's architecture is candle-transformers' alone, which gives no hidden states to embed by: name an encoder, or a generator of another architecture"
                    .to_string(),
            )),
        }
    }

    /// Tells the bytes of the weights.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Own(decoder) => decoder.bytes(),
            Self::Foreign(model) => model.bytes,
        }
    }

    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }
}

impl ForeignRunner {
    /// Takes a model that has read nothing; `parameters` are f32.
    pub(crate) fn new(model: Box<dyn ForeignModel>, vocab_size: usize, parameters: u64) -> Self {
        Self {
            state: Mutex::new((model, 0)),
            vocab_size,
            bytes: usize::try_from(parameters.saturating_mul(4)).unwrap_or(usize::MAX),
        }
    }

    /// Reads the batch's tokens, up to each wanted one at once. A segment at position 0 begins a sequence.
    fn forward(
        &self,
        batch: &Batch,
        sink: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (model, read) = &mut *state;
        let mut wanted = batch.wanted.iter().copied().enumerate().peekable();
        for segment in &batch.segments {
            if segment.position == 0 {
                model.clear();
                *read = 0;
            }
            if *read != segment.position {
                return Err(EngineError::Invalid(format!(
                    "position {} of a sequence of which {read} were read: this architecture takes one sequence at a time",
                    segment.position
                )));
            }
            let (mut at, end) = (segment.first, segment.first + segment.count);
            while at < end {
                let next = wanted.next_if(|(_, token)| *token < end);
                let to = next.map_or(end, |(_, token)| token + 1);
                let ids = &batch.ids[at..to];
                if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
                    return Err(EngineError::Invalid(format!(
                        "token {id} is not one of {}",
                        self.vocab_size
                    )));
                }
                let logits =
                    model.forward(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?, *read)?;
                *read += to - at;
                at = to;
                if let Some((number, _)) = next {
                    let mut row = logits.flatten_all()?.to_vec1::<f32>()?;
                    if row.len() != self.vocab_size {
                        return Err(EngineError::Invalid(format!(
                            "the model gives {} logits where its vocabulary has {}",
                            row.len(),
                            self.vocab_size
                        )));
                    }
                    sink(number, &mut row);
                }
            }
        }
        Ok(())
    }
}

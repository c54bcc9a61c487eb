//! What runs a batch: our decoder, one on a device of candle's, or a model of candle-transformers.

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};

use super::cache::{CacheShape, KvCache};
use super::decoder::Decoder;
use super::device::{DeviceCache, DeviceDecoder, DeviceUpdates};
use super::forward::{Batch, Buffers};
use super::sequence::SequenceCache;
use super::team::Team;
use super::updates::{OwnUpdates, Updates};
use crate::EngineError;
use crate::models::foreign::ForeignModel;

/// Computes the next tokens' logits.
pub(crate) enum Runner {
    /// Many sequences at once, on our kernels.
    Own(Box<Decoder>),
    /// Many sequences at once, on a device.
    Device(Box<DeviceDecoder>),
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
        caches: &mut [&mut SequenceCache],
        updates: Option<&Updates>,
        buffers: &mut Buffers,
        sink: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        match self {
            Self::Own(decoder) => {
                let (mut caches, updates) = (own_caches(caches), own(updates));
                let decoder = updates.and_then(|u| u.decoder.as_ref()).unwrap_or(decoder);
                decoder.forward(team, batch, &mut caches, updates, buffers, sink)
            }
            Self::Device(decoder) => {
                let updates = device(updates);
                let decoder = updates.and_then(|u| u.decoder.as_ref()).unwrap_or(decoder);
                decoder.forward(batch, &device_caches(caches), updates, sink)
            }
            Self::Foreign(model) => model.forward(batch, sink),
        }
    }

    /// As [`Decoder::hidden_states`].
    pub(crate) fn hidden_states<'a>(
        &self,
        team: &Team,
        batch: &Batch,
        caches: &mut [&mut SequenceCache],
        updates: Option<&Updates>,
        buffers: &'a mut Buffers,
    ) -> Result<&'a [f32], EngineError> {
        match self {
            Self::Own(decoder) => {
                let (mut caches, updates) = (own_caches(caches), own(updates));
                let decoder = updates.and_then(|u| u.decoder.as_ref()).unwrap_or(decoder);
                decoder.hidden_states(team, batch, &mut caches, updates, buffers)
            }
            Self::Device(decoder) => {
                let updates = device(updates);
                let decoder = updates.and_then(|u| u.decoder.as_ref()).unwrap_or(decoder);
                let states = decoder.hidden_states(batch, &device_caches(caches), updates)?;
                Ok(buffers.keep_states(states))
            }
            Self::Foreign(_) => Err(EngineError::Invalid(
                "this model's architecture is candle-transformers' alone, which gives no hidden states to embed by: name an encoder, or a generator of another architecture"
                    .to_string(),
            )),
        }
    }

    /// Makes the cache of a sequence of so many positions; a foreign model keeps its own.
    pub(crate) fn new_cache(&self, positions: usize) -> Result<SequenceCache, EngineError> {
        Ok(match self {
            Self::Device(decoder) => SequenceCache::Device(decoder.new_cache(positions)?),
            Self::Own(_) | Self::Foreign(_) => {
                SequenceCache::Own(KvCache::new(self.cache_shape(), positions)?)
            }
        })
    }

    /// Tells the bytes of [`Runner::new_cache`].
    pub(crate) fn cache_bytes(&self, positions: usize) -> usize {
        match self {
            Self::Device(decoder) => decoder.cache_bytes(positions),
            Self::Own(_) | Self::Foreign(_) => self.cache_shape().bytes(positions),
        }
    }

    /// Tells what of [`Runner::cache_bytes`] this machine's own memory holds.
    pub(crate) fn host_cache_bytes(&self, positions: usize) -> u64 {
        self.cache_shape().bytes(positions) as u64
    }

    /// Tells whether weights and caches lie on a device with memory of its own.
    pub(crate) fn is_on_device(&self) -> bool {
        matches!(self, Self::Device(_))
    }

    fn cache_shape(&self) -> CacheShape {
        match self {
            Self::Own(decoder) => CacheShape::of(&decoder.config, decoder.compute),
            Self::Device(_) | Self::Foreign(_) => CacheShape::none(),
        }
    }

    /// Tells the bytes of the weights.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Own(decoder) => decoder.bytes(),
            Self::Device(decoder) => decoder.bytes(),
            Self::Foreign(model) => model.bytes,
        }
    }

    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }
}

fn own_caches<'a>(caches: &'a mut [&mut SequenceCache]) -> Vec<&'a mut KvCache> {
    caches.iter_mut().map(|cache| cache.own()).collect()
}

fn device_caches<'a>(caches: &'a [&mut SequenceCache]) -> Vec<&'a DeviceCache> {
    caches.iter().map(|cache| cache.device()).collect()
}

fn own(updates: Option<&Updates>) -> Option<&OwnUpdates> {
    updates.map(|updates| match updates {
        Updates::Own(updates) => updates,
        Updates::Device(_) => panic!("{OTHER_RUNNER}"),
    })
}

fn device(updates: Option<&Updates>) -> Option<&DeviceUpdates> {
    updates.map(|updates| match updates {
        Updates::Own(_) => panic!("{OTHER_RUNNER}"),
        Updates::Device(updates) => updates,
    })
}

/// A defect: whether an adapter fits is asked before the work begins.
const OTHER_RUNNER: &str = "an adapter is used where it was packed for";

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
                model.clear()?;
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

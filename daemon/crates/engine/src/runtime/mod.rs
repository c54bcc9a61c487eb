//! The forward pass that generates: packed weights, the key-value cache, the team of threads. Candle is only where the
//! model is on a device of candle's ([`device`]) or one of candle-transformers ([`runner`]).

mod attention;
mod branch;
pub(crate) mod cache;
mod decoder;
pub(crate) mod device;
mod forward;
mod runner;
mod sequence;
mod team;
pub(crate) mod updates;

pub(crate) use decoder::Decoder;
pub(crate) use forward::{Batch, Buffers, MAX_BATCH_TOKENS};
pub(crate) use runner::{ForeignRunner, Runner};
pub(crate) use sequence::SequenceCache;
pub(crate) use team::Team;

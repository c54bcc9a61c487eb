//! The forward pass that generates: packed weights, the key-value cache, the team of threads. Candle is only where the
//! model is one of candle-transformers ([`runner`]).

mod attention;
pub(crate) mod cache;
mod decoder;
mod forward;
pub(crate) mod lora;
mod runner;
mod team;

pub(crate) use decoder::Decoder;
pub(crate) use forward::{Batch, Buffers, MAX_BATCH_TOKENS};
pub(crate) use runner::{ForeignRunner, Runner};
pub(crate) use team::Team;

//! The forward pass that generates: packed weights, the key-value cache, the team of threads. No candle here.

mod attention;
pub(crate) mod cache;
mod decoder;
mod forward;
pub(crate) mod lora;
mod team;

pub(crate) use decoder::Decoder;
pub(crate) use forward::{Batch, Buffers, MAX_BATCH_TOKENS};
pub(crate) use team::Team;

//! Inference and training of decoder language models on candle and on kernels of our own. Synchronous throughout.
//!
//! [`Engine::load`] opens a GGUF file or a Hugging Face folder; [`LoadedModel`] generates, scores and trains.
//! Two compute paths generate: `exact` (f32, the reference) and `fast` (int8). Either way a sequence's result is
//! bitwise independent of the sequences beside it, of the batch size and of the number of threads. With the feature
//! `cuda` a GPU may generate instead ([`DeviceChoice`]): `exact` is f32 there, and `fast` bf16.

mod adapter;
mod device;
mod encoder;
mod engine;
mod error;
mod exchange;
mod generate;
mod kernels;
mod memory;
pub mod methods;
pub mod models;
mod ops;
mod runtime;
mod tokenizer;
pub mod train;

#[cfg(test)]
mod tests;

pub use adapter::Adapter;
pub use device::DeviceChoice;
pub use encoder::{EncoderConfig, LoadedEncoder, Pooling};
pub use engine::{Compute, Engine, LoadedModel, ModelInfo};
pub use error::EngineError;
pub use generate::{GenerateObserver, GenerateTimes, Session, Silent, Urgency};
pub use models::base::BaseWeights;
pub use models::config::ModelConfig;
pub use models::weights::{LayerWeights, Weights};
pub use ops::pause::Pause;
pub use tokenizer::{ChatTemplate, Span, Tokenizer};
pub use train::{TrainPlace, TrainingText};

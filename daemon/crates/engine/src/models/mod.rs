//! Model files: headers, configuration, weights.

pub(crate) mod base;
pub(crate) mod card;
pub mod config;
pub(crate) mod dequantize;
pub mod family;
pub(crate) mod fields;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod foreign;
pub(crate) mod gguf;
pub(crate) mod gguf_writer;
pub(crate) mod interleaved;
pub(crate) mod long_rope;
pub(crate) mod multimodal;
pub(crate) mod quantize;
pub(crate) mod replaced;
pub(crate) mod safetensors;
pub(crate) mod tensor_names;
pub mod weights;

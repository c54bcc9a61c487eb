//! Adapters on their way to and from other tools.

use crate::PortResult;

/// The formats: Hugging Face PEFT's folder, llama.cpp's GGUF file, and AdapterHub's folder.
pub const FORMATS: [&str; 3] = ["peft", "gguf-lora", "adapterhub"];

/// The formats of whole models that hold an adapter's numbers in their weights: Hugging Face's folder in f32, and llama.cpp's GGUF
/// file with matrices of a type.
pub const MODEL_FORMATS: [&str; 5] = [
    "safetensors",
    "gguf-f32",
    "gguf-f16",
    "gguf-q8_0",
    "gguf-q4_1",
];

/// A file of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFile {
    /// Its name in the folder.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A file of a whole model, too big to be held in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name in the folder.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

/// How far the writing of a whole model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportProgress {
    /// The bytes of weights that are written.
    pub done: u64,
    /// The bytes that there will be.
    pub total: u64,
}

/// A whole model that was written and compared.
#[derive(Clone, Debug, PartialEq)]
pub struct MergedModel {
    /// Its files, in the order in which they are handed out.
    pub files: Vec<ModelFile>,
    /// How far a prompt's logits are from those of the base with its adapter: the root of the mean square of the differences,
    /// over that of the logits.
    pub logits_apart: f32,
    /// How far the logits of the base without its adapter are.
    pub base_apart: f32,
}

/// A whole model that is handed out; its files go with it.
pub trait ExportedModel: Send {
    /// Tells what was written.
    fn model(&self) -> &MergedModel;
    /// Reads the files on, one after the other; 0 at the end of the last.
    fn read(&mut self, buffer: &mut [u8]) -> PortResult<usize>;
}

//! Adapters on their way to and from other tools.

/// The formats: Hugging Face PEFT's folder, and llama.cpp's GGUF file.
pub const FORMATS: [&str; 2] = ["peft", "gguf-lora"];

/// A file of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFile {
    /// Its name in the folder.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

//! Adapters on their way to and from other tools.

/// The formats: Hugging Face PEFT's folder, llama.cpp's GGUF file, and AdapterHub's folder.
pub const FORMATS: [&str; 3] = ["peft", "gguf-lora", "adapterhub"];

/// A file of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFile {
    /// Its name in the folder.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

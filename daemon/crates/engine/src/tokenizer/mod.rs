//! Text to tokens and back. Text from outside is never read as special tokens; only the chat template's own text is.

pub(crate) mod build;
mod pre;
pub(crate) mod stream;
mod template;
pub(crate) mod vocabulary;
mod write;

use std::path::Path;

pub use template::{ChatTemplate, Span};

use crate::EngineError;
use crate::models::config::ModelConfig;
use crate::models::files::TextFiles;

/// What to do about a tokenizer that does not fit its model.
const TOKENIZER_ADVICE: &str =
    "take the model's and the tokenizer's files from one and the same source";

/// A model's tokenizer.
pub struct Tokenizer {
    /// Splits and merges; finds no special tokens and adds none.
    inner: tokenizers::Tokenizer,
    /// The bytes each token stands for; empty for ids without one.
    pieces: Vec<Box<[u8]>>,
    /// The tokens that only the template and the model itself may write, the longest text first.
    specials: Vec<(String, u32)>,
    /// By id, whether it is special.
    is_special: Vec<bool>,
    /// Whether a text's first token carries a blank that is not part of the text (SentencePiece).
    pub(crate) strips_first_blank: bool,
}

impl Tokenizer {
    /// Makes the tokenizer of a model; tells also whether it puts the begin token before plain text.
    pub(crate) fn from_files(
        path: &Path,
        text: &TextFiles,
        config: &ModelConfig,
    ) -> Result<(Self, bool), EngineError> {
        let (tokenizer, adds_bos) = match text {
            TextFiles::Gguf(header) => (build::from_gguf(path, header, config)?, false),
            TextFiles::HuggingFace { tokenizer, .. } => build::from_json(path, tokenizer, config)?,
        };
        tokenizer.check(path, text, config)?;
        Ok((tokenizer, adds_bos))
    }

    /// Refuses a tokenizer that is not the model's own, as far as the number of its tokens shows it.
    fn check(
        &self,
        path: &Path,
        text: &TextFiles,
        config: &ModelConfig,
    ) -> Result<(), EngineError> {
        let (file, part) = match text {
            TextFiles::Gguf(_) => (path.to_path_buf(), "tokenizer.ggml.tokens"),
            TextFiles::HuggingFace { .. } => (path.join("tokenizer.json"), "model.vocab"),
        };
        let known = self.pieces.iter().filter(|piece| !piece.is_empty()).count();
        let rows = config.vocab_size;
        // Embeddings are padded by some rows, never to twice their size.
        if known >= rows.div_ceil(2) {
            return Ok(());
        }
        Err(EngineError::unfit(
            &file,
            part,
            format!("about as many tokens as the embedding's {rows} rows"),
            format!("{known} tokens"),
            TOKENIZER_ADVICE,
        ))
    }

    /// Encodes plain text; texts of special tokens in it are just text.
    ///
    /// # Errors
    /// [`EngineError::Tokenizer`] when the splitting pattern fails on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(self
            .encode_with_starts(text)?
            .into_iter()
            .map(|(id, _)| id)
            .collect())
    }

    /// Encodes plain text, each token with the byte it starts at.
    pub(crate) fn encode_with_starts(&self, text: &str) -> Result<Vec<(u32, usize)>, EngineError> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|error| EngineError::Tokenizer(error.to_string()))?;
        Ok(encoding
            .get_ids()
            .iter()
            .copied()
            .zip(encoding.get_offsets().iter().map(|(start, _)| *start))
            .collect())
    }

    /// Decodes tokens to text, leaving special tokens out and replacing bytes that are not UTF-8.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut stream = stream::TextStream::new(self, Vec::new());
        for id in ids {
            stream.push(*id);
        }
        stream.finish()
    }

    /// Shows the bytes a token stands for.
    pub(crate) fn piece(&self, id: u32) -> &[u8] {
        self.pieces.get(id as usize).map_or(&[], |piece| piece)
    }

    /// Tells whether a token is special.
    pub fn is_special(&self, id: u32) -> bool {
        self.is_special.get(id as usize).copied().unwrap_or(false)
    }

    /// Shows the text of a special token.
    pub(crate) fn special_text(&self, id: u32) -> Option<&str> {
        self.specials
            .iter()
            .find(|(_, special)| *special == id)
            .map(|(text, _)| text.as_str())
    }

    /// Finds the special tokens in text of the template's own, as (start, end, id).
    pub(crate) fn find_specials(&self, text: &str) -> Vec<(usize, usize, u32)> {
        let mut found = Vec::new();
        let mut position = 0;
        while position < text.len() {
            let rest = &text[position..];
            match self
                .specials
                .iter()
                .find(|(special, _)| rest.starts_with(special.as_str()))
            {
                Some((special, id)) => {
                    found.push((position, position + special.len(), *id));
                    position += special.len();
                }
                None => position += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        found
    }
}
